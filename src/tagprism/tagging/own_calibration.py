"""Probabilities that a person fitted to a model with their own labelled photos: read, checked, and written.

They are kept by the model's digest (`tagger.own_calibration_file`), and are used by whatever tags with that model.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagprism.bundle.bundle import Bundle
from tagprism.errors import InputError
from tagprism.files import machine_errors, read_tensors
from tagprism.tagging.calibration import KIND, VERSION, Calibration
from tagprism.tagging.ranker import own_calibration_file

if TYPE_CHECKING:
    from tagprism.bundle.foreign.model import ForeignModel

_AGAIN = "Make it again with `tagprism models calibrate`, or take it away with --remove."


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
    file = out or own_calibration_file(bundle.digest)
    found.save(file, fitted={**note, "model": bundle.digest})
    return file


def remove_own(digest: str) -> bool:
    """Take a model's own calibration away; whether there was one.

    Raises:
        MachineError: it cannot be removed.
    """
    file = own_calibration_file(digest)
    with machine_errors(file), suppress(FileNotFoundError):
        file.unlink()
        return True
    return False
