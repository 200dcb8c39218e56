"""Which labels are seen and unseen, and which pictures train, choose and test. Knows no vectors and no pictures.

A split file is JSON: `{"seen": [...], "unseen": [...], "train": [...], "test": [...]}` with an optional `"val"`, or a
list of such objects, chosen as `FILE#2` (counted from 0). Pictures are named by their keys in the data set.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

from tagprism.counted import counted
from tagprism.datasets.compact import ImageIds, as_known
from tagprism.datasets.protocol import Protocol
from tagprism.datasets.table import ImageTable, first_ten
from tagprism.errors import InputError
from tagprism.files import digest_bytes, digest_json, read_json
from tagprism.labels.phrases import listed, spoken_phrase, variants

RUN_SPLIT = "split.json"
"""In a RUN: the split that it was trained with, where the data set does not bring it."""
_FORM = 'Write {"seen": [], "unseen": [], "train": [], "test": []}, "val" optional, or a list of such objects.'
_PARTS = ("seen", "unseen", "train", "val", "test")
_PICTURES, _REQUIRED = ("train", "val", "test"), ("seen", "unseen", "train", "test")
_REMARKS = {"name", "seed", "source", "comment"}  # allowed and not used


@dataclass(frozen=True)
class Split:
    """A division of labels and of pictures.

    Args:
        name: for people: the file and the number.
        seen: labels to train on.
        unseen: labels never trained on.
        train: keys of the pictures to train on; of an `ImageTable` of your own these are its files.
        test: keys of the pictures to measure on.
        val: keys of the pictures to choose a model by; part of nothing else, may be empty.
        protocol: the published one that this is, None for a split of a user's own.

    Raises:
        InputError: a part is a single text or holds something that is no name; see also `check`.

    Example:
        >>> from tagprism import ImageTable, Split
        >>> pictures = [("coffee.jpg", ["cup"]), ("chelsea.jpg", ["cat"]), ("rocket.jpg", ["sky"])]
        >>> table = ImageTable.from_labels(pictures, folder="tests/photos")
        >>> split = Split(seen=["cup", "sky"], unseen=["cat"], train=["coffee.jpg", "rocket.jpg"], test=["chelsea.jpg"])
        >>> split.check(table)  # says nothing: labels and pictures are in the table, and no side has what another has
    """

    name: str = "split"
    _: KW_ONLY
    seen: Sequence[str]
    unseen: Sequence[str]
    train: Sequence[str]
    test: Sequence[str]
    val: Sequence[str] = ()
    protocol: Protocol | None = None

    def __repr__(self) -> str:
        """One line: its numbers, not its contents."""
        parts = ", ".join(f"{len(getattr(self, part))} {part}" for part in _PARTS)
        return f"Split({self.name!r}, {parts})"

    def __post_init__(self) -> None:
        """Keep every part as a tuple of names; those of millions of pictures stay as they are."""
        for part in _PARTS:
            names = getattr(self, part)
            if not isinstance(names, ImageIds):
                if part in _PICTURES and isinstance(names, Iterable) and not isinstance(names, str):
                    names = (one.as_posix() if isinstance(one, PurePath) else one for one in names)
                object.__setattr__(self, part, listed(names, part))

    @classmethod
    def of(cls, protocol: Protocol) -> Split:
        """The split of a published protocol.

        Raises:
            InputError: a label is on both sides that the protocol does not name, or a part has no picture.
        """
        its = protocol
        parts = {part: getattr(its, part) for part in _PARTS}
        split = cls(**parts, name=its.name, protocol=its)
        _check_labels(split, where=its.name)
        for part in ("train", "test"):
            if not getattr(split, part):
                remedy = "Download its pictures, and look with `tagprism data info`."
                raise InputError(f"no picture of '{part}' is there.", where=its.name, remedy=remedy)
        return split

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the labels and keys (not the name), 64 hex digits."""
        return digest_json(self.to_json())

    def to_json(self) -> dict[str, list[str]]:
        """The object that a split file holds."""
        return {part: list(getattr(self, part)) for part in _PARTS}

    def check(self, table: ImageTable, *, where: str | None = None) -> None:
        """Refuse a split that does not fit a data set or does not keep its sides apart.

        Args:
            table: the data set.
            where: what to call the split in messages; else its name.

        Raises:
            InputError: naming up to ten offenders: unknown labels or pictures, a label on both sides (also as plural or
                other spelling), a picture in two parts, empty parts.
        """
        where = where or self.name
        for part in _REQUIRED:
            if not getattr(self, part):
                raise InputError(f"'{part}' is empty.", where=where, remedy=_FORM)
        known_labels = set(table.labels)
        for part in ("seen", "unseen"):
            strangers = (label for label in getattr(self, part) if label not in known_labels)
            _refuse(strangers, f"'{part}' names unknown labels", where)
        for part in _PICTURES:
            unknown = {key for key in getattr(self, part) if table.row(key) is None}
            skipped = sum(one.key in unknown for one in table.skipped) if unknown else 0
            reason = f" ({skipped} of them skipped by the table, see `table.skipped`)" if skipped else ""
            _refuse(unknown, f"'{part}' names unknown pictures{reason}", where)
        _check_labels(self, where=where)
        _refuse_twice((*self.train, *self.val, *self.test), where)


