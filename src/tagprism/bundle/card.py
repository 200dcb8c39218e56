"""What of a bundle no digest vouches for: its model card, and links among its files. Opens no bundle."""

from __future__ import annotations

import os
from pathlib import Path

from tagprism.errors import InputError

CARD = "README.md"
_LONGEST = 16 << 20  # bytes


def read_model_card(bundle: Path) -> str | None:
    """The model card, Markdown; None where there is none.

    Raises:
        InputError: it is a link that leads out of the bundle, or cannot be read.
    """
    file = bundle / CARD
    if not os.path.lexists(file):
        return None
    check_inside(bundle, file)
    try:
        if not file.is_file() or file.stat().st_size > _LONGEST:
            raise InputError(f"is no text of at most {_LONGEST >> 20} MiB.", where=str(file))
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error}).", where=str(file), remedy="Copy the bundle again.") from error


def check_inside(bundle: Path, file: Path) -> None:
    """Refuse a file of a bundle that is a link out of it, to what its maker could not read.

    Raises:
        InputError: it is such a link. The links of a hub's cache, to the files it keeps by digest, are none.
    """
    folder = bundle.resolve()
    inside = [folder, folder.parents[1] / "blobs"] if folder.parent.name == "snapshots" else [folder]
    if not any(file.resolve().is_relative_to(folder) for folder in inside):
        raise InputError(
            "is a link that leads out of the bundle, and is not followed.",
            where=str(file),
            remedy="Delete it, or put the file itself in its place.",
        )
