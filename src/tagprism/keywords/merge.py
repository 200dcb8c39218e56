"""Whose keyword is whose: what a sidecar holds and what a model found -> what becomes of its lists. Knows no files.

`dc:subject` is the flat list that every photo program reads. `lr:hierarchicalSubject` holds paths; ours stand under one
root (`tagprism|beach`). darktable and digiKam read paths *instead of* flat keywords where there are any, so the
person's flat keywords are copied into a list of paths that would hold ours alone. `digiKam:TagsList` comes before both
in digiKam: where it is there, ours go in too. Lists in our own namespace say which keywords are ours, which copies are,
and which of ours the person has taken away: those do not come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Keywords:
    """The keywords of one sidecar.

    Args:
        flat: `dc:subject`.
        paths: `lr:hierarchicalSubject`, levels apart by `|`.
        digikam: `digiKam:TagsList`, levels apart by `/`.
        ours: marked as written by tagprism.
        rejected: written by tagprism and taken away by the person.
        copied: flat keywords of the person that tagprism copied into `paths`.
        model: digest of the model that found `ours`; empty or one.
    """

    flat: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    digikam: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    model: tuple[str, ...] = ()

    @classmethod
    def of(cls, lists: XmpLists) -> Keywords:
        """Read them from a sidecar."""
        return cls(*(lists.words(name) for name in (FLAT, PATHS, DIGIKAM, OURS, REJECTED, COPIED, MODEL)))

    @property
    def still_ours(self) -> tuple[str, ...]:
        """Marked, still there, and not filed elsewhere by the person since."""
        lost_path = {word for word in self.ours if self.paths and _path(word, "|") not in self.paths}
        return tuple(word for word in self.ours if word in self.flat and word not in lost_path)

    @property
    def yours(self) -> tuple[str, ...]:
        """Every keyword of the person: flat ones, and all levels of the paths that are not ours."""
        ours = set(self.still_ours)
        levels = (level for path in self._own_paths() for level in path.split("|"))
        in_digikam = {_path(word, "/") for word in self.ours}
        digikam = (level for path in self.digikam if path not in in_digikam for level in path.split("/"))
        return _once([*(word for word in self.flat if word not in ours), *levels, *digikam])

    @property
    def taken_away(self) -> tuple[str, ...]:
        """Keywords of ours that the person does not want."""
        return _once([*self.rejected, *(word for word in self.ours if word not in self.flat)])

    def _own_paths(self) -> tuple[str, ...]:
        not_own = {_path(word, "|") for word in self.ours} | set(self.copied)
        return tuple(path for path in self.paths if path not in not_own)

    def with_found(self, found: Iterable[str], model: str) -> Keywords:
        """The keywords after a model looked at the picture.

        Args:
            found: what it found, best first; those that the person has, or has taken away, are left out.
            model: the model's digest, or empty where it is not known.
        """
        known = (*self.yours, *self.taken_away)
        wanted = _distinct((tidy(word) for word in found), known)
        mine = [word for word in self.still_ours if word not in wanted]
        flat = _once([*(word for word in self.flat if word not in mine), *wanted])
        ours = _once(_path(word, "|") for word in wanted)
        copied = self._copies(wanted, ours)
        not_own = {_path(word, "|") for word in self.ours} | set(self.copied)
        kept = [path for path in self.paths if path not in not_own or path in ours or path in copied]
        digikam = self.digikam
        if digikam:
            old = {_path(word, "/") for word in self.ours}
            new = [_path(word, "/") for word in wanted]
            digikam = _once([*(path for path in digikam if path not in old or path in new), *new])
        paths = _once([*kept, *copied, *ours])
        return Keywords(flat, paths, digikam, wanted, self.taken_away, copied, (model,) if wanted and model else ())

    def with_marks(self, added: Sequence[str], rejected: Sequence[str]) -> Keywords:
        """The keywords after a person said of some tags whether they are right.

        Args:
            added: become keywords of the person, whosever they were before; no later model takes them away.
            rejected: leave where they are tagprism's, and do not come back; keywords of the person stay.
        """
        added, forms = _once(filter(None, map(tidy, added))), {form for word in added for form in variants(word)}
        unwanted = {form for word in rejected for form in variants(word)} - forms
        mine = [word for word in self.still_ours if normalise_phrase(word) not in unwanted | forms]
        left = self.with_found(mine, "".join(self.model))
        fresh = _distinct(added, left.yours)
        paths = (*left.paths, *fresh) if left.paths else ()  # where there are paths, programs read them instead
        digikam = (*left.digikam, *fresh) if left.digikam else ()
        copied = (*left.copied, *fresh) if left.ours and not left._own_paths() else left.copied
        given_back = [word for word in left.rejected if normalise_phrase(word) not in forms]
        gone = _distinct(map(tidy, rejected), (*left.yours, *given_back, *fresh))
        new = {"paths": paths, "digikam": digikam, "copied": copied, "rejected": (*given_back, *gone)}
        return replace(left, flat=(*left.flat, *fresh), **new)

    def _copies(self, wanted: Sequence[str], ours: Sequence[str]) -> tuple[str, ...]:
        if not wanted:
            return ()
        mine = {*self.still_ours, *ours}
        flat = _once(word for word in self.flat if word not in mine)
        if self._own_paths():  # the person's programs keep paths themselves
            return tuple(word for word in self.copied if word in self.paths and word in flat)
        return flat

    def changes_to(self, new: Keywords) -> dict[ListName, Change]:
        """What makes a sidecar that holds these hold `new`; empty where they are the same."""
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
}


def tidy(word: str) -> str:
    """A keyword as it is written: white space collapsed."""
    return " ".join(word.split())


def _path(word: str, separator: str) -> str:
    """A keyword below our root; a separator inside it would make a level of its own."""
    return f"{ROOT}{separator}{tidy(word.replace(separator, ' '))}"


def _once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _distinct(words: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """Words that are no spelling of a known one nor of one before them."""
    spellings = {normalise_phrase(word) for word in known}
    forms = {form for word in known for form in variants(word)}
    kept = []
    for word in words:
        if word and not spellings & variants(word) and normalise_phrase(word) not in forms:
            kept.append(word)
            spellings.add(normalise_phrase(word))
    return tuple(kept)
