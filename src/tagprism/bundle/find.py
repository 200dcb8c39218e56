"""The name of a model -> its folder: packaged, on a model hub, or on this disk. Opens no bundle.

Names of the three kinds look different: `hf-hub:owner/name[@revision]` is on the hub; a bare word that names a packaged
bundle is that bundle; everything else is a path. A folder with the name of a packaged bundle is written `./NAME`, so
that what lies in the working folder never changes what a name means.
"""

from __future__ import annotations

import re
from pathlib import Path

from tagprism.bundle.bundle import CARD, CONFIG, MODEL, TEXT
from tagprism.errors import InputError, MachineError

DEFAULT = "photos-lite"
HUB = "hf-hub:"
BUNDLES = Path(__file__).parents[1] / "bundles"
_HUB_NAME = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}(@[\w][\w./-]*)?", re.ASCII)
_FILES = [CONFIG, MODEL, "*.safetensors", CARD, f"{TEXT}/*/*.json", f"{TEXT}/*/*.onnx", f"{TEXT}/**.safetensors"]


def find_bundle(name: str) -> Path:
    """Folder of a model by its name.

    Args:
        name: `hf-hub:owner/name[@revision]`, the name of a packaged bundle, or the path of a RUN or BUNDLE.

    Returns:
        A folder for `Bundle`. A path is returned as it is; `Bundle` says what is wrong with it.

    Raises:
        InputError: the hub has no such repository or revision, it holds no bundle, or there is nothing of that name.
        MachineError: the hub does not answer.
    """
    if name.startswith(HUB):
        return _from_hub(name)
    if re.fullmatch(r"[\w.-]+", name):
        packaged = BUNDLES / name
        if (packaged / CONFIG).is_file():
            return packaged
        if not Path(name).exists():
            raise _nothing(name)
    return Path(name)


def packaged_bundles() -> list[str]:
    """Names of the bundles that this installation brings."""
    return sorted(path.parent.name for path in BUNDLES.glob(f"*/{CONFIG}"))


def _nothing(name: str) -> InputError:
    brought = ", ".join(packaged_bundles()) or "none"
    if name == DEFAULT:
        return InputError(
            f"the bundle {name} is not part of this installation.",
            remedy="Install tagprism from its wheel, or name a RUN or a BUNDLE with --model.",
        )
    return InputError(
        f"there is no model `{name}`: no such folder, and no packaged bundle (packaged: {brought}).",
        remedy="Name a RUN or a BUNDLE, a packaged bundle, or hf-hub:owner/name.",
    )


def _from_hub(name: str) -> Path:
    """Snapshot of a repository in the hub's own cache; only a bundle's files are fetched, whatever else is there."""
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
