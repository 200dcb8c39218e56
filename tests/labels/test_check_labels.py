"""The report on labels before a run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tagprism.labels.check import Finding, LabelCheck, check_labels, count_rules
from tagprism.labels.encoders.word_table import WordTable


class Sentences:
    id, dimension = "sentences", 2

    def encode(self, phrases: list[str]) -> np.ndarray:
        raise AssertionError("a report needs no vectors of a sentence encoder")

    def knows(self, phrase: str) -> bool:
        return "qwxz" not in phrase

    def nearest_known(self, phrase: str, n: int = 3) -> list[str]:
        return []


def test_every_phrase_has_a_row_with_what_each_encoder_knows(make_table: Callable[..., WordTable]) -> None:
    table = make_table({"polar": [1, 0], "bear": [0, 1]})
    rows = check_labels(["bear", "polra bear", "xyzzy", "_", "qwxz bear", "on qwxz"], [table, Sentences()])
    sentence = Finding("sentences", "found", rule="sentence")
    assert rows == [
        LabelCheck("bear", (Finding("tiny", "found", rule="whole"), sentence)),
        LabelCheck("polra bear", (Finding("tiny", "partly", ("polra",), ("polar",), "words"), sentence)),
        LabelCheck("xyzzy", (Finding("tiny", "missing", ("xyzzy",)), sentence)),
        LabelCheck("_", (Finding("tiny", "missing"), Finding("sentences", "missing"))),
        LabelCheck(
            "qwxz bear",
            (
                Finding("tiny", "partly", ("qwxz",), rule="words"),
                Finding("sentences", "partly", ("qwxz",), rule="sentence"),
            ),
        ),
        LabelCheck("on qwxz", (Finding("tiny", "missing", ("on", "qwxz")), Finding("sentences", "missing", ("qwxz",)))),
    ]
    assert [row.usable for row in rows] == [True, True, True, False, True, False]
    assert [row.complete for row in rows] == [True, False, False, False, False, False]


def test_words_of_a_models_names_are_known_besides(make_table: Callable[..., WordTable]) -> None:
    phrases, found = ["Qwxz bear", "qwxz"], Finding("sentences", "found", rule="sentence")
    assert [row.findings for row in check_labels(phrases, [Sentences()], {"qwxz"})] == [(found,), (found,)]
    assert not any(row.complete for row in check_labels(phrases, [make_table({"bear": [1, 0]})], {"qwxz"}))


def test_rules_are_named_and_counted(make_table: Callable[..., WordTable]) -> None:
    table = make_table({"goose": [1, 0], "ducks": [0, 1], "and": [1, 1], "ice cream": [1, 0], "tee": [0, 1]})
    names = ["Ducks, geese and swans", "ice-cream", "Tee (/m/0abc)", "Tees & ducks", "swans"]
    rows = check_labels(names, [table, Sentences()])
    birds = rows[0].findings[0]
    assert (birds.status, birds.rule, birds.missing_words) == ("partly", "words", ("swans",))
    assert birds.respelled == (("ducks,", "ducks"), ("geese", "goose"))
    assert [row.findings[0].status for row in rows] == ["partly", "found", "found", "found", "missing"]
    assert rows[3].findings[0].respelled == (("tees", "tee"),)
    assert count_rules(rows) == {
        "tiny": {"whole": 2, "words": 1, "partly": 1, "missing": 1, "respelled": 2},
        "sentences": {"whole": 5, "words": 0, "partly": 0, "missing": 0, "respelled": 0},
    }
