"""The text encoder in the package: found by the models trained with it, made again by the recipe, its vectors kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagprism.bundle.bundle import BUNDLES, DEFAULT, Bundle
from tagprism.labels.encoders.encoder import PACKAGED, LabelEncoder, find_encoder, load_encoder
from tagprism.labels.encoders.sentence_encoder import SentenceEncoder
from tests.app.conftest import Cli

MINILM = PACKAGED / "minilm"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_packaged_model_finds_it_in_a_fresh_installation(empty_cache: Path) -> None:
    digests = Bundle(BUNDLES / DEFAULT).config.encoder_digests
    assert {name: find_encoder(name, digest) for name, digest in digests.items()} == {"minilm": MINILM}
    assert sum(file.stat().st_size for file in MINILM.iterdir()) < 24e6


def test_any_phrase_at_once(cli: Cli, tmp_path: Path, empty_cache: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a red square\nthe cat of my neighbour\n")
    tagged = cli("tag", Path(__file__).parents[1] / "photos/chelsea.jpg", "--labels", words, "--format", "jsonl")
    assert tagged.code == 0
    assert [tag["label"] for tag in json.loads(tagged.out)["tags"]] == ["the cat of my neighbour", "a red square"]


def test_no_file_of_the_package_says_where_it_was_made() -> None:
    for file in [*BUNDLES.rglob("*.onnx"), *BUNDLES.rglob("*.json")]:
        found = file.read_bytes()
        assert not any(name in found for name in (b"site-packages", b'.py"', b"stack_trace")), file


def test_a_phrase_goes_through_the_network_once(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phrases = ["a red square", "", "A red  square", "ein Hund"]
    expected = load_encoder(MINILM).encode(phrases)
    first = load_encoder(MINILM, cached=True).encode(phrases)
    assert np.abs(first - expected).max() < 1e-5 and not first[1].any()

    def fail(*_: object) -> None:
        raise AssertionError("the network was asked again")

    monkeypatch.setattr(SentenceEncoder, "encode", fail)
    assert np.array_equal(load_encoder(MINILM, cached=True).encode(phrases[::-1]), first[::-1])
    (kept,) = (empty_cache / "phrases").glob("*.sqlite")
    assert b"square" not in kept.read_bytes()  # what a person searched for is not to be read there


@pytest.fixture(scope="module")
def cached_and_not() -> tuple[LabelEncoder, LabelEncoder]:
    return load_encoder(MINILM, cached=True), load_encoder(MINILM)


@given(phrases=st.lists(st.text(max_size=5), max_size=8))
def test_cached_or_not_it_is_the_encoders_vector(
    cached_and_not: tuple[LabelEncoder, LabelEncoder], phrases: list[str]
) -> None:
    cached, encoder = cached_and_not
    assert np.abs(cached.encode(phrases) - encoder.encode(phrases)).max(initial=0) < 1e-5


@pytest.mark.slow
def test_the_recipe_makes_the_same_encoder(cli: Cli, tmp_path: Path) -> None:
    assert cli("labels", "build-encoder", "--encoder", "minilm", "--precision", "int8", "--into", tmp_path).code == 0
    words = ["cat", "a red square", "the old man and the sea", *(f"word {number}" for number in range(50))]
    made, packaged = (load_encoder(folder).encode(words) for folder in (tmp_path / "minilm", MINILM))
    assert np.abs(made - packaged).max() < 1e-5
    assert (tmp_path / "minilm/encoder.json").read_text() == (MINILM / "encoder.json").read_text()
