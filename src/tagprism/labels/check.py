"""The report of `tagprism labels check`: which encoder knows which phrase, before a run. Knows no label space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tagprism.labels.encoders import LabelEncoder
from tagprism.labels.phrases import normalise_phrase
from tagprism.labels.word_table import WordTable


@dataclass(frozen=True)
class Finding:
    """What one encoder knows of one phrase.

    Args:
        encoder: its id.
        status: `found`, `partly` (some words are left out) or `missing` (no vector).
        missing_words: the words that the encoder lacks.
        nearest: known words that are spelt like those.
    """

    encoder: str
    status: Literal["found", "partly", "missing"]
    missing_words: tuple[str, ...] = ()
    nearest: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelCheck:
    """What the encoders know of one phrase.

    Args:
        phrase: the phrase as given.
        findings: one per encoder, in their order.
    """

    phrase: str
    findings: tuple[Finding, ...]

    @property
    def usable(self) -> bool:
        """Whether some encoder has a vector for the phrase."""
        return any(finding.status != "missing" for finding in self.findings)

    @property
    def complete(self) -> bool:
        """Whether every encoder knows the whole phrase."""
        return all(finding.status == "found" for finding in self.findings)


def check_labels(phrases: Sequence[str], encoders: Iterable[LabelEncoder]) -> list[LabelCheck]:
    """See which phrases the encoders know.

    Args:
        phrases: labels to check.
        encoders: encoders, for example `label_space.encoders.values()`.

    Returns:
        One row per phrase, in order.
    """
    columns = [[_look(encoder, phrase) for phrase in phrases] for encoder in encoders]
    return [LabelCheck(phrase, tuple(column[row] for column in columns)) for row, phrase in enumerate(phrases)]


def _look(encoder: LabelEncoder, phrase: str) -> Finding:
    if not isinstance(encoder, WordTable):  # a sentence encoder knows every phrase that has text
        return Finding(encoder.id, "found" if normalise_phrase(phrase) else "missing")
    known, unknown = encoder.split(phrase)
    status: Literal["found", "partly", "missing"] = "missing" if not known else "partly" if unknown else "found"
    return Finding(encoder.id, status, tuple(unknown), tuple(encoder.nearest_known(phrase)) if unknown else ())
