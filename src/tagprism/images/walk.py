"""Files and folders -> the picture files in them, in a stable order. Opens no picture."""

# ruff: noqa: PTH112, PTH114, PTH116, PTH118, PTH122
# Paths are strings here: a million `Path`s take a gigabyte, and joining them more time than listing the folders.

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from tagprism.images.formats import begins_like_a_picture, not_read, picture_extensions
from tagprism.images.leave_out import IGNORE_FILE, Patterns, patterns, patterns_in
from tagprism.images.picture_file import RAW_ENDINGS

_BESIDE_RAW = frozenset({".jpg", ".jpeg", ".heic", ".heif", ".hif"})
"""Endings of the picture that a camera or telephone saves together with a raw file or a film, under the same name."""

_WITHOUT_ENDING = "without an ending such as .jpg (add one, or name such files themselves)"
_KEPT_BY_PROGRAMS = {  # in small letters
    *("@eadir", "#recycle", "#snapshot"),  # Synology
    *("@recycle", "@recently-snapshot", ".@__thumb"),  # QNAP
    *("$recycle.bin", "recycler", "system volume information"),  # Windows
    *("lost+found", "__macosx"),
}
_PACKAGES = (  # folders that macOS shows as one file, and the previews of Lightroom
    *(".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary", ".theater"),
    *(".app", ".imovielibrary", ".fcpbundle", ".tvlibrary", ".musiclibrary", ".lrdata", ".lrlibrary"),
)
_NAMED = 5  # kinds of folders that the sentence of a report names at most
_MOST_OPENED = 1000  # files of a walk without an ending that turn out to be no pictures


def find_pictures(
    paths: Iterable[str | os.PathLike[str]], *, exclude: Sequence[str] = (), report: WalkReport | None = None
) -> list[Path]:
    """List the picture files that `each_picture` finds."""
    return [Path(path) for path in each_picture(paths, exclude=exclude, report=report)]


def each_picture(
    paths: Iterable[str | os.PathLike[str]],
    *,
    exclude: Sequence[str] = (),
    without: Sequence[str] = (),
    report: WalkReport | None = None,
) -> Iterator[str]:
    """Find the picture files among files and in folders, each real file once.

    A file that is named is taken whatever its extension, also when it is missing: decoding it says what is wrong.
    Folders are read recursively, entries in byte order of their names; symbolic links are followed, and a folder
    already visited, by whatever path, is not entered again. Hidden entries (`.thumbnails`, `._photo.jpg`), what
    programs and systems keep beside photos (`@eaDir`), and what a `.tagprismignore` names are left out. A folder that
    cannot be listed comes back itself, so that it is reported like a picture that cannot be read.

    A raw file beside a JPEG or HEIC of the same name is the same picture and does not come a second time, and the short
    film that a telephone saves beside a photo is no film of its own.

    Memory grows with the number of folders, links and named files, and with the names in the folders that lead to
    where the walk is; not with the number of pictures.

    Args:
        paths: files and folders, in the order wanted; fetched one by one.
        exclude: patterns as in a `.gitignore` of each folder that is named; they hold for named files, too.
        without: folders that are not entered.
        report: told of what is not walked.

    Yields:
        Paths as reached (not resolved), without those that lead to a file that came before, or that a folder already
        entered gives.

    Raises:
        InputError: a pattern is none, or a `.tagprismignore` cannot be read.
    """
    walk = Walk(exclude, without, report)
    for path in paths:
        yield from walk.below(os.fspath(path))


