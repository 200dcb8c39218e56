"""A bundle on a model hub -> its folder in the hub's own cache on this machine. Opens no bundle."""

from __future__ import annotations

import re
from pathlib import Path

from tagprism.bundle.bundle import CONFIG, HUB, MODEL, TEXT
from tagprism.bundle.card import CARD
from tagprism.errors import InputError, MachineError

_HUB_NAME = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}(@[\w][\w./-]*)?", re.ASCII)
_FILES = [CONFIG, MODEL, "*.safetensors", CARD, f"{TEXT}/*/*.json", f"{TEXT}/*/*.onnx", f"{TEXT}/**.safetensors"]


def fetch_bundle(name: str) -> Path:
    """Snapshot of a repository; only a bundle's files are fetched, whatever else is there.

    Args:
        name: `hf-hub:owner/name[@revision]`.

    Raises:
        InputError: the name has another form, the hub has no such repository or revision, or it holds no bundle.
        MachineError: the hub does not answer.
    """
    if not _HUB_NAME.fullmatch(name.removeprefix(HUB)):
        raise InputError("is not of the form hf-hub:owner/name or hf-hub:owner/name@revision.", where=name)
    import huggingface_hub
    from huggingface_hub import errors

    repository, _, revision = name.removeprefix(HUB).partition("@")
    try:
        path = Path(huggingface_hub.snapshot_download(repository, revision=revision or None, allow_patterns=_FILES))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:  # also where a token is needed
        raise InputError(
            "the hub has no such repository or revision, or it is private.",
            where=name,
            remedy="Check the name; for a private one log in with `hf auth login`.",
        ) from error
    except errors.HFValidationError as error:
        raise InputError(f"is not a name of the hub ({error}).", where=name) from error
    except Exception as error:  # the hub's client passes on errors of three HTTP libraries and of its own
        reason = next(iter(str(error).splitlines()), "no reason given")
        raise MachineError(
            f"cannot be fetched ({type(error).__name__}: {reason}).",
            where=name,
            remedy="Check the network; what was fetched before works without (HF_HUB_OFFLINE=1).",
        ) from error
    if not (path / CONFIG).is_file():
        raise InputError("this repository holds no tagprism bundle: it has no config.json.", where=name)
    return path
