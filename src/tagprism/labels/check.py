"""The report of `tagprism labels check`: which encoder knows which phrase, before a run. Knows no label space."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tagprism.labels.encoders.encoder import LabelEncoder
from tagprism.labels.encoders.word_table import WordTable
from tagprism.labels.phrases import SMALL_WORDS, spoken_phrase


@dataclass(frozen=True)
class Finding:
    """What one encoder knows of one phrase.

    Args:
        encoder: its id.
        status: `found`, `partly` (words are left out, or not of the language it learnt) or `missing` (no word
            is known).
        missing_words: the words that the encoder lacks.
        nearest: known words that are spelt like those.
        rule: how its vector is made: `whole` (the phrase as one), `words` (the mean of its words), `sentence`, or none.
        respelled: words that are known in another spelling, with that.
    """

    encoder: str
    status: Literal["found", "partly", "missing"]
    missing_words: tuple[str, ...] = ()
    nearest: tuple[str, ...] = ()
    rule: Literal["whole", "words", "sentence", "none"] = "none"
    respelled: tuple[tuple[str, str], ...] = ()


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
        """Whether some encoder knows a word of the phrase."""
        return any(finding.status != "missing" for finding in self.findings)

    @property
    def complete(self) -> bool:
        """Whether every encoder knows the whole phrase."""
        return all(finding.status == "found" for finding in self.findings)


def check_labels(
    phrases: Sequence[str], encoders: Iterable[LabelEncoder], named: Container[str] = ()
) -> list[LabelCheck]:
    """See which phrases the encoders know.

    Args:
        phrases: labels to check.
        encoders: encoders, for example `label_space.encoders.values()`.
        named: words of the names of a model's vocabulary (`Vocabulary.words_of_names`), which are known to a sentence
            encoder besides, as when tagging.

    Returns:
        One row per phrase, in order.
    """
    columns = [[_look(encoder, phrase, named) for phrase in phrases] for encoder in encoders]
    return [LabelCheck(phrase, tuple(column[row] for column in columns)) for row, phrase in enumerate(phrases)]


def count_rules(checks: Sequence[LabelCheck]) -> dict[str, dict[str, int]]:
    """How many phrases each encoder knows by which rule.

    Args:
        checks: what `check_labels` found.

    Returns:
        Encoder -> `whole`, `words`, `partly` (some words left out), `missing` -> number of phrases; and, of all,
        `respelled`. A sentence encoder has every phrase whole, or partly.
    """
    counts: dict[str, dict[str, int]] = {}
    for finding in (finding for row in checks for finding in row.findings):
        own = counts.setdefault(finding.encoder, dict.fromkeys(("whole", "words", "partly", "missing", "respelled"), 0))
        rule = "whole" if finding.rule in ("whole", "sentence") else "words"
        own[rule if finding.status == "found" else finding.status] += 1
        own["respelled"] += bool(finding.respelled)
    return counts


def _look(encoder: LabelEncoder, phrase: str, named: Container[str]) -> Finding:
    if not isinstance(encoder, WordTable):  # a sentence encoder has a vector of every phrase that has text
        words = spoken_phrase(phrase).split()
        unknown = [] if encoder.knows(phrase) else [word for word in words if not encoder.knows(word)]
        strange = tuple(word for word in unknown if word not in named)
        if not words or (strange and SMALL_WORDS.issuperset(set(words) - set(strange))):
            return Finding(encoder.id, "missing", strange)
        return Finding(encoder.id, "partly" if strange else "found", strange, rule="sentence")
    read = encoder.read(phrase)
    if not read.rows:
        return Finding(encoder.id, "missing", read.left_out, tuple(encoder.nearest_known(phrase)))
    return Finding(
        encoder.id,
        "partly" if read.left_out else "found",
        read.left_out,
        tuple(encoder.nearest_known(phrase)) if read.left_out else (),
        "whole" if read.whole else "words",
        read.respelled,
    )