class WalkReport:
    """Counts what walks leave out.

    Attributes:
        folders: how many of each kind; nobody looks into them.
        pictures: how many files with a picture's name, by reason.
        links: how many links were followed, and folders met a second time.
        not_read: kind -> how many files are pictures or films of a kind that is not read.

    Args:
        passed: told of path and kind of each of these.
    """

    def __init__(self, passed: Callable[[str, str], None] = lambda path, kind: None) -> None:
        self.links = 0
        self.not_read: Counter[str] = Counter()
        self._passed = passed
        self.folders: Counter[str] = Counter()
        self.pictures: Counter[str] = Counter()

    def pass_over(self, path: str, kind: str) -> None:
        """Count a file of a kind that is not read."""
        self.not_read[kind] += 1
        self._passed(path, kind)

    def __str__(self) -> str:
        """What is said of it; empty where nothing was left out."""
        kinds = [f"{count:,} {'folder' if count == 1 else 'folders'} {kind}" for kind, count in self._kinds()]
        files = [
            f"{count:,} {'picture' if count == 1 else 'pictures'} {kind}"
            for kind, count in sorted(self.pictures.items())
        ]
        return ", ".join((*kinds, *files))

    def _kinds(self) -> list[tuple[str, int]]:
        common = sorted(self.folders.items(), key=lambda one: (-one[1], one[0]))[:_NAMED]
        rest = self.folders.total() - sum(count for _, count in common)
        return [*common, ("of other names", rest)] if rest else common


@dataclass
class _Folder:
    """A folder under way.

    Args:
        path: as reached.
        identity: the same for every path to it.
        names: entries left to do, the next one last.
        special: those that are folders (True) or links to something else (False).
        rules: which of the entries are left out.
    """

    path: str
    identity: bytes
    names: list[str]
    special: dict[str, bool]
    rules: tuple[Patterns, ...]


