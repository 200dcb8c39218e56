"""The vocabulary: label names, their vectors, which were seen in training, and aliases. Knows no encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Float32, Int64

from tagprism.errors import InputError
from tagprism.files import digest_bytes, read_tensors, tensor_bytes, write_tensors
from tagprism.labels.phrases import (
    joined_variants,
    listed,
    normalise_phrase,
    variants,
    without_accents,
    without_punctuation,
)

Role: TypeAlias = Literal["seen", "unseen", "other"]
Groups: TypeAlias = Int64[np.ndarray, "L K"]
_KIND, _VERSION = "vocabulary", 2
_REMEMBERED = 1 << 18  # phrases
_SEVERAL = 2  # the version of a file in which labels have several vectors; without such labels it is still 1


def groups_of(sizes: Sequence[int]) -> Groups:
    """Numbers (L, K) of the vectors of labels that lie one after the other, the first one again to fill a row up.

    Args:
        sizes: how many vectors each of L labels has, at least 1.
    """
    count, steps = np.asarray(sizes, np.int64), np.arange(max(sizes))[None]
    return (np.cumsum(count) - count)[:, None] + np.where(steps < count[:, None], steps, 0)


def owners_of(groups: Groups) -> Int64[np.ndarray, " V"]:
    """The label that each vector is of."""
    owners = np.empty(groups.max() + 1, np.int64)
    owners[groups] = np.arange(len(groups))[:, None]
    return owners


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The labels that images are ranked against; names and aliases are unique after `normalise_phrase`.

    Args:
        names: L label names, as people shall read them.
        vectors: float32 (L, D), one finite vector per name; kept as a read-only copy.
        roles: per name `seen` (trained on), `unseen` (kept out of training, evaluated) or `other`.
        aliases: other spellings of some of the names.
        several: name -> (k, D) vectors of a label's sentences; its score is then the best of theirs, and its own vector
            stands for it where one is wanted.

    Raises:
        InputError: sizes differ, a vector is not finite, or two spellings are the same.

    Example:
        >>> import numpy as np
        >>> from tagprism import Vocabulary
        >>> words = Vocabulary(("cat", "dog"), np.eye(2, dtype="float32"), ("seen", "unseen"), {"cat": ("kitten",)})
        >>> words.index("Kitten"), words.dimension, words.unseen
        (0, 2, ('dog',))
    """

    names: tuple[str, ...]
    vectors: Float32[np.ndarray, "L D"]
    roles: tuple[Role, ...]
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    several: dict[str, Float32[np.ndarray, "_ D"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in ("names", "roles"):
            object.__setattr__(self, part, listed(getattr(self, part), part))
        if not len(self.names) == len(self.vectors) == len(self.roles):
            counts = f"{len(self.names)} names, {len(self.vectors)} vectors and {len(self.roles)} roles"
            raise InputError(f"{counts} do not fit together.", where="vocabulary")
        broken = [
            name for name, fine in zip(self.names, np.isfinite(self.vectors).all(axis=1), strict=True) if not fine
        ]
        if broken:
            raise InputError(f"the vector of `{broken[0]}` holds NaN or infinity.", where="vocabulary")
        vectors = np.array(self.vectors, dtype=np.float32)
        vectors.flags.writeable = False
        object.__setattr__(self, "vectors", vectors)
        _ = self._rows  # finds spellings that are given twice
        for name, its in self.several.items():
            if name not in self.names or its.shape[1:] != vectors.shape[1:] or not np.isfinite(its).all():
                what = f"the vectors of the sentences of `{name}` do not fit its name and size, or hold NaN."
                raise InputError(what, where="vocabulary")

    @cached_property
    def words_of_names(self) -> frozenset[str]:
        """Words of the names: who knows a `Bedlington terrier` knows one on grass."""
        return frozenset(word for name in self.names for word in normalise_phrase(name).split())

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Row of every normalised name and alias."""
        if strangers := sorted(set(self.aliases) - set(self.names)):
            raise InputError(f"aliases are given for `{strangers[0]}`, which is not a name.", where="vocabulary")
        rows: dict[str, int] = {}
        for row, name in enumerate(self.names):
            for spelling in dict.fromkeys(normalise_phrase(text) for text in (name, *self.aliases.get(name, ()))):
                if not spelling:
                    raise InputError(f"a spelling of name {row + 1} (`{name}`) is empty.", where="vocabulary")
                if spelling in rows:
                    raise InputError(
                        f"`{spelling}` is given twice: for `{self.names[rows[spelling]]}` and for `{name}`.",
                        where="vocabulary",
                        remedy="Keep one of them.",
                    )
                rows[spelling] = row
        return rows

    @property
    def dimension(self) -> int:
        """Size D of a label vector."""
        return int(self.vectors.shape[1])

    @property
    def seen(self) -> tuple[str, ...]:
        """Names of the labels that were trained on."""
        return self.names_of("seen")

    @property
    def unseen(self) -> tuple[str, ...]:
        """Names of the labels that were kept out of training."""
        return self.names_of("unseen")

    def names_of(self, role: Role) -> tuple[str, ...]:
        """Names of the labels with a role, in order."""
        return tuple(name for name, its in zip(self.names, self.roles, strict=True) if its == role)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, roles, aliases and float32 vectors, however a file stores them: equal for equal ones."""
        return digest_bytes(tensor_bytes(_KIND, self._version, self._header(), self._tensors()))

    @property
    def _version(self) -> int:
        return _SEVERAL if self.several else 1

    def _tensors(self) -> dict[str, np.ndarray]:
        if not self.several:
            return {"vectors": self.vectors}
        owners = np.repeat([self.names.index(name) for name in self.several], [*map(len, self.several.values())])
        return {"vectors": self.vectors, "owners": owners, "several": np.concatenate(list(self.several.values()))}

    def scored(self, names: Sequence[str] | None = None) -> tuple[Float32[np.ndarray, "V D"], Groups | None]:
        """The vectors that score some of the labels, and which of them each label owns.

        Args:
            names: names of labels, as they are; all of them when None.

        Returns:
            (V, D) vectors, and (L, K) numbers of each label's, as `max_similarity` takes them; None where V = L.
        """
        names = self.names if names is None else names
        positions = {name: row for row, name in enumerate(self.names)}
        own = [self.several.get(name, self.vectors[positions[name]][None]) for name in names]
        if max(map(len, own), default=1) == 1:
            return self.vectors[[positions[name] for name in names]], None
        return np.concatenate(own), groups_of([*map(len, own)])

    def find(self, name: str) -> int | None:
        """Row of a label by a name or an alias, in any case and spacing; None when it is not in the vocabulary."""
        return self._rows.get(normalise_phrase(name))

    def find_alike(self, name: str) -> int | None:
        """The same, also in another number, with other accents, apart, joined or in punctuation (`cafés`, `dog!`)."""
        if (found := self.find(name)) is not None:
            return found  # without the spellings, which take a hundred times as long to list
        known = self._other_spellings
        if (row := known.get(name, -1)) == -1:
            if len(known) >= _REMEMBERED:
                known.clear()
            row = known[name] = self._find_other_spelling(name)
        return row

    @cached_property
    def _other_spellings(self) -> dict[str, int | None]:
        """What names are that stand here in no such spelling; remembered, as a list is gone through several times."""
        return {}

    def _find_other_spelling(self, name: str) -> int | None:
        if (row := self._find_variant(name)) is None and (bare := without_punctuation(name)) != name:
            return self._find_variant(bare)
        return row

    def _find_variant(self, name: str) -> int | None:
        if name.isascii() and self._run_together.keys().isdisjoint(joined_variants(name)):
            return None  # most phrases of a long list, before all their spellings are made
        for text in (name, without_accents(normalise_phrase(name))):
            for spelling in (normalise_phrase(text), *sorted(variants(text))):
                if (row := self._rows.get(spelling)) is not None:
                    return row
        return next(
            (row for one in sorted(variants(name)) if (row := self._run_together.get(_bare(one))) is not None), None
        )

    @cached_property
    def _run_together(self) -> dict[str, int]:
        """Row of every spelling without its accents, spaces and hyphens, of which who types may leave some away."""
        return {_bare(spelling): row for spelling, row in reversed(self._rows.items())}

    def index(self, name: str) -> int:
        """Row of a label.

        Args:
            name: a name or an alias, in any case and spacing.

        Returns:
            Its row in `names` and `vectors`.

        Raises:
            InputError: it is not in the vocabulary; the nearest names are given.
        """
        row = self.find(name)
        if row is None:
            near = ", ".join(self.nearest_names(name, 3))
            remedy = f"Nearest names: {near}." if near else None
            raise InputError(f"`{name}` is not in the vocabulary.", remedy=remedy)
        return row

    def roles_of(self, phrases: Sequence[str]) -> tuple[Role, ...]:
        """Roles of phrases: of the label that each spells; `seen` for every spelling of a seen one; else `unseen`."""
        phrases = listed(phrases, "phrases")
        if phrases == self.names:  # thousands of labels in no time
            return self.roles
        rows = [self.find_alike(phrase) for phrase in phrases]
        unseen: Role = "unseen"
        seen: Role = "seen"
        roles = [unseen if row is None else self.roles[row] for row in rows]
        return tuple(
            seen if normalise_phrase(phrase) in self._seen_spellings else role
            for phrase, role in zip(phrases, roles, strict=True)
        )

    @cached_property
    def _seen_spellings(self) -> frozenset[str]:
        return frozenset(spelling for name in self.seen for spelling in variants(name))

    def select(self, names: Sequence[str]) -> Vocabulary:
        """The vocabulary of some of the labels, in the given order.

        Args:
            names: names or aliases.

        Returns:
            A vocabulary with the labels' own names, vectors, roles and aliases.

        Raises:
            InputError: one is not in the vocabulary, or is named twice.
        """
        rows = [self.index(name) for name in listed(names, "names")]
        chosen = tuple(self.names[row] for row in rows)
        aliases = {name: self.aliases[name] for name in chosen if name in self.aliases}
        several = {name: self.several[name] for name in chosen if name in self.several}
        return Vocabulary(chosen, self.vectors[rows], tuple(self.roles[row] for row in rows), aliases, several)

    def nearest_names(self, phrase: str, n: int = 3) -> list[str]:
        """Names that are spelt most like a phrase.

        Args:
            phrase: any text.
            n: how many at most.

        Returns:
            Names, the most alike first; ties in vocabulary order.
        """
        from rapidfuzz import fuzz, process  # here, as mostly all words are known

        found = process.extract(normalise_phrase(phrase), list(self._rows), scorer=fuzz.ratio, limit=None)
        rows = dict.fromkeys(self._rows[spelling] for spelling, _, _ in found)
        return [self.names[row] for row in rows][:n]

    def save(self, path: Path, *, halves: bool = False) -> None:
        """Write the vocabulary as safetensors, whole or not at all; `halves` stores float16, half the size."""
        stored = {
            name: array.astype(np.float16) if halves and array.dtype == np.float32 else array
            for name, array in self._tensors().items()
        }
        write_tensors(path, _KIND, self._version, self._header(), stored)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote.

        Args:
            path: the file.

        Returns:
            The vocabulary.

        Raises:
            InputError: the file is absent, damaged, of another kind or of a newer format.
        """
        header, tensors = read_tensors(path, _KIND, _VERSION)
        try:
            names = tuple(header["names"])
            if unknown := sorted(set(header["roles"]) - set(get_args(Role))):
                known = ", ".join(get_args(Role))
                raise InputError(f"unknown role `{unknown[0]}`; known are {known}.", where=str(path))
            aliases = {name: tuple(others) for name, others in header["aliases"].items()}
            spellings = [*names, *(spelling for others in aliases.values() for spelling in others)]
            vectors = tensors["vectors"]
            if vectors.ndim != 2 or vectors.dtype.kind != "f" or not all(isinstance(name, str) for name in spellings):
                raise TypeError("vectors must be a table of numbers, names must be words")
            several, owners = tensors.get("several", vectors[:0]).astype(np.float32), tensors.get("owners", ())
            owned = {names[row]: several[owners == row] for row in dict.fromkeys(map(int, owners))}
            return cls(names, vectors.astype(np.float32), tuple(header["roles"]), aliases, owned)
        except KeyError as error:
            raise InputError(f"the vocabulary lacks {error}.", where=str(path), remedy="Make it again.") from error
        except (TypeError, AttributeError, ValueError, IndexError) as error:
            raise InputError(f"damaged ({error}).", where=str(path), remedy="Make or copy it again.") from error

    def _header(self) -> dict[str, object]:
        aliases = {name: list(others) for name, others in self.aliases.items()}
        return {"names": list(self.names), "roles": list(self.roles), "aliases": aliases}


def _bare(spelling: str) -> str:
    plain = spelling if spelling.isascii() else without_accents(spelling)
    return plain.replace(" ", "").replace("-", "")