def split_of_run(model: Path) -> str | None:
    """The split file of a run, or of that which a bundle lies in; None where there is none, or the data set has it."""
    kept = (folder / RUN_SPLIT for folder in (model, model.parent))
    return next((str(own) for own in kept if own.is_file() and own.with_name("recipe.toml").is_file()), None)


def split_names(file: str) -> list[str]:
    """Names of the splits in a file, as `load_split` takes them.

    Raises:
        InputError: when the file is not a split file.
    """
    value = read_json(Path(file), remedy=_FORM)
    if isinstance(value, list):
        return [f"{file}#{number}" for number in range(len(value))]
    return [file]


def load_split(spec: str, table: ImageTable) -> Split:
    """Read a split and check it against a data set.

    Pictures that the data set itself skips (see `ImageTable.skipped`) are left out of the split.

    Args:
        spec: `FILE`, or `FILE#2` for the third of a list.
        table: the data set that it divides.

    Returns:
        The split.

    Raises:
        InputError: as for `Split.check`, wrong types, a number out of range.

    Example:
        >>> import json
        >>> from pathlib import Path
        >>> from tagprism import ImageTable, load_split
        >>> table = ImageTable.from_labels([("coffee.jpg", ["cup"]), ("chelsea.jpg", ["cat"])], folder="tests/photos")
        >>> split = {"seen": ["cup"], "unseen": ["cat"], "train": ["coffee.jpg"], "test": ["chelsea.jpg"]}
        >>> written = Path("two.json").write_text(json.dumps([split]))
        >>> load_split("two.json#0", table).unseen
        ('cat',)
    """
    path, number = _parse(spec)
    value, name = _chosen(read_json(path, remedy=_FORM), path, number)
    parts: dict[str, Any] = dict(_typed(value, name))
    skipped = {one.key for one in table.skipped}
    for part in _PICTURES:
        keys = as_known(parts[part], chain(table.keys, skipped))
        parts[part] = [key for key in keys if key not in skipped]
    for part in ("seen", "unseen"):
        parts[part] = as_known(parts[part], table.labels)
    split = Split(**parts, name=path.name if number is None else f"{path.name}#{number}")
    split.check(table, where=name)
    return split


def _check_labels(split: Split, *, where: str) -> None:
    allowed = split.protocol.same_label if split.protocol else frozenset()
    pairs = [pair for pair in shared_labels(split.seen, split.unseen) if pair not in allowed]
    both = [f"{seen} / {unseen}" for unseen, seen in pairs]
    _refuse(both, "labels are on both sides (same word, plural or spelling)", where)
    _refuse_twice((*split.seen, *split.unseen), where)


