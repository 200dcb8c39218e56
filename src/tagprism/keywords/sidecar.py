"""A photo and the keywords found for it -> what its XMP sidecar becomes. The photo itself is never written to."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tagprism.errors import MachineError, PictureError, TagprismError
from tagprism.files import digest_bytes, disk_is_full, exchange
from tagprism.images.formats import RAW_ENDINGS, picture_extensions
from tagprism.images.metadata import read_embedded_keywords
from tagprism.keywords.journal import Journal
from tagprism.keywords.merge import FLAT, PATHS, Keywords
from tagprism.keywords.xml_tree import XmlError, can_be_written
from tagprism.keywords.xmp_lists import Change, XmpLists

Naming: TypeAlias = Literal["photo.jpg.xmp", "photo.xmp"]
MAX_BYTES = 64 * 2**20
"""Cap on a sidecar's size; masks and histories make them large, but not that large."""

_NEW = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="tagprism">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
""".encode()


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
    """

    path: Path
    before: bytes | None
    after: bytes | None
    mtime_ns: int | None
    old: Keywords
    new: Keywords

    @property
    def is_needed(self) -> bool:
        """Whether anything changes."""
        return self.after != self.before


def sidecar_path(photo: Path, naming: Naming) -> Path:
    """Where the sidecar of a photo is, or would be.

    Args:
        photo: the picture file.
        naming: `photo.jpg.xmp` (darktable, digiKam, Immich) or `photo.xmp` (Adobe).

    Raises:
        PictureError: another picture would share the sidecar.
    """
    if naming == "photo.xmp":
        sharing = [name for name in _same_stem(photo) if os.path.lexists(photo.with_name(name))]
        if sharing:
            message = f"It would share its sidecar with {sharing[0]}; --sidecar photo.jpg.xmp keeps them apart."
            raise PictureError("sidecar", message, where=os.fsdecode(photo))
    path = photo.with_suffix(".xmp") if naming == "photo.xmp" else photo.with_name(f"{photo.name}.xmp")
    capital = path.with_suffix(".XMP")
    return capital if os.path.lexists(capital) and not os.path.lexists(path) else path


def _same_stem(photo: Path) -> list[str]:
    endings = sorted(picture_extensions() - RAW_ENDINGS)  # a raw and its JPEG are one picture, as Adobe has them
    names = (photo.stem + spelled for ending in endings for spelled in (ending, ending.upper()))
    return [name for name in names if name.casefold() != photo.name.casefold()]


def read_keywords(photo: Path, naming: Naming) -> Keywords:
    """The keywords in a photo's sidecar; none where there is no sidecar.

    Raises:
        PictureError: the sidecar cannot be read.
    """
    path = sidecar_path(photo, naming)
    data, _ = _read(path)
    return Keywords() if data is None else _keywords(path, data)[1]


def plan(photo: Path, naming: Naming, found: Iterable[str], model: str) -> SidecarChange:
    """Work out a sidecar with the keywords that were found.

    A sidecar that does not exist yet starts with the keywords inside the photo, as programs that see it no longer look
    for them there.

    Args:
        photo: the picture file.
        naming: as for `sidecar_path`.
        found: keywords, best first.
        model: digest of the model that found them, or empty.

    Raises:
        PictureError: the photo is gone, or its sidecar cannot be read or changed.
    """
    found = list(found)
    return _planned(photo, naming, found, lambda old: old.with_found(found, model))


def plan_marks(photo: Path, naming: Naming, added: Sequence[str], rejected: Sequence[str]) -> SidecarChange:
    """Work out a sidecar with what a person said of some tags; see `Keywords.with_marks`, and `plan` for the rest."""
    return _planned(photo, naming, [*added, *rejected], lambda old: old.with_marks(added, rejected))


def _planned(photo: Path, naming: Naming, words: Sequence[str], merge: Callable[[Keywords], Keywords]) -> SidecarChange:
    if not photo.is_file():
        raise PictureError("missing", "There is no such file.", where=os.fsdecode(photo))
    for word in words:
        if not can_be_written(word):
            message = f"The keyword {word!r} has a character that XML cannot hold."
            raise PictureError("sidecar", message, where=os.fsdecode(photo))
    path = sidecar_path(photo, naming)
    before, mtime_ns = _read(path)
    if before is None and not words:
        return SidecarChange(path, None, None, None, Keywords(), Keywords())
    lists, old = _keywords(path, before) if before is not None else _started(photo)
    new = merge(old)
    if before is None and not old.changes_to(new):
        return SidecarChange(path, None, None, None, Keywords(), Keywords())
    changes = old.changes_to(new)
    if not changes:
        return SidecarChange(path, before, before, mtime_ns, old, new)
    try:
        after = lists.changed(changes)
        arrived = Keywords.of(XmpLists(after))
    except XmlError as error:
        raise _refused(path, str(error)) from error
    if arrived.changes_to(new):  # a belt over the braces: what a program will read is what was meant
        raise _refused(path, "is written in a way that keywords cannot be added to")
    return SidecarChange(path, before, after, mtime_ns, old if before is not None else Keywords(), new)


def write(changes: Sequence[SidecarChange], journal: Journal) -> list[TagprismError | None]:
    """Do what was planned, so that it can be undone.

    Args:
        changes: of different sidecars; a few at a time, as the journal is on disk before the first is made.
        journal: of this run.

    Returns:
        For each None, or why it was not done: the sidecar is no longer what it was, or may not be written.

    Raises:
        MachineError: the disk is full.
    """
    outcomes: list[TagprismError | None] = []
    parts = journal.record((one.path, one.before, one.mtime_ns, one.after or b"") for one in changes)
    for change, part in zip(changes, parts, strict=True):
        expected = None if change.before is None else digest_bytes(change.before)
        try:
            done = exchange(change.path, change.after, expected=expected, part=part)
            reason = "was changed by another program just now; run again"
            outcomes.append(None if done else _refused(change.path, reason))
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
        raise _refused(path, str(error)) from error


def _started(photo: Path) -> tuple[XmpLists, Keywords]:
    """A new sidecar with the keywords that are inside the photo."""
    packet, iptc = read_embedded_keywords(photo)
    inside = Keywords()
    if packet:
        try:
            inside = Keywords.of(XmpLists(packet))
        except XmlError:
            inside = Keywords()  # a damaged packet: no program reads keywords from it either
    flat = tuple(dict.fromkeys(word for word in (*inside.flat, *iptc) if word.strip() and can_be_written(word)))
    seed = {FLAT: Change(add=flat), PATHS: Change(add=tuple(dict.fromkeys(inside.paths)))}
    lists = XmpLists(XmpLists(_NEW).changed(seed))
    return lists, Keywords.of(lists)


def _read(path: Path) -> tuple[bytes | None, int | None]:
    """A sidecar's bytes and time of change; None where there is none."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            raise _refused(path, "is a link, which is not followed")
        if not stat.S_ISREG(status.st_mode):
            raise _refused(path, "is not a file")
        if status.st_size > MAX_BYTES:
            raise _refused(path, f"has {status.st_size / 2**20:.0f} MiB; at most {MAX_BYTES // 2**20} MiB are read")
        if not status.st_mode & 0o222:
            raise _refused(path, "is write-protected")
        return path.read_bytes(), status.st_mtime_ns
    except FileNotFoundError:
        return None, None
    except OSError as error:
        raise _refused(path, f"cannot be read ({os.strerror(error.errno or 0)})") from error


def _refused(path: Path, reason: str) -> PictureError:
    return PictureError("sidecar", f"The sidecar {path.name} {reason}.", where=os.fsdecode(path))
