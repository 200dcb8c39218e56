"""A photo and the keywords found for it -> what becomes of the keywords inside it, written by exiftool.

Only JPEGs are written to, never a raw file. exiftool works on a copy under a name of ours, so that no name and no
keyword of anyone is taken for an option of it. The photo gets the result only when nothing but XMP and IPTC differs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from tagprism.errors import MachineError, PictureError, TagprismError
from tagprism.images.decode import read_bytes
from tagprism.images.metadata import Embedded, embedded
from tagprism.keywords import sidecar
from tagprism.keywords.journal import Journal
from tagprism.keywords.merge import Keywords, distinct, tidy
from tagprism.keywords.sidecar import NEW, SidecarChange, check_words, fresh
from tagprism.keywords.xml_tree import XmlError
from tagprism.keywords.xmp_lists import XmpLists

_ENDINGS = {".jpg", ".jpeg", ".jpe", ".jfif"}
_XMP, _EXTENDED, _IPTC = b"http://ns.adobe.com/xap/1.0/\0", b"HasExtendedXMP", b"Photoshop 3.0\0"
_EXIF, _PLACES = b"Exif\0\0", ("Offset", "Offsets", "Start")  # what tells where the other parts of EXIF lie
_MOST_XMP = 65_000  # bytes of a packet that a JPEG holds in one piece
_MOST_IPTC = 64  # bytes of an IPTC keyword; a longer one stands in XMP alone
_SECONDS = 60


@dataclass(frozen=True)
class EmbedChange(SidecarChange):
    """What is to become of the keywords inside one photo; `path` and `before` are the photo's.

    Args:
        packet: its XMP to be.
        iptc: its IPTC keywords to be.
        was: what is in it.
    """

    packet: bytes = b""
    iptc: tuple[str, ...] = ()
    was: Embedded = field(default_factory=Embedded)

    @property
    def is_needed(self) -> bool:
        """Whether anything changes."""
        return self.old != self.new


def check_exiftool() -> None:
    """Refuse to begin without exiftool.

    Raises:
        MachineError: it is not installed.
    """
    if shutil.which("exiftool") is None:
        remedy = "Install it (libimage-exiftool-perl in Debian, exiftool in Homebrew and winget), or write sidecars."
        raise MachineError("exiftool is not installed, which writes keywords into photos.", remedy=remedy)


def read_inside(photo: Path) -> Keywords:
    """The keywords inside a photo.

    Raises:
        PictureError: the photo cannot be read, or is no JPEG.
    """
    return _read(photo, _bytes(photo))[1]


def plan(photo: Path, found: Iterable[str], model: str, hierarchy: Mapping[str, str] | None = None) -> EmbedChange:
    """Work out the keywords inside a photo with those that were found.

    Keywords of the person that stand in IPTC or in a Windows tag alone go into XMP, too. What the person has in a
    sidecar, or took away there, is not added.

    Args:
        photo: a JPEG.
        found: keywords, best first.
        model: digest of the model that found them, or empty.
        hierarchy: the person's hierarchy (`hierarchy.read_hierarchy`).

    Raises:
        PictureError: the photo is no JPEG, is a link or write-protected, or its XMP cannot be changed.
    """
    found = list(found)
    check_words(photo, found)
    data, status = _bytes(photo), photo.lstat()
    if not status.st_mode & 0o222:
        raise _left_alone(photo, "It is write-protected.")
    lists, there, was = _read(photo, data)
    beside = Keywords()
    with suppress(PictureError):  # a damaged sidecar says nothing
        beside = sidecar.read_keywords(photo, None)
    flat = fresh((word for word in (*was.iptc, *was.windows) if word not in there.ours), there.flat)
    outside = (*beside.yours, *beside.taken_away)
    wanted = [word for word in found if word in there.still_ours or distinct([tidy(word)], outside)]
    old = replace(there, flat=(*there.flat, *flat))
    new = old.with_found(wanted, model, hierarchy)
    change = EmbedChange(photo, data, None, status.st_mtime_ns, there, there, status.st_nlink > 1, was=was)
    if not old.changes_to(new):
        return change
    packet = sidecar.changed(photo, lists, there.changes_to(new), new)
    if len(packet) > _MOST_XMP:
        raise _left_alone(photo, "Its XMP would be too large for a JPEG.")
    kept = [word for word in was.iptc if word in new.flat or word not in there.ours]
    short = (tidy(word) for word in new.flat if len(tidy(word).encode()) <= _MOST_IPTC)
    return replace(change, new=new, packet=packet, iptc=(*kept, *fresh(short, kept)))


def write(changes: Sequence[EmbedChange], journal: Journal) -> list[TagprismError | None]:
    """Do what was planned, so that it can be undone to the byte.

    Args:
        changes: of different photos; a few at a time, as their bytes are in memory.
        journal: of this run.

    Returns:
        For each None, or why it was not done: exiftool refused, the picture data would have changed, another program
        changed the photo just now, or it may not be written.

    Raises:
        MachineError: the disk is full.
    """
    made = [_checked(change, after) for change, after in zip(changes, _by_exiftool(changes), strict=True)]
    ready = [one for one in made if isinstance(one, EmbedChange)]
    outcomes = iter(sidecar.write(ready, journal) if ready else [])
    return [next(outcomes) if isinstance(one, EmbedChange) else one for one in made]


def _by_exiftool(changes: Sequence[EmbedChange]) -> list[bytes | str]:
    """For each photo its bytes to be, or what exiftool said."""
    with tempfile.TemporaryDirectory(prefix="tagprism-") as where:
        folder = Path(where)
        lines: list[str] = []
        for number, change in enumerate(changes):
            (folder / f"{number}.jpg").write_bytes(change.before or b"")
            (folder / f"{number}.xmp").write_bytes(change.packet)
            lines += _arguments(number, change)
        arguments = folder / "arguments"
        arguments.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = ["exiftool", "-config", "", "-@", arguments.name]  # the first two: nobody's own settings
        try:
            seconds = _SECONDS + 5 * len(changes)
            done = subprocess.run(command, cwd=folder, capture_output=True, timeout=seconds, check=False)
            said = done.stderr.decode("utf-8", "replace").splitlines()
        except subprocess.TimeoutExpired:
            said = ["it took too long"]
        outs = [folder / f"{number}.out.jpg" for number in range(len(changes))]
        return [out.read_bytes() if out.exists() else _reason(f"{number}.jpg", said) for number, out in enumerate(outs)]


def _arguments(number: int, change: EmbedChange) -> Iterator[str]:
    """Lines for exiftool; a keyword in them is one line, as `tidy` leaves no line ends in it."""
    if change.was.charset:  # text without a stated charset would change its meaning when UTF-8 is stated
        yield from ("-charset", f"iptc={change.was.charset}", "-tagsfromfile", "@", "-iptc:all", "--iptc:keywords")
    yield from (f"-XMP<={number}.xmp", "-IPTC:CodedCharacterSet=UTF8", "-IPTCDigest=new")
    if change.was.charset:
        yield from (f"-IPTC:Keywords={word}" for word in change.iptc)
    else:  # what stays is not touched
        yield from (f"-IPTC:Keywords-={word}" for word in change.was.iptc if word not in change.iptc)
        yield from (f"-IPTC:Keywords+={word}" for word in change.iptc if word not in change.was.iptc)
    yield from ("-o", f"{number}.out.jpg", f"{number}.jpg", "-execute")


def _reason(name: str, said: Sequence[str]) -> str:
    lines = [line.removesuffix(f" - {name}") for line in said if line.endswith(f" - {name}")] or list(said)
    return lines[-1] if lines else "it wrote nothing"


def _checked(change: EmbedChange, after: bytes | str) -> EmbedChange | PictureError:
    """The change with its bytes, if these are the photo with other XMP and IPTC, and nothing else."""
    if isinstance(after, str):
        return _left_alone(change.path, f"exiftool did not write it ({after}).")
    assert change.before is not None
    same = _untouched(after) == _untouched(change.before) or (
        _untouched(after, but=_EXIF) == _untouched(change.before, but=_EXIF) and _has_same_exif(change.before, after)
    )
    if not same or _frames(after) != _frames(change.before):
        what = "exiftool would change more than keywords in it; without --embed it gets a sidecar."
        return _left_alone(change.path, what)
    try:
        _, there, now = _read(change.path, after)
    except PictureError as error:
        return error
    if there.changes_to(change.new) or set(now.iptc) != set(change.iptc):
        return _left_alone(change.path, "The keywords would not be read back as they are.")
    return replace(change, after=after)


def _untouched(data: bytes, *, but: bytes = _XMP) -> str | None:
    """Digest of all of a JPEG but XMP and IPTC: other segments, and everything from the scan on; None: not a JPEG.

    `but` begins a further kind of segment that does not count.
    """
    digest, position = hashlib.sha256(), 2
    while data[position : position + 1] == b"\xff" and data[position + 1 : position + 2] != b"\xda":
        if data[position + 1] == 0xFF:  # a fill byte
            position += 1
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if not data.startswith((_XMP, _IPTC, but), position + 4):
            digest.update(data[position:end])
        position = end
    digest.update(data[position:])
    return digest.hexdigest() if data[position : position + 2] == b"\xff\xda" else None


def _has_same_exif(before: bytes, after: bytes) -> bool:
    """Whether EXIF and maker notes say the same, wherever it lies in them: exiftool may close gaps between parts."""
    command = ["exiftool", "-config", "", "-j", "-G1", "-a", "-u", "-b", "-EXIF:all", "-MakerNotes:all", "-"]
    said: list[dict[str, object]] = []
    try:
        for data in (before, after):
            done = subprocess.run(command, input=data, capture_output=True, timeout=_SECONDS, check=True)
            said.append({name: its for name, its in json.loads(done.stdout)[0].items() if not name.endswith(_PLACES)})
    except (subprocess.SubprocessError, ValueError, LookupError):
        return False
    return said[0] == said[1]


def _frames(data: bytes) -> list[tuple[int, int]]:
    """Sizes of the pictures in a file, as far as they are found: some are found by their distance from its start."""
    sizes = []
    with suppress(Exception), Image.open(io.BytesIO(data), formats=("JPEG", "MPO")) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            sizes.append(image.size)
    return sizes


def _bytes(photo: Path) -> bytes:
    if photo.is_symlink():
        raise _left_alone(photo, "It is a link, which is not followed.")
    data = read_bytes(photo)
    if photo.suffix.lower() not in _ENDINGS or not data.startswith(b"\xff\xd8\xff") or _untouched(data) is None:
        raise _left_alone(photo, "Keywords are put inside JPEGs alone; without --embed it gets a sidecar.")
    return data


def _read(photo: Path, data: bytes) -> tuple[XmpLists, Keywords, Embedded]:
    was = embedded(data)
    if _EXTENDED in was.xmp:
        raise _left_alone(photo, "Its XMP is in several parts, which are left as they are.")
    try:
        lists = XmpLists(was.xmp or NEW)
        return lists, Keywords.of(lists), was
    except XmlError as error:
        raise _left_alone(photo, f"The XMP inside it {error}.") from error


def _left_alone(photo: Path, reason: str) -> PictureError:
    return PictureError("embed", reason, where=os.fsdecode(photo))
