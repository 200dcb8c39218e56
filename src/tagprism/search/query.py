"""A query as a tree, and how well a picture matches it: a label's score -> its logit -> the match of the whole.

`And` and `Or` take their parts as equals; a `Weighted` part counts so many times. A weight never stands below a `Not`
or another weight: the parser pulls it out (`NOT 2*dog` is `2*NOT dog`) or refuses it.

Each label's scores are set against its own scores over a fixed collection of pictures, so that a label that is high
everywhere does not drown the others. The logit rises with the score, so one label alone ranks as its score does.

AND is a product of probabilities, OR is 1 minus the product of what is left (noisy-or), NOT is 1 minus: independent
events. De Morgan's rules hold exactly. A part of weight w counts as w equal parts. Everything is kept as logarithms, so
that the order of two pictures survives however near 0 or 1 they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64

from tagprism.bundle.record import Records
from tagprism.bundle.score import score_records
from tagprism.labels.vocabulary import Groups
from tagprism.search.contract import Filter, Index
from tagprism.tagging.tagger import Tagger

OPERATORS = ("AND", "OR", "NOT")
_BARE = re.compile(r"[^\W_][\w'-]*")
_PLAIN = re.compile(r"[\w.,-]+")
_SAMPLE = 256  # pictures of the index that stand in where the bundle has no background
_LEAST_DEVIATION = 1e-3
_OF_DEVIATIONS, _OF_SCORE, _LESS, _LESS_ALONE = 0.5, 1.0, 5.0, 4.0


@dataclass(frozen=True)
class Label:
    """A word or phrase that the picture shall show.

    Args:
        text: in single spaces.
        quoted: whether its words belong together whatever is known of them (`search.words`); such labels are equal.
    """

    text: str
    quoted: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Taken:
    """When the photo was taken.

    Args:
        first: least beginning of an ISO time (`2024`, `2024-03`), included; empty for no limit.
        last: greatest beginning, included; empty for no limit.
    """

    first: str
    last: str


@dataclass(frozen=True)
class InPath:
    """A piece of text that the picture's path shall hold, in any case."""

    text: str


@dataclass(frozen=True)
class Tagged:
    """A tag that a person gave the picture: on the page, or as a keyword of its file; in any spelling."""

    text: str