def _refuse_twice(names: Iterable[str], where: str) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    _refuse(twice, "named twice, in one part or in two", where)


def shared_labels(seen: Iterable[str], unseen: Iterable[str]) -> list[tuple[str, str]]:
    """All pairs (unseen, seen) that are the same label by `labels.phrases.same_label`, in linear time."""
    spelled: defaultdict[str, list[str]] = defaultdict(list)  # by its own spelling
    any_spelling: defaultdict[str, list[str]] = defaultdict(list)
    for label in seen:
        spelled[spoken_phrase(label)].append(label)
        for form in variants(label):
            any_spelling[form].append(label)
    pairs = []
    for label in unseen:
        same = dict.fromkeys(any_spelling.get(spoken_phrase(label), []))
        same |= dict.fromkeys(other for form in sorted(variants(label)) for other in spelled.get(form, []))
        pairs += [(label, other) for other in same]
    return pairs


def hold_out_validation(split: Split, fraction: float, seed: int) -> Split:
    """Move a part of the training pictures to validation.

    Whether a picture moves depends on the seed and its key alone, so every process and every later version of the data
    set agrees.

    Args:
        split: without a validation part.
        fraction: expected part of `train` that moves, between 0 and 1.
        seed: another seed, another part.

    Returns:
        The same split with `val` filled.

    Raises:
        InputError: when it has a validation part already, or the fraction leaves one of the two empty.
    """
    if split.val:
        raise InputError("the split has a validation part already.", where=split.name)
    moved = frozenset(key for key in split.train if seeded_draw(seed, key) < fraction)
    train = tuple(key for key in split.train if key not in moved)
    if not train or not moved:
        remedy = "Choose another share, or give more pictures."
        raise InputError(
            f"{fraction:g} of {counted(len(split.train), 'picture')} leaves a part empty.",
            where=split.name,
            remedy=remedy,
        )
    return replace(split, train=train, val=tuple(key for key in split.train if key in moved))


def seeded_draw(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    return int(digest_bytes(f"{seed}\0{name}".encode("utf-8", "surrogatepass"))[:13], 16) / 16**13


def _parse(spec: str) -> tuple[Path, int | None]:
    file, mark, number = spec.rpartition("#")
    if mark and number.isdecimal() and not Path(spec).exists():
        return Path(file), int(number)
    return Path(spec), None


def _chosen(value: Any, path: Path, number: int | None) -> tuple[Any, str]:
    if not isinstance(value, list):
        if number:
            raise InputError("it holds one split, not a list.", where=str(path), remedy=f"Name it as {path}.")
        return value, str(path)
    if number is None and len(value) == 1:
        number = 0
    if number is None or number >= len(value):
        remedy = f"Choose one from {path}#0 to {path}#{len(value) - 1}." if value else _FORM
        raise InputError(f"it holds {len(value)} splits.", where=str(path), remedy=remedy)
    return value[number], f"{path}#{number}"


def _typed(value: Any, where: str) -> dict[str, list[str]]:
    if not isinstance(value, dict):
        raise InputError("a split must be an object.", where=where, remedy=_FORM)
    missing = [part for part in _REQUIRED if part not in value]
    if missing:
        raise InputError(f"parts are missing: {first_ten(missing)}.", where=where, remedy=_FORM)
    _refuse(value.keys() - {*_REQUIRED, "val"} - _REMARKS, "unknown parts", where)
    parts: dict[str, list[str]] = {}
    for part in (*_REQUIRED, "val"):
        names = value.get(part, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"'{part}' must be a list of names.", where=where, remedy=_FORM)
        parts[part] = names
    return parts


def _refuse(names: Iterable[str], complaint: str, where: str) -> None:
    offenders = sorted(names)
    if offenders:
        raise InputError(f"{complaint}: {first_ten(offenders)}.", where=where, remedy="Mend the split.")
