"""The report on labels before a run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tagprism.labels.check import Finding, LabelCheck, check_labels
from tagprism.labels.word_table import WordTable


class Sentences:
    id, dimension = "sentences", 2

    def encode(self, phrases: list[str]) -> np.ndarray:
        raise AssertionError("a report needs no vectors of a sentence encoder")

    def nearest_known(self, phrase: str, n: int = 3) -> list[str]:
        return []


def test_every_phrase_has_a_row_with_what_each_encoder_knows(make_table: Callable[..., WordTable]) -> None:
    table = make_table({"polar": [1, 0], "bear": [0, 1]})
    rows = check_labels(["bear", "polra bear", "xyzzy", "_"], [table, Sentences()])
    assert rows == [
        LabelCheck("bear", (Finding("tiny", "found"), Finding("sentences", "found"))),
        LabelCheck("polra bear", (Finding("tiny", "partly", ("polra",), ("polar",)), Finding("sentences", "found"))),
        LabelCheck("xyzzy", (Finding("tiny", "missing", ("xyzzy",)), Finding("sentences", "found"))),
        LabelCheck("_", (Finding("tiny", "missing"), Finding("sentences", "missing"))),
    ]
    assert [row.usable for row in rows] == [True, True, True, False]
    assert [row.complete for row in rows] == [True, False, False, False]