@dataclass(frozen=True)
class Fact:
    """What the picture's file shall say.

    Args:
        name: `camera`, `rating`, `type` or `gps`.
        text: as `contract.fact_conditions` reads it.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Not:
    """What shall not be."""

    part: Query


@dataclass(frozen=True)
class Weighted:
    """A part that counts as so many in the `And` or `Or` it stands in."""

    weight: float
    part: Query


@dataclass(frozen=True)
class And:
    """All of two or more parts."""

    parts: tuple[Query, ...]


@dataclass(frozen=True)
class Or:
    """Any of two or more parts."""

    parts: tuple[Query, ...]


FilterLeaf: TypeAlias = Taken | InPath | Tagged | Fact
Leaf: TypeAlias = Label | FilterLeaf
Query: TypeAlias = Leaf | Not | Weighted | And | Or


def leaves(query: Query) -> Iterator[Leaf]:
    """Labels and filters from left to right."""
    match query:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part) | Weighted(part=part):
            yield from leaves(part)
        case leaf:
            yield leaf


def labels_of(query: Query) -> tuple[str, ...]:
    """The labels of a query from left to right, each once."""
    return tuple(dict.fromkeys(leaf.text for leaf in leaves(query) if isinstance(leaf, Label)))


def show(query: Query) -> str:
    """The query as text, which parses to this very tree."""
    match query:
        case And(parts):
            return " AND ".join(_inside(part, Or, And) for part in parts)
        case Or(parts):
            return " OR ".join(_inside(part, Or) for part in parts)
        case Not(part):
            return f"NOT {_inside(part, Or, And)}"
        case Weighted(weight, part):
            return f"{Decimal(repr(weight)).normalize():f}*{_inside(part, Or, And)}"
        case Label(text, whole):
            words = text.split(" ")
            bare = all(_BARE.fullmatch(word) and word not in OPERATORS for word in words)
            return text if bare and not (whole and len(words) > 1) else quoted(text)
        case Taken(first, last):
            return f"taken:{first}" if first == last else f"taken:{first}..{last}"
        case InPath(text):
            return f"path:{text if _BARE.fullmatch(text) else quoted(text)}"
        case Tagged(text):
            return f"tag:{text if _BARE.fullmatch(text) else quoted(text)}"
        case Fact(name, text):
            return f"{name}:{text if _PLAIN.fullmatch(text) else quoted(text)}"


def quoted(text: str) -> str:
    """Text in quotes; those in it are doubled."""
    return '"' + text.replace('"', '""') + '"'


def _inside(part: Query, *in_parentheses: type) -> str:
    return f"({show(part)})" if isinstance(part, in_parentheses) else show(part)


@dataclass(frozen=True)
class LabelLogits:
    """Turns a label's score into the logit of having the label: `0.5 z + score - 5`.

    Here z is the number of standard deviations by which the score is above the label's mean over the background. The
    three constants were chosen on validation photos and labels never trained on (`benchmarks/combining.py`); around
    them the quality is flat. Scores that are not standardised have no scale of their own: there it is `z - 4`.

    Args:
        background: records of b pictures.
        standardised: whether scores are comparable between pictures.
        best_rows: of the model's scores, as `score_records` takes it.
    """

    background: Records
    standardised: bool
    best_rows: int = 1

    @classmethod
    def of(cls, tagger: Tagger, index: Index) -> LabelLogits:
        """Those of a model: over the background of its calibration, or else over pictures of the index."""
        calibration = tagger.calibration
        background = _sample(index) if calibration is None else calibration.background
        return cls(background, tagger.bundle.config.standardised, tagger.best_rows)

    def logits(
        self,
        scoring_vectors: Float32[np.ndarray, "v Q"],
        scores: Float32[np.ndarray, "n q"],
        groups: Groups | None = None,
    ) -> Float64[np.ndarray, "n q"]:
        """Logits of n pictures having q labels, from their scores; `groups` as `score_records` takes them."""
        found, _ = score_records(self.background, scoring_vectors, groups, best_rows=self.best_rows)
        known = found.astype(np.float64)
        wide = scores.astype(np.float64)
        above: Float64[np.ndarray, "n q"]
        above = (wide - known.mean(axis=0)) / np.maximum(known.std(axis=0), _LEAST_DEVIATION)
        return _OF_DEVIATIONS * above + _OF_SCORE * wide - _LESS if self.standardised else above - _LESS_ALONE


def _sample(index: Index) -> Records:
    """Records of pictures spread evenly over the index."""
    while True:
        step = max(1, index.info().pictures // _SAMPLE)
        ids = [picture.id for picture in islice(index.pictures(), None, None, step)][:_SAMPLE]
        try:
            return index.records(ids)
        except KeyError:  # one was removed meanwhile
            continue


Logits = Mapping[Leaf, Float64[np.ndarray, " n"]]


def log_probability(logits: Float64[np.ndarray, " *n"]) -> Float64[np.ndarray, " *n"]:
    """Logarithms of the probabilities that logits stand for."""
    logs: Float64[np.ndarray, " *n"] = -np.logaddexp(0.0, -logits)
    return logs


def log_match(query: Query, greatest: Logits, least: Logits | None = None) -> Float64[np.ndarray, " n"]:
    """Logarithm of the match of n pictures, or of the best that a picture can reach.

    Args:
        query: the tree.
        greatest: for every leaf the logits (n,) of being so; for a filter +inf (met) or -inf.
        least: the least that the logits can be where only bounds are known: a match falls with a label below a NOT.

    Returns:
        (n,) from -inf to 0; never falls with `greatest`, never rises with `least`.
    """
    return _log(query, greatest, greatest if least is None else least, positive=True, complement=False)


def _log(
    query: Query, greatest: Logits, least: Logits, *, positive: bool, complement: bool
) -> Float64[np.ndarray, " n"]:
    """Logarithm of a part's match, or of 1 minus it; `positive` tells whether the whole match rises with the part."""
    match query:
        case Not(part):
            return _log(part, greatest, least, positive=not positive, complement=not complement)
        case Weighted(part=part):  # alone there is nothing that it counts more than
            return _log(part, greatest, least, positive=positive, complement=complement)
        case And(parts) | Or(parts):
            of_parts = isinstance(query, Or)  # the product is one of probabilities, or one of what is left of them
            total: Float64[np.ndarray, " n"] = np.zeros(())
            for part in parts:
                weight = part.weight if isinstance(part, Weighted) else 1.0
                total = total + weight * _log(part, greatest, least, positive=positive, complement=of_parts)
            return total if complement == of_parts else _log_of_rest(total)
        case leaf:
            logits = (greatest if positive else least)[leaf]
            return log_probability(-logits if complement else logits)


