"""Probabilities that a person fitted to a model with their own labelled photos: where they are kept, and checked.

They are kept by the model's digest, beside what must not be lost, and are used by whatever tags with that model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagprism.bundle.bundle import Bundle
from tagprism.errors import InputError
from tagprism.files import machine_errors, state_dir, state_path
from tagprism.labels.tensor_file import read_tensors
from tagprism.tagging.calibration import KIND, VERSION, Calibration

if TYPE_CHECKING:
    from tagprism.bundle.foreign.model import ForeignModel

_FOLDER = "calibrations"
_AGAIN = "Make it again with `tagprism models calibrate`, or take it away with --remove."


def own_calibration(digest: str) -> Path | None:
    """The file of a model's own calibration, where there is one."""
    file = state_path(_FOLDER) / f"{digest}.safetensors"
    return file if file.is_file() else None


def read_own(file: Path, bundle: Bundle | ForeignModel) -> tuple[Calibration, dict[str, Any]]:
    """A calibration, and what is noted of the photos that it was fitted to.

    Raises:
        InputError: the file is absent, damaged, or of another model.
    """
    header, _ = read_tensors(file, KIND, VERSION)
    note = header.get("fitted")
    if not isinstance(note, dict) or note.get("model") != bundle.digest:
        what = f"is not a calibration of this model (digest {bundle.digest[:12]})."
        raise InputError(what, where=str(file), remedy="Name the model, and the number of its views, that it is of.")
    found = Calibration.load(file, bundle.config.dimension, bundle.class_affinity, bundle.config.best_rows)
    fits = found.background.shape == bundle.shape and found.statistics.shape == (len(bundle.vocabulary.names), 2)
    if not fits or len(found.background) == 0:
        raise InputError("does not fit its model.", where=str(file), remedy=_AGAIN)
    return found, note


def write_own(found: Calibration, note: Mapping[str, Any], bundle: Bundle | ForeignModel, out: Path | None) -> Path:
    """Keep a calibration for its model, or write it elsewhere, whole or not at all; the file.

    Raises:
        MachineError: it cannot be written.
    """
    file = out or state_dir(_FOLDER) / f"{bundle.digest}.safetensors"
    found.save(file, fitted={**note, "model": bundle.digest})
    return file


def remove_own(digest: str) -> bool:
    """Take a model's own calibration away; whether there was one.

    Raises:
        MachineError: it cannot be removed.
    """
    file = own_calibration(digest)
    if file is None:
        return False
    with machine_errors(file):
        file.unlink()
    return True
