"""The one writer of bundles, and what they and other results were made with.

Knows files and their names; what fills them is given.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from safetensors.numpy import save_file

import tagprism
from tagprism.bundle.bundle import Bundle
from tagprism.bundle.card import CARD
from tagprism.bundle.config import CLASSES, CONFIG, FORMAT, REFERRING, TEXT, TRAINED_ON, BundleConfig
from tagprism.bundle.record import ClassAffinity
from tagprism.errors import InputError
from tagprism.files import (
    digest_file,
    link_or_copy,
    locked,
    machine_errors,
    replaced_whole,
    write_json,
    write_text,
)

Content: TypeAlias = Callable[[Path], object]
"""Writes a file or folder of a bundle, given its path."""
_PACKAGES = ("numpy", "pillow", "onnxruntime", "tokenizers", "torch", "timm", "lightning", "transformers")


def write_bundle(
    into: Path, files: Mapping[str, Content], config: Mapping[str, Any], card: str, *, replace: bool = True
) -> Bundle:
    """Write a bundle, whole or not at all, and open it as its users will.

    What a process that was killed left beside it is cleared away.

    Args:
        into: folder of the bundle.
        files: name in the bundle, such as `model.onnx` -> what writes it (`Vocabulary.save`, a copy, the functions
            below), in this order.
        config: fields of `BundleConfig` but `digests`; `format` only where the network is a copy of an older bundle's.
        card: the model card, Markdown.
        replace: whether a bundle that is there is replaced.

    Returns:
        The bundle, its files checked and its network loaded.

    Raises:
        InputError: the files and the config do not fit together, something is there that is not to be replaced, or
            another process is writing this bundle.
        MachineError: the folder cannot be written.
    """
    with _alone(into), replaced_whole(into, replace=replace) as folder:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            content(folder / name)
        digests = {
            file.relative_to(folder).as_posix(): digest_file(file)
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        form = REFERRING if config.get("foreign") else FORMAT
        checked = BundleConfig.model_validate({"format": form, **config, "digests": digests})
        without = set() if checked.foreign else {"foreign"}  # which older versions would not understand
        write_json(folder / CONFIG, checked.model_dump(mode="json", exclude=without))
        write_text(folder / CARD, card)
        _ = Bundle(folder).model
    return Bundle(into)


@contextmanager
def _alone(into: Path) -> Iterator[None]:
    """Hold the bundle against other processes, and clear away what one that was killed left beside it."""
    with machine_errors(into):
        into.parent.mkdir(parents=True, exist_ok=True)
    with locked(into.with_name(f".{into.name}.lock")) as held:
        if not held:
            raise InputError("is being written by another tagprism.", where=str(into), remedy="Wait for it.")
        with machine_errors(into):
            for old in _left(into, "old"):
                if not into.exists():  # killed between the two renames: the bundle before is whole
                    old.rename(into)
            for left in (*_left(into, "part"), *_left(into, "old")):
                shutil.rmtree(left)
        yield


def _left(into: Path, kind: str) -> list[Path]:
    """Folders that `replaced_whole` left beside a bundle when it was killed: `part` or `old`."""
    name = re.compile(rf"\.{re.escape(into.name)}\.[0-9a-f]{{8}}\.{kind}")
    return [left for left in into.parent.iterdir() if name.fullmatch(left.name) and left.is_dir()]


def check_new(into: Path) -> None:
    """Refuse a folder in which something is.

    Raises:
        InputError: it is there and is not an empty folder.
    """
    if into.exists() and not (into.is_dir() and not any(into.iterdir())):
        raise InputError("exists already.", where=str(into), remedy="Delete it, or choose another --into.")


def text_files(space: Callable[[Path], None], encoders: Mapping[str, Path]) -> dict[str, Content]:
    """Content of a bundle's `text/`.

    Args:
        space: writes the label space into a folder (`LabelSpace.save`).
        encoders: folders of its text encoders by encoder id.
    """

    def write_space(folder: Path) -> None:
        folder.mkdir()
        space(folder)

    return {TEXT: write_space, **{f"{TEXT}/{source.name}": partial(_link, source) for source in encoders.values()}}


def trained_on(digests: frozenset[str]) -> dict[str, Content]:
    """Digests of the pictures trained on, for the leak check; sorted, so that the file is a function of the set."""
    rows = b"".join(bytes.fromhex(digest) for digest in sorted(digests))
    return {TRAINED_ON: partial(save_file, {"sha256": np.frombuffer(rows, np.uint8).reshape(-1, 32)})}


def class_affinities(affinity: ClassAffinity | None) -> dict[str, Content]:
    """The affinities of labels to classes, in float16, which is fine enough; nothing for None."""
    if affinity is None:
        return {}
    tensors: dict[str, np.ndarray] = {
        "basis": np.ascontiguousarray(affinity.basis.astype(np.float16)),
        "vectors": np.ascontiguousarray(affinity.vectors.astype(np.float16)),
        "trained": np.array([affinity.trained], np.float32),
        "sharpness": np.array([affinity.sharpness], np.float32),
    }
    return {CLASSES: partial(save_file, tensors)}


def _link(source: Path, target: Path) -> None:
    """Link or copy what is in a folder."""
    target.mkdir()
    for file in source.iterdir():
        link_or_copy(file, target / file.name)


@cache
def made_with() -> dict[str, Any]:
    """Versions of what computes, the commit of a source checkout (None for an installed package), and the cores."""
    versions = {"tagprism": tagprism.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "commit": _commit(), "platform": platform.platform(), "cores": os.cpu_count()}


def _commit() -> str | None:
    """Commit of the checkout that this package runs from, with `+changes` where files differ from it."""
    package = Path(tagprism.__file__).resolve().parent
    if package.parent.name != "src":
        return None
    try:
        commit = _git(package, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(package, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