def _log_of_rest(logs: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """log(1 - exp(x)), exact near both ends."""
    rest: Float64[np.ndarray, " n"]
    with np.errstate(divide="ignore"):  # of a match of 1 nothing is left: -inf
        rest = np.where(logs > -np.log(2), np.log(-np.expm1(logs)), np.log1p(-np.exp(logs)))
    return rest


def positive_labels(query: Query, *, positive: bool = True) -> Iterator[str]:
    """Labels with which the match rises, those below an even number of NOTs."""
    match query:
        case And(parts) | Or(parts):
            for part in parts:
                yield from positive_labels(part, positive=positive)
        case Not(part):
            yield from positive_labels(part, positive=not positive)
        case Weighted(part=part):
            yield from positive_labels(part, positive=positive)
        case Label(text) if positive:
            yield text


class Parts(NamedTuple):
    """A query divided into what an index sifts by and what pictures are ranked by.

    Args:
        where: filters that every match meets, or None.
        rest: the other part, None where nothing is left.
    """

    where: Filter | None
    rest: Query | None


def divided(query: Query) -> Parts:
    """Take the filters out that stand in the outermost AND."""
    parts = query.parts if isinstance(query, And) else (query,)
    bare = [part.part if isinstance(part, Not) else part for part in parts]
    sifting = [isinstance(leaf, Taken | InPath | Fact) for leaf in bare]  # a tag of a person is none of the engine's
    if not any(sifting):
        return Parts(None, query)
    pairs = [(leaf, isinstance(part, Not)) for leaf, part, sifts in zip(bare, parts, sifting, strict=True) if sifts]
    conditions: list[tuple[tuple[tuple[str, str], ...], tuple[str, ...], tuple[tuple[str, str], ...]]] = []
    for negated in (False, True):
        so = [leaf for leaf, no in pairs if no == negated]
        times = tuple((leaf.first, leaf.last) for leaf in so if isinstance(leaf, Taken))
        facts = tuple((leaf.name, leaf.text) for leaf in so if isinstance(leaf, Fact))
        conditions.append((times, tuple(leaf.text for leaf in so if isinstance(leaf, InPath)), facts))
    (times, paths, facts), (no_times, no_paths, no_facts) = conditions
    where = Filter(times, paths, no_times, no_paths, facts, no_facts)
    rest = tuple(part for part, sifts in zip(parts, sifting, strict=True) if not sifts)
    return Parts(where, And(rest) if len(rest) > 1 else rest[0] if rest else None)


def as_filter(leaf: FilterLeaf) -> Filter:
    """The filter that a leaf is."""
    if isinstance(leaf, Fact):
        return Filter(facts=((leaf.name, leaf.text),))
    return Filter(taken=((leaf.first, leaf.last),)) if isinstance(leaf, Taken) else Filter(path=(leaf.text,))
