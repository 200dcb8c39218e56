"""Which phrases are English."""

from __future__ import annotations

import pytest

from tagprism.labels.english import is_english


@pytest.mark.parametrize(
    "phrase",
    [
        *("dog", "Beaches", "CATS", "cafe", "café", "sea turtle", "my daughter", "birthday party", "selfie", "chat"),
        *("BBQ", "TV", "X-ray", "3d printer", "747 jet", "colour", "grey", "color", "snowboarding", "receipts", "men"),
        *("ice-cream", "icecream", "rock'n'roll", "black_and_white", "firetruck", "screenshot"),
    ],
)
def test_english(phrase: str) -> None:
    assert is_english(phrase)


@pytest.mark.parametrize(
    "phrase",
    [
        *("Hund", "plage", "Straße", "犬", "le chien", "der Hund", "Geburtstag", "собака", "qwertz", "", "-"),
        *("2019", "12345", "\U0001f600", "1 + 1", "Hund on grass", "labradoodle puppy", "beach-qwxzvbn"),
    ],
)
def test_not_english(phrase: str) -> None:
    assert not is_english(phrase)


def test_further_words_are_known() -> None:
    assert not is_english("Kenya") and is_english("Kenya", {"kenya"}) and not is_english("und", {"und"})