class Walk:
    """What was met so far: folders entered, and files that no entered folder accounts for."""

    def __init__(self, exclude: Sequence[str], without: Sequence[str], report: WalkReport | None = None) -> None:
        self._excluding: tuple[Patterns, ...] = ()
        self._exclude, self._report = exclude, report if report is not None else WalkReport()
        self._folders: dict[bytes, tuple[str, tuple[Patterns, ...]]] = {}
        self._files: set[bytes] = {identity(folder) for folder in without}
        self._opened = 0

    def below(self, start: str) -> Iterator[str]:
        """A named file, or the pictures of a folder and its folders."""
        if os.path.isdir(start):
            self._excluding = self._excluded(start)
            yield from self._folder(start)
        elif any(rule.leave_out(start) for rule in self._excluded(os.path.split(start)[0])):
            self._report.pictures["by patterns"] += 1
        elif self._is_new(start):
            yield start

    def _excluded(self, folder: str) -> tuple[Patterns, ...]:
        return patterns(folder, self._exclude, "--exclude") if self._exclude else ()

    def _folder(self, start: str, rules: tuple[Patterns, ...] = (), stems: Collection[str] = ()) -> Iterator[str]:
        waiting: list[_Folder] = []  # a stack instead of recursion, as trees can be deep
        yield from self._enter(start, rules, waiting, stems)
        while waiting:
            folder = waiting[-1]
            if not folder.names:
                waiting.pop()
                continue
            name = folder.names.pop()
            path = os.path.join(folder.path, name)
            if name not in folder.special:
                if _key(folder.identity, name) not in self._files:
                    yield path
            elif folder.special[name]:
                yield from self._enter(path, folder.rules, waiting)
            elif self._is_new(path):
                yield path

    def _enter(
        self, path: str, rules: tuple[Patterns, ...], waiting: list[_Folder], stems: Collection[str] = ()
    ) -> Iterator[str]:
        key = identity(path)
        if key in self._folders or key in self._files:
            self._report.links += 1
            return
        rules += rules_in(path)
        names: list[str] = []
        special: dict[str, bool] = {}
        others: list[str] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if stems and stem(entry.name) not in stems:
                        continue
                    link = entry.is_symlink()
                    is_folder = os.path.isdir(entry.path) if link else entry.is_dir(follow_symlinks=False)
                    is_picture = is_picture_name(entry.name)
                    if is_folder and stems and not is_picture:
                        continue
                    if not is_picture and not is_folder:
                        if not self._reason(path, entry.name, False, rules):
                            others.append(entry.name)
                            if not stems and not _ending(entry.name) and entry.is_file(follow_symlinks=False):
                                self._without_ending(entry.path)
                        continue
                    if reason := self._reason(path, entry.name, is_folder, rules):
                        (self._report.folders if is_folder else self._report.pictures)[reason] += 1
                        continue
                    if is_folder or link:
                        special[entry.name] = is_folder
                        self._report.links += link
                    names.append(entry.name)
        except OSError:
            self._files.add(key)
            yield path
            return
        if not stems:
            self._folders[key] = path, rules
        names = self._without_pairs(path, names, others)
        names.sort(key=os.fsencode, reverse=True)
        waiting.append(_Folder(path, key, names, special, rules))

    def _reason(self, folder: str, name: str, is_folder: bool, rules: tuple[Patterns, ...]) -> str | None:
        """Why an entry (a folder, or a link to one; or a file) is left out: what it is counted as; None where not.

        Of the rules that hold in its folder, what later ones say goes before what earlier ones say.
        """
        reason = None
        if name.startswith("."):
            reason = name if is_folder else "hidden"
        elif is_folder and name.casefold() in _KEPT_BY_PROGRAMS:
            reason = name
        elif is_folder and name.lower().endswith(_PACKAGES):
            reason = f"*{os.path.splitext(name)[1].lower()}"
        for rule in (*rules, *self._excluding):
            said = rule.leave_out(os.path.join(folder, name) + ("/" if is_folder else ""))
            if said is not None:
                reason = "by patterns" if said else None
        return reason

    def _without_ending(self, path: str) -> None:
        """Count a file without an ending that is a picture; after many that are none, no more are opened."""
        if self._opened < _MOST_OPENED:
            if begins_like_a_picture(path):
                self._report.pictures[_WITHOUT_ENDING] += 1
            else:
                self._opened += 1

    def _without_pairs(self, folder: str, names: list[str], others: list[str]) -> list[str]:
        """Names without the raw files that belong to a photo; what is not read and belongs to none is told."""
        photos = {stem(name) for name in names if _ending(name) in _BESIDE_RAW}
        for name in others:
            kind = not_read(name)
            if kind and not (kind in ("camera raw", "video") and stem(name) in photos):
                self._report.pass_over(os.path.join(folder, name), kind)
        return [name for name in names if not (_ending(name) in RAW_ENDINGS and stem(name) in photos)]

    def _is_new(self, path: str) -> bool:
        """Whether a link or a named file leads to a file that did not come yet and that no entered folder gives."""
        real = os.path.realpath(path)
        folder, name = os.path.split(real)
        key = _key(identity(folder), name)
        reached, rules = self._folders.get(identity(folder), (None, ()))
        given = reached is not None and is_picture_name(name) and not self._reason(reached, name, False, rules)
        if key in self._files or (given and os.path.lexists(real) and not os.path.islink(real)):
            return False
        self._files.add(key)
        return True


def rules_in(folder: str) -> tuple[Patterns, ...]:
    """What the `.tagprismignore` of a folder says, if there is one; errors as for `patterns_in`."""
    return patterns_in(folder) if os.path.lexists(os.path.join(folder, IGNORE_FILE)) else ()


def identity(path: str) -> bytes:
    """What is the same for every path to a folder: through links, by other spellings, mounted twice."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        status = None
    if status is None or not status.st_ino:  # some network file systems have no such numbers
        return _digest(os.fsencode(os.path.realpath(path)))
    return b"%d %d" % (status.st_dev, status.st_ino)


def _key(folder: bytes, name: str) -> bytes:
    return _digest(folder + b"/" + os.fsencode(name))


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()  # half the memory of a path


def stem(name: str) -> str:
    """What the files have in common that a camera saves of one photo."""
    return os.path.splitext(name)[0].casefold()


def is_picture_name(name: str) -> bool:
    """Whether a file of this name is taken for a picture."""
    return _ending(name) in picture_extensions()


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()
