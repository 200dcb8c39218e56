"""Whose keyword is whose: what a sidecar holds and what a model found -> what becomes of its lists. Knows no files.

`dc:subject` is the flat list that every photo program reads. `lr:hierarchicalSubject` holds paths; ours stand under one
root (`tagprism|beach`), or where the person's own hierarchy has them (`animals|cat`). darktable and digiKam read paths
*instead of* flat keywords where there are any, so the person's flat keywords are copied into a list of paths that would
hold ours alone. `digiKam:TagsList` comes before both in digiKam: where it is there, or the person has a hierarchy, ours
go in too. Lists in our own namespace say which keywords are ours and where they stand, which copies are, and which of
ours the person has taken away: those do not come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace

from tagprism.keywords.xml_tree import XmlError
from tagprism.keywords.xmp_lists import Change, ListName, XmpLists
from tagprism.labels.phrases import normalise_phrase, variants

ROOT = "tagprism"
_OWN = f"https://{ROOT}.invalid/xmp/1.0/"  # a name, never an address: `.invalid` is nobody's by RFC 2606
FLAT = ListName("http://purl.org/dc/elements/1.1/", "subject", "dc")
PATHS = ListName("http://ns.adobe.com/lightroom/1.0/", "hierarchicalSubject", "lr")
DIGIKAM = ListName("http://www.digikam.org/ns/1.0/", "TagsList", "digiKam", "Seq")
OURS = ListName(_OWN, "keywords", ROOT)
REJECTED = ListName(_OWN, "rejected", ROOT)
COPIED = ListName(_OWN, "copied", ROOT)
MODEL = ListName(_OWN, "model", ROOT)
PLACED = ListName(_OWN, "paths", ROOT)
COPIED_TAGS = ListName(_OWN, "copiedTags", ROOT)
_READ_ONLY = {  # what other programs keep beside the lists above -> what stands between its levels
    ListName("http://ns.microsoft.com/photo/1.0/", "LastKeywordXMP", "MicrosoftPhoto"): "/",
    ListName("http://ns.iview-multimedia.com/mediapro/1.0/", "CatalogSets", "mediapro"): "|",
}


@dataclass(frozen=True)
class Keywords:
    """The keywords of one XMP file.

    Args:
        flat: `dc:subject`.
        paths: `lr:hierarchicalSubject`, levels apart by `|`.
        digikam: `digiKam:TagsList`, levels apart by `/`.
        ours: marked as written by tagprism.
        rejected: written by tagprism and taken away by the person.
        copied: flat keywords of the person that tagprism copied into `paths`.
        model: digest of the model that found `ours`; empty or one.
        placed: paths of `ours` in the person's hierarchy; the others stand below our root.
        copied_tags: what tagprism copied into `digikam`, of the person's keywords.
        others: keywords in lists that are read and never written.
    """

    flat: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    digikam: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    placed: tuple[str, ...] = ()
    copied_tags: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, lists: XmpLists) -> Keywords:
        """Read them from an XMP file."""
        others: list[str] = []
        for name, separator in _READ_ONLY.items():
            with suppress(XmlError):  # a form that is not understood matters in lists that are written, not here
                others += (level for path in lists.words(name) for level in path.split(separator))
        return cls(**{field: lists.words(name) for name, field in _FIELDS.items()}, others=_once(others))

    @property
    def still_ours(self) -> tuple[str, ...]:
        """Marked, still there, and not filed elsewhere by the person since."""
        lost = {word for word, path in self._our_paths.items() if self.paths and path not in self.paths}
        return tuple(word for word in self.ours if word in self.flat and word not in lost)

    @property
    def yours(self) -> tuple[str, ...]:
        """Every keyword of the person: flat ones, and all levels of the paths that are not ours."""
        ours = set(self.still_ours)
        levels = (level for path in self.own_paths for level in path.split("|"))
        tags = (level for tag in self.own_tags for level in tag.split("/"))
        others = (word for word in self.others if word not in self.ours)
        return _once([*(word for word in self.flat if word not in ours), *levels, *tags, *others])

    @property
    def taken_away(self) -> tuple[str, ...]:
        """Keywords of ours that the person does not want."""
        return _once([*self.rejected, *(word for word in self.ours if word not in self.flat)])

    @property
    def own_paths(self) -> tuple[str, ...]:
        """Those of `paths` that are the person's."""
        not_own = {*self._our_paths.values(), *self.copied}
        return tuple(path for path in self.paths if path not in not_own)

    @property
    def own_tags(self) -> tuple[str, ...]:
        """Those of `digikam` that are the person's."""
        not_own = {*map(_tag, self._our_paths.values()), *self.copied_tags}
        return tuple(tag for tag in self.digikam if tag not in not_own)

    @property
    def _our_paths(self) -> dict[str, str]:
        return _paths(self.ours, self.placed)

    def with_found(self, found: Iterable[str], model: str, hierarchy: Mapping[str, str] | None = None) -> Keywords:
        """The keywords after a model looked at the picture.

        Args:
            found: what it found, best first; those that the person has, or has taken away, are left out.
            model: the model's digest, or empty where it is not known.
            hierarchy: the person's hierarchy: a keyword, normalised -> its path, whose last level it becomes.
        """
        placed_at = [(hierarchy or {}).get(normalise_phrase(word), tidy(word)) for word in found]
        leaves = [path.rpartition("|")[2] if path in (hierarchy or {}).values() else path for path in placed_at]
        wanted = distinct(leaves, (*self.yours, *self.taken_away))
        placed = _once(path for path, leaf in zip(placed_at, leaves, strict=True) if path != leaf and leaf in wanted)
        old, ours = set(self._our_paths.values()), _once(_paths(wanted, placed).values())
        mine = {*self.still_ours, *ours}
        own_flat = _once(word for word in self.flat if word not in mine)
        paths, copied = _filed(self.paths, self.copied, old, ours, own_flat)
        tags = _once(map(_tag, ours)) if self.own_tags or placed else ()
        own = _once(filter(None, map(_tag, self.own_paths))) or _flat_tags(own_flat)
        digikam, copied_tags = _filed(self.digikam, self.copied_tags, set(map(_tag, old)), tags, own)
        flat = _once([*(word for word in self.flat if word in wanted or word not in self.still_ours), *wanted])
        return Keywords(
            flat=flat,
            paths=paths,
            digikam=digikam,
            ours=wanted,
            rejected=self.taken_away,
            copied=copied,
            model=(model,) if wanted and model else (),
            placed=placed,
            copied_tags=copied_tags,
            others=self.others,
        )

    def with_marks(self, added: Sequence[str], rejected: Sequence[str]) -> Keywords:
        """The keywords after a person said of some tags whether they are right.

        Args:
            added: become keywords of the person, whosever they were before; no later model takes them away.
            rejected: leave where they are tagprism's, and do not come back; keywords of the person stay.
        """
        added, forms = _once(filter(None, map(tidy, added))), {form for word in added for form in variants(word)}
        unwanted = {form for word in rejected for form in variants(word)} - forms
        mine = [word for word in self.still_ours if normalise_phrase(word) not in unwanted | forms]
        hierarchy = {normalise_phrase(path.rpartition("|")[2]): path for path in self.placed}
        left = self.with_found(mine, "".join(self.model), hierarchy)
        fresh = distinct(added, left.yours)
        paths = (*left.paths, *fresh) if left.paths else ()  # where there are paths, programs read them instead
        tags = _flat_tags(fresh)
        digikam = _once([*left.digikam, *tags]) if left.digikam else ()
        copied = (*left.copied, *fresh) if left.ours and not left.own_paths else left.copied
        copied_tags = _once([*left.copied_tags, *tags]) if left.digikam and not left.own_tags else left.copied_tags
        given_back = [word for word in left.rejected if normalise_phrase(word) not in forms]
        gone = distinct(map(tidy, rejected), (*left.yours, *given_back, *fresh))
        new = {"paths": paths, "digikam": digikam, "copied": copied, "copied_tags": copied_tags}
        return replace(left, flat=(*left.flat, *fresh), rejected=(*given_back, *gone), **new)

    def changes_to(self, new: Keywords) -> dict[ListName, Change]:
        """What makes an XMP file that holds these hold `new`; empty where they are the same."""
        changes = {}
        for name, field in _FIELDS.items():
            before, after = getattr(self, field), getattr(new, field)
            remove, add = frozenset(before) - set(after), tuple(word for word in after if word not in before)
            if remove or add:
                changes[name] = Change(remove, add)
        return changes


