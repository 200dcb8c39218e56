"""A photo and the keywords found for it -> where its XMP sidecar is, and what it becomes. The photo stays as it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tagprism.errors import MachineError, PictureError, TagprismError
from tagprism.exchange import exchange
from tagprism.files import digest_bytes, disk_is_full
from tagprism.images.formats import picture_extensions
from tagprism.images.metadata import read_embedded_keywords
from tagprism.images.picture_file import RAW_ENDINGS
from tagprism.keywords.journal import Journal
from tagprism.keywords.merge import DIGIKAM, FLAT, PATHS, Keywords
from tagprism.keywords.xml_tree import XmlError, can_be_written
from tagprism.keywords.xmp_lists import Change, ListName, XmpLists

Naming: TypeAlias = Literal["photo.jpg.xmp", "photo.xmp"]

MAX_BYTES = 64 * 2**20
"""Cap on a sidecar's size; masks and histories make them large, but not that large."""

NEW = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="tagprism">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
""".encode()


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


def sidecar_positions(photo: Path) -> Iterator[Path]:
    """Where programs look for the photo's sidecar, whatever its form; also where another picture shares it."""
    yield named(photo, "photo.jpg.xmp")
    if not _is_longer(photo):
        yield named(photo, "photo.xmp")


def has_another(photo: Path, path: Path) -> bool:
    """Whether the photo has a sidecar beside this one, of the other form."""
    return any(other != path and os.path.lexists(other) for other in sidecar_positions(photo))


