"""Encoder folders: word tables by their stated rules, sentence encoders, and folders that are none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagprism.errors import InputError
from tagprism.labels.encoders.encoder import EncoderCard, LabelEncoder, load_encoder, unit_rows
from tagprism.labels.encoders.sentence_encoder import SentenceEncoder
from tagprism.labels.encoders.word_table import Reading, WordTable, write_word_table

MakeTable = Callable[..., WordTable]
CARD = EncoderCard(id="tiny", kind="words", dimension=2, licence="none", source="a test", digest="0" * 64)
SENTENCES = CARD.model_copy(update={"kind": "sentence"})


NUMBERS = st.just(0.0) | st.floats(2**-20, 8, width=32) | st.floats(-8, -(2**-20), width=32)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1))
def test_unit_rows_keep_direction_and_zeros(rows: list[tuple[float, ...]]) -> None:
    vectors = np.array(rows, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    units = unit_rows(vectors)
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), lengths > 0, rtol=1e-6)
    np.testing.assert_allclose(units * lengths[:, None], vectors, rtol=1e-5)


def test_a_word_gives_its_unit_vector(make_table: MakeTable) -> None:
    table = make_table({"cat": [3, 4], "dog": [0, 2]})
    np.testing.assert_allclose(table.encode(["Cat", "dog", "cat"]), [[0.6, 0.8], [0, 1], [0.6, 0.8]], rtol=1e-6)
    assert isinstance(table, LabelEncoder)
    assert (table.id, table.dimension, table.words) == ("tiny", 2, ["cat", "dog"])


@pytest.mark.parametrize("known", ["ice cream", "ice-cream", "ice_cream", "icecream", "Ice_Cream"])
@pytest.mark.parametrize("asked", ["ice cream", "ice-cream", "Ice_Cream"])
def test_the_whole_phrase_comes_first(make_table: MakeTable, known: str, asked: str) -> None:
    table = make_table({"ice": [1, 0], "cream": [1, 0], known: [0, 1]})
    np.testing.assert_array_equal(table.encode([asked]), [[0, 1]])


def test_else_the_mean_of_the_units_of_its_words(make_table: MakeTable) -> None:
    table = make_table({"polar": [9, 0], "bear": [0, 0.1], "t-shirt": [1, 0]})
    half = np.sqrt(0.5)
    expected = [[half, half], [half, half], [0, 1], [half, half], [0, 0]]
    phrases = ["polar bear", "polar-bear", "white bear", "bear t-shirt", "white wolf"]
    np.testing.assert_allclose(table.encode(phrases), expected, rtol=1e-6)
    assert table.read("white-ish bear t-shirt") == Reading((1, 2), False, ("white", "ish"), ())


def test_a_phrase_is_known_by_each_of_its_words_but_small_ones(make_table: MakeTable) -> None:
    table = make_table({"bear": [0, 1], "snow": [1, 0], "new_york": [1, 1]})
    known = {"bear": True, "bears & snow": True, "a bear in the snow": True, "New York": True, "in the": False}
    known |= {"polar bear": False, "bear qwxz": False, "york": False}
    assert {phrase: table.knows(phrase) for phrase in known} == known


def test_words_that_cancel_out_are_unknown(make_table: MakeTable) -> None:
    assert not make_table({"hot": [1, 0], "cold": [-1, 0]}).encode(["hot cold"]).any()


def test_no_phrase_and_the_empty_phrase(make_table: MakeTable) -> None:
    table = make_table({"cat": [1, 0]})
    assert table.encode([]).shape == (0, 2)
    assert not table.encode(["", " _ "]).any()


def test_nearest_known_words(make_table: MakeTable) -> None:
    table = make_table({"elephant": [1, 0], "elegant": [1, 0], "bear": [1, 0], "zebra": [1, 0]})
    assert table.nearest_known("elephnat") == ["elephant", "elegant"]
    assert table.nearest_known("elephnat baer", 2) == ["elephant", "bear"]
    assert table.nearest_known("bear") == []
    assert table.nearest_known("xyzzy") == []


def test_words_that_become_the_same(make_table: MakeTable) -> None:
    table = make_table({"Turkey": [1, 0], "turkey": [0, 1], "New_York": [1, 0], "new/york": [0, 1], "_": [1, 1]})
    assert table.words == ["turkey", "new york"]
    np.testing.assert_array_equal(table.encode(["TURKEY", "new york"]), [[0, 1], [1, 0]])


def test_words_without_a_vector_are_unknown(make_table: MakeTable) -> None:
    assert make_table({"cat": [1, 0], "dog": [0, 0]}).words == ["cat"]


def test_half_precision_is_kept_and_double_becomes_single(tmp_path: Path) -> None:
    for kind, kept in (("f2", "f2"), ("f4", "f4"), ("f8", "f4")):
        write_word_table(tmp_path, CARD, ["cat"], np.array([[1, 3]], dtype=kind))
        assert WordTable(tmp_path, CARD)._vectors[0:1].dtype == kept


def test_a_table_cannot_hold_nan_or_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a test: the vector of `dog` \(row 2\) holds NaN or infinity"):
        write_word_table(tmp_path, CARD, ["cat", "dog"], np.array([[1, 0], [np.nan, 0]]))
    with pytest.raises(InputError, match="a test: it holds no usable word"):
        write_word_table(tmp_path, CARD, ["_"], np.ones((1, 2), np.float32))


def test_a_folder_is_loaded_wherever_it_is_copied(make_table: MakeTable, tmp_path: Path) -> None:
    made = make_table({"cat": [3, 4]})
    copy = shutil.copytree(tmp_path / "tiny", tmp_path / "elsewhere" / "text")
    np.testing.assert_array_equal(load_encoder(copy).encode(["cat"]), made.encode(["cat"]))


def test_folders_that_are_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not an encoder folder: it has no encoder\.json"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text("{")
    with pytest.raises(InputError, match=r"encoder\.json: the file: Invalid JSON"):
        load_encoder(tmp_path)
    values = json.loads(CARD.model_dump_json())
    for change, message in (
        ({"version": 2}, "version: Input should be 1"),
        ({"kind": "pictures"}, "kind: Input should be 'words', 'sentence' or 'foreign'"),
        ({"extra": 1}, "extra: Extra inputs are not permitted"),
        ({"id": "../up"}, "id: String should match pattern"),
    ):
        (tmp_path / "encoder.json").write_text(json.dumps(values | change))
        with pytest.raises(InputError, match=message):
            load_encoder(tmp_path)
    for card, absent in ((CARD, r"words\.safetensors"), (SENTENCES, r"model\.onnx")):
        card.write(tmp_path)
        with pytest.raises(InputError, match=f"the encoder lacks its file {absent}"):
            load_encoder(tmp_path)


def test_a_table_of_another_size_than_its_card(make_table: MakeTable, tmp_path: Path) -> None:
    make_table({"cat": [3, 4]})
    CARD.model_copy(update={"dimension": 3}).write(tmp_path / "tiny")
    with pytest.raises(InputError, match=r"its table is \[1, 2\], not \(1, 3\)"):
        load_encoder(tmp_path / "tiny").encode(["cat"])


def test_a_sentence_encoder_with_broken_files(tmp_path: Path) -> None:
    SENTENCES.write(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no network")
    (tmp_path / "tokenizer.json").write_text("no tokenizer")
    encoder = load_encoder(tmp_path)
    assert isinstance(encoder, SentenceEncoder)
    assert isinstance(encoder, LabelEncoder)
    assert (encoder.id, encoder.dimension) == ("tiny", 2)
    assert encoder.nearest_known("anything") == []
    assert not encoder.encode(["", " "]).any()
    with pytest.raises(InputError, match=r"tokenizer\.json: is not a readable tokenizer"):
        encoder.encode(["cat"])
    with pytest.raises(InputError, match=r"model\.onnx: is not an ONNX model that can be run"):
        _ = encoder._graph