_FIELDS = {
    FLAT: "flat",
    PATHS: "paths",
    DIGIKAM: "digikam",
    OURS: "ours",
    REJECTED: "rejected",
    COPIED: "copied",
    MODEL: "model",
    PLACED: "placed",
    COPIED_TAGS: "copied_tags",
}


def tidy(word: str) -> str:
    """A keyword as it is written: white space collapsed."""
    return " ".join(word.split())


def _paths(words: Iterable[str], placed: Iterable[str]) -> dict[str, str]:
    """Where keywords of ours stand; below our root a separator inside one would make a level of its own."""
    hierarchy = {path.rpartition("|")[2]: path for path in placed}
    return {word: hierarchy.get(word) or f"{ROOT}|{tidy(word.replace('|', ' '))}" for word in words}


def _tag(path: str) -> str:
    """A path as digiKam writes it."""
    return "/".join(tidy(level.replace("/", " ")) for level in path.split("|"))


def _flat_tags(words: Iterable[str]) -> tuple[str, ...]:
    """Flat keywords as digiKam writes them; one of slashes alone would be nothing."""
    return _once(filter(None, (tidy(word.replace("/", " ")) for word in words)))


def _filed(
    entries: Sequence[str], copied: Sequence[str], old: Set[str], new: Sequence[str], own: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A list with new entries of ours in place of old ones, and which entries are copies of the person's own keywords.

    A list that would hold ours alone gets copies; in others the person's programs keep what they want there.
    """
    theirs = any(entry not in old and entry not in copied for entry in entries)
    still = tuple(word for word in copied if word in entries and word in own)
    copies = (still if theirs else tuple(own)) if new else ()
    gone = {*old, *copied} - {*new, *copies}
    return _once([*(entry for entry in entries if entry not in gone), *copies, *new]), copies


def _once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def distinct(words: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """Words that are no spelling of a known one nor of one before them."""
    spellings = {normalise_phrase(word) for word in known}
    forms = {form for word in known for form in variants(word)}
    kept = []
    for word in words:
        if word and not spellings & variants(word) and normalise_phrase(word) not in forms:
            kept.append(word)
            spellings.add(normalise_phrase(word))
    return tuple(kept)