@dataclass(frozen=True)
class SidecarChange:
    """What is to become of one sidecar.

    Args:
        path: the sidecar.
        before: its bytes, or None where there is none yet.
        after: its bytes to be; equal to `before` when there is nothing to do.
        mtime_ns: when it was last changed, in nanoseconds; None where there is none.
        old: the keywords of the person and of tagprism, before.
        new: after.
        linked: whether the file has other names (hard links): these keep what they have.
    """

    path: Path
    before: bytes | None
    after: bytes | None
    mtime_ns: int | None
    old: Keywords
    new: Keywords
    linked: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether anything changes."""
        return self.after != self.before


def read_keywords(photo: Path, naming: Naming | None) -> Keywords:
    """The keywords in a photo's sidecar; none where there is no sidecar.

    Raises:
        PictureError: the sidecar cannot be read.
    """
    path = sidecar_path(photo, naming)
    data, _ = _read(path)
    return Keywords() if data is None else _keywords(path, data)[1]


def plan(
    photo: Path,
    naming: Naming | None,
    found: Iterable[str],
    model: str,
    hierarchy: Mapping[str, str] | None = None,
) -> SidecarChange:
    """Work out a sidecar with the keywords that were found.

    A sidecar that does not exist yet starts as a copy of one of the other form, and with the keywords inside the photo,
    as programs that see it no longer look for them there.

    Args:
        photo: the picture file.
        naming: as for `sidecar_path`.
        found: keywords, best first.
        model: digest of the model that found them, or empty.
        hierarchy: the person's hierarchy (`hierarchy.read_hierarchy`).

    Raises:
        PictureError: the photo is gone, or its sidecar cannot be read or changed.
    """
    found = list(found)
    return _planned(photo, naming, found, lambda old: old.with_found(found, model, hierarchy))


def plan_marks(photo: Path, naming: Naming | None, added: Sequence[str], rejected: Sequence[str]) -> SidecarChange:
    """Work out a sidecar with what a person said of some tags; see `Keywords.with_marks`, and `plan` for the rest."""
    return _planned(photo, naming, [*added, *rejected], lambda old: old.with_marks(added, rejected))


def _planned(
    photo: Path, naming: Naming | None, words: Sequence[str], merge: Callable[[Keywords], Keywords]
) -> SidecarChange:
    refuse_missing(photo)
    check_words(photo, words)
    path = sidecar_path(photo, naming)
    before, status = _read(path)
    if before is None and not words:
        return SidecarChange(path, None, None, None, Keywords(), Keywords())
    if status is not None and not status.st_mode & 0o222:
        raise refused(path, "is write-protected")
    lists, old = _keywords(path, before) if before is not None else _started(photo)
    new = merge(old)
    changes = old.changes_to(new)
    if before is None and not changes and not new.ours:
        return SidecarChange(path, None, None, None, Keywords(), Keywords())
    mtime_ns, linked = (status.st_mtime_ns, status.st_nlink > 1) if status is not None else (None, False)
    if before is not None and not changes:
        return SidecarChange(path, before, before, mtime_ns, old, new)
    after = changed(path, lists, changes, new)
    return SidecarChange(path, before, after, mtime_ns, old if before is not None else Keywords(), new, linked)


def refuse_missing(photo: Path) -> None:
    """Refuse a photo that is not there.

    Raises:
        PictureError: it is not.
    """
    if not photo.is_file():
        message = "It is no file but a folder." if photo.is_dir() else "There is no such file."
        raise PictureError("missing", message, where=os.fsdecode(photo))


def check_words(photo: Path, words: Iterable[str]) -> None:
    """Refuse words that no XMP can hold.

    Raises:
        PictureError: there is one.
    """
    for word in words:
        if not can_be_written(word):
            message = f"The keyword {word!r} has a character that XML cannot hold."
            raise PictureError("sidecar", message, where=os.fsdecode(photo))


def changed(path: Path, lists: XmpLists, changes: Mapping[ListName, Change], new: Keywords) -> bytes:
    """Bytes of an XMP file with changes, in which a program will read what was meant.

    Raises:
        PictureError: the file is written in a way that this cannot be done.
    """
    after = _changed(path, lists, changes)
    if _keywords(path, after)[1].changes_to(new):  # a belt over the braces
        raise refused(path, "is written in a way that keywords cannot be added to")
    return after


def _changed(path: Path, lists: XmpLists, changes: Mapping[ListName, Change]) -> bytes:
    try:
        return lists.changed(changes)
    except XmlError as error:
        raise refused(path, str(error)) from error


def write(changes: Sequence[SidecarChange], journal: Journal) -> list[TagprismError | None]:
    """Do what was planned, so that it can be undone.

    Args:
        changes: of different files; a few at a time, as the journal is on disk before the first is made.
        journal: of this run.

    Returns:
        For each None, or why it was not done: the file is no longer what it was, or may not be written.

    Raises:
        MachineError: the disk is full.
    """
    outcomes: list[TagprismError | None] = []
    parts = journal.record((one.path, one.before, one.mtime_ns, one.after or b"") for one in changes)
    for change, part in zip(changes, parts, strict=True):
        expected = None if change.before is None else digest_bytes(change.before)
        try:
            done = exchange(change.path, change.after, expected=expected, part=part)
            message = f"{change.path.name} was changed by another program just now; run again."
            outcomes.append(None if done else PictureError("sidecar", message, where=os.fsdecode(change.path)))
        except MachineError as error:
            if disk_is_full(error):
                raise
            outcomes.append(error)
    return outcomes


def _keywords(path: Path, data: bytes) -> tuple[XmpLists, Keywords]:
    try:
        lists = XmpLists(data)
        return lists, Keywords.of(lists)
    except XmlError as error:
        raise refused(path, str(error)) from error


def _started(photo: Path) -> tuple[XmpLists, Keywords]:
    """A new sidecar: what one of the other form holds, and the person's keywords that are inside the photo."""
    lists, old, path = XmpLists(NEW), Keywords(), photo
    for other in sidecar_positions(photo):
        data, _ = _read(other)
        if data is not None:
            path, (lists, old) = other, _keywords(other, data)
    packet, words = read_embedded_keywords(photo)
    inside = Keywords()
    if packet:
        with suppress(XmlError):  # a damaged packet: no program reads keywords from it either
            inside = Keywords.of(XmpLists(packet))
    flat = (word for word in inside.flat if word not in inside.still_ours)
    more = {
        FLAT: fresh([*flat, *(word for word in words if word not in inside.ours)], old.flat),
        PATHS: fresh(inside.own_paths, old.paths),
        DIGIKAM: fresh(inside.own_tags, old.digikam),
    }
    changes = {name: Change(add=words) for name, words in more.items() if words}
    return _keywords(photo, _changed(path, lists, changes))


def fresh(words: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """Words that can be written and are not known, each once."""
    return tuple(dict.fromkeys(word for word in words if word.strip() and word not in known and can_be_written(word)))


def _read(path: Path) -> tuple[bytes | None, os.stat_result | None]:
    """A sidecar's bytes and state; None where there is none."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            raise refused(path, "is a link, which is not followed")
        if not stat.S_ISREG(status.st_mode):
            raise refused(path, "is not a file")
        if status.st_size > MAX_BYTES:
            raise refused(path, f"has {status.st_size / 2**20:.0f} MiB; at most {MAX_BYTES // 2**20} MiB are read")
        return path.read_bytes(), status
    except FileNotFoundError:
        return None, None
    except OSError as error:
        raise refused(path, f"cannot be read ({os.strerror(error.errno or 0)})") from error


def refused(path: Path, reason: str) -> PictureError:
    """Why a file is left alone."""
    what = "sidecar" if path.suffix.lower() == ".xmp" else "XMP of"
    return PictureError("sidecar", f"The {what} {path.name} {reason}.", where=os.fsdecode(path))
