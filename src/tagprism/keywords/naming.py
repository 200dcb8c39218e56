"""A photo -> where its XMP sidecar is, in the two forms that programs know. Reads none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from tagprism.errors import PictureError
from tagprism.images.formats import RAW_ENDINGS, picture_extensions

Naming: TypeAlias = Literal["photo.jpg.xmp", "photo.xmp"]


def sidecar_path(photo: Path, naming: Naming | None) -> Path:
    """Where the sidecar of a photo is, or would be.

    Args:
        photo: the picture file.
        naming: `photo.jpg.xmp` (darktable, digiKam, Immich) or `photo.xmp` (Adobe); None for the form that is there,
            and `photo.jpg.xmp` where there is none, it is write-protected, or another picture would share it.

    Raises:
        PictureError: another picture would share the sidecar.
    """
    if naming is None:
        adobe, other = named(photo, "photo.xmp"), named(photo, "photo.jpg.xmp")
        followed = os.path.lexists(adobe) and not os.path.lexists(other) and adobe.lstat().st_mode & 0o222
        naming = "photo.xmp" if followed and _sharing(photo) is None else "photo.jpg.xmp"
    sharing = _sharing(photo) if naming == "photo.xmp" else None
    if sharing is not None:
        message = f"It would share its sidecar with {sharing}; --sidecar photo.jpg.xmp keeps them apart."
        raise PictureError("sidecar", message, where=os.fsdecode(photo))
    return named(photo, naming)


def named(photo: Path, naming: Naming) -> Path:
    """Where a sidecar of this form is, or would be, whosoever it is."""
    path = photo.with_suffix(".xmp") if naming == "photo.xmp" else photo.with_name(f"{photo.name}.xmp")
    capital = path.with_suffix(".XMP")
    return capital if os.path.lexists(capital) and not os.path.lexists(path) else path


def _sharing(photo: Path) -> str | None:
    """Name of another picture to which `photo.xmp` belongs as well; `photo.jpg` beside `photo.jpg.png` is one."""
    endings = sorted(picture_extensions() - RAW_ENDINGS)  # a raw and its JPEG are one picture, as Adobe has them
    names = [photo.stem + ending for one in endings for ending in (one, one.upper(), one[:2].upper() + one[2:])]
    if _is_longer(photo):
        names.append(photo.stem)
    others = (photo.with_name(name) for name in names if name != photo.name)
    return next((other.name for other in others if os.path.lexists(other) and not _is_same(photo, other)), None)


def _is_longer(photo: Path) -> bool:
    """Whether it is `photo.jpg.png` beside a `photo.jpg`, whose `photo.jpg.xmp` is not its own."""
    shorter = photo.with_suffix("")
    return shorter.suffix.lower() in picture_extensions() and os.path.lexists(shorter)


def _is_same(photo: Path, other: Path) -> bool:
    """Whether a name that differs in capitals is the same file, as on disks of Windows and macOS."""
    try:
        return photo.name.casefold() == other.name.casefold() and photo.samefile(other)
    except OSError:
        return False


def sidecar_places(photo: Path) -> Iterator[Path]:
    """Where programs look for the photo's sidecar, whatever its form; also where another picture shares it."""
    yield named(photo, "photo.jpg.xmp")
    if not _is_longer(photo):
        yield named(photo, "photo.xmp")


def has_another(photo: Path, path: Path) -> bool:
    """Whether the photo has a sidecar beside this one, of the other form."""
    return any(other != path and os.path.lexists(other) for other in sidecar_places(photo))
