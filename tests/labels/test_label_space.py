"""The label space: the stated transform, fitted on seen labels only, the same after loading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tagprism.errors import InputError
from tagprism.files import read_tensors, write_tensors
from tagprism.labels.encoders.word_table import WordTable
from tagprism.labels.label_space import LabelSpace, UnknownPhrasesError
from tagprism.labels.space_part import SpacePart

MakeTable = Callable[..., WordTable]


class FakeSentences:
    """A sentence encoder whose vectors tell the text apart; every text but the empty one is known."""

    id, dimension = "fake", 5

    def encode(self, phrases: list[str]) -> np.ndarray:
        rows = [np.random.default_rng(list(text.encode())).normal(size=5) if text else np.zeros(5) for text in phrases]
        vectors = np.stack(rows).astype(np.float32) if rows else np.zeros((0, 5), np.float32)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    def knows(self, phrase: str) -> bool:
        return bool(phrase)

    def nearest_known(self, phrase: str, n: int = 3) -> list[str]:
        return []


SEEN = ["cat", "dog", "sea", "polar bear"]


@pytest.fixture
def table(make_table: MakeTable) -> WordTable:
    return make_table({"cat": [3, 1, 0], "dog": [2, 0, 1], "sea": [0, 4, 1], "bear": [1, 1, -1], "wolf": [1, 0, 2]})


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def slow_embed(parts: list[SpacePart], encoders: dict, seen: list[str], phrase: str) -> np.ndarray:
    """The definition, one phrase and one part at a time."""
    blocks = []
    for part in parts:
        encode = encoders[part.encoder].encode
        vector = encode([part.template.replace("{}", phrase)])[0].astype(float)
        known = [v for v in (encode([part.template.replace("{}", name)])[0].astype(float) for name in seen) if v.any()]
        if vector.any():
            vector = unit(vector - np.mean(known, axis=0) if part.centre else vector)
        blocks.append(vector)
    return unit(np.concatenate(blocks))


@pytest.mark.parametrize("centre", [False, True])
def test_it_is_the_stated_transform(table: WordTable, centre: bool) -> None:
    encoders = {"fake": FakeSentences(), "tiny": table}
    parts = [
        SpacePart(encoder="fake", template="a photo of {}.", centre=centre),
        SpacePart(encoder="tiny", centre=centre),
    ]
    space = LabelSpace.fit(parts, encoders, SEEN)
    phrases = ["cat", "wolf", "Polar Bear", "unheard"]
    embedding = space.embed(phrases)
    expected = [slow_embed(parts, encoders, SEEN, phrase) for phrase in phrases]
    np.testing.assert_allclose(embedding.vectors, expected, atol=1e-6)
    assert embedding.vectors.dtype == np.float32
    assert space.dimension == 8
    assert embedding.missing == {"unheard": ("tiny",)}
    assert not embedding.vectors[3, 5:].any()


def test_an_encoder_that_lacks_a_seen_label_is_centred_on_the_others(table: WordTable) -> None:
    encoders = {"fake": FakeSentences(), "tiny": table}
    parts = [SpacePart(encoder="fake"), SpacePart(encoder="tiny", centre=True)]
    seen = [*SEEN, "unheard"]
    ours = LabelSpace.fit(parts, encoders, seen).embed(["wolf"]).vectors[0]
    np.testing.assert_allclose(ours, slow_embed(parts, encoders, seen, "wolf"), atol=1e-6)


def test_it_does_not_depend_on_the_unseen_labels(table: WordTable) -> None:
    parts = [SpacePart(encoder="tiny", centre=True)]
    without = LabelSpace.fit(parts, {"tiny": table}, SEEN)
    assert LabelSpace.fit(parts, {"tiny": table}, SEEN, unseen=["wolf"]).digest == without.digest


def test_a_label_on_both_sides_is_refused(table: WordTable) -> None:
    with pytest.raises(InputError, match="1 label both seen and unseen, among them `polar bear`"):
        LabelSpace.fit([SpacePart(encoder="tiny")], {"tiny": table}, SEEN, unseen=["wolf", "Polar_Bear"])


def test_reduction_keeps_what_the_basis_spans(table: WordTable) -> None:
    parts = [SpacePart(encoder="fake"), SpacePart(encoder="tiny")]
    encoders = {"fake": FakeSentences(), "tiny": table}
    full = LabelSpace.fit(parts, encoders, SEEN).embed(SEEN).vectors
    for seed in (0, 1):
        reduced = LabelSpace.fit(parts, encoders, SEEN, reduce=4, seed=seed)
        assert reduced.dimension == 4
        np.testing.assert_allclose(reduced._basis.T @ reduced._basis, np.eye(4), atol=1e-6)
        vectors = reduced.embed(SEEN).vectors  # 4 seen labels have rank 4: nothing is lost but the axes
        np.testing.assert_allclose(vectors @ vectors.T, full @ full.T, atol=1e-5)


def test_reduction_is_the_best_of_its_size(table: WordTable) -> None:
    parts = [SpacePart(encoder="fake"), SpacePart(encoder="tiny")]
    encoders = {"fake": FakeSentences(), "tiny": table}
    full = LabelSpace.fit(parts, encoders, SEEN).embed(SEEN).vectors
    basis = LabelSpace.fit(parts, encoders, SEEN, reduce=2)._basis
    strengths = np.linalg.svd(full, compute_uv=False)
    np.testing.assert_allclose(((full - full @ basis @ basis.T) ** 2).sum(), (strengths[2:] ** 2).sum(), atol=1e-6)


def test_the_seed_turns_the_axes(table: WordTable) -> None:
    spaces = [LabelSpace.fit([SpacePart(encoder="tiny")], {"tiny": table}, SEEN, reduce=2, seed=s) for s in (0, 0, 1)]
    vectors = [space.embed(["wolf"]).vectors for space in spaces]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3


@pytest.mark.parametrize("size", [0, -1, 4])
def test_reduction_cannot_pass_the_rank(table: WordTable, size: int) -> None:
    with pytest.raises(InputError, match=f"reduce = {size} is not between 1 and 3, the rank of the seen labels"):
        LabelSpace.fit([SpacePart(encoder="tiny")], {"tiny": table}, SEEN, reduce=size)


def test_phrases_that_nobody_knows_are_listed_with_the_nearest(table: WordTable) -> None:
    space = LabelSpace.fit([SpacePart(encoder="tiny", centre=True)], {"tiny": table}, SEEN)
    with pytest.raises(UnknownPhrasesError) as caught:
        space.embed(["cat", "wofl", "xyzzy plugh", ""])
    assert caught.value.nearest == {"wofl": ("wolf",), "xyzzy plugh": (), "": ()}
    assert "no encoder knows `wofl` (nearest known: wolf), `xyzzy plugh`, ``. Mend the spelling" in str(caught.value)
    with pytest.raises(UnknownPhrasesError, match=r"`u9` and 2 more\."):
        space.embed([f"u{at}" for at in range(12)])


def test_a_seen_label_that_nobody_knows_is_refused(table: WordTable) -> None:
    with pytest.raises(UnknownPhrasesError, match="`xyzzy`"):
        LabelSpace.fit([SpacePart(encoder="tiny")], {"tiny": table}, [*SEEN, "xyzzy"])


def test_the_template_does_not_make_an_empty_phrase_known() -> None:
    space = LabelSpace.fit([SpacePart(encoder="fake", template="a {}")], {"fake": FakeSentences()}, SEEN)
    with pytest.raises(UnknownPhrasesError):
        space.embed([" "])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "needs at least one part"),
        ([SpacePart(encoder="glove")], r"encoder `glove` is not given \(given: tiny\)"),
        ([SpacePart(encoder="tiny", template="a {}")], "a template is for sentence encoders; `tiny` averages words"),
    ],
)
def test_parts_that_do_not_fit(table: WordTable, parts: list[SpacePart], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelSpace.fit(parts, {"tiny": table}, SEEN)


def test_one_label_has_no_centre(table: WordTable) -> None:
    with pytest.raises(InputError, match="centring needs two seen labels or more that `tiny` knows; there are 1"):
        LabelSpace.fit([SpacePart(encoder="tiny", centre=True)], {"tiny": table}, ["cat", "xyzzy"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"template": "a photo"}, "must hold {} once"),
        ({"template": "{} and {}"}, "must hold {} once"),
        ({"weight": 2}, "Extra inputs are not permitted"),
        ({"center": True}, "Extra inputs are not permitted"),
    ],
)
def test_settings_are_checked(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SpacePart(encoder="tiny", **values)


@settings(max_examples=20)
@given(
    st.lists(st.text(alphabet="abcdé京 ", min_size=1, max_size=6).filter(str.strip), min_size=1, max_size=8),
    st.booleans(),
)
def test_every_vector_is_a_unit_and_alone_equals_together(phrases: list[str], reduced: bool) -> None:
    parts = [SpacePart(encoder="fake", centre=True)]
    space = LabelSpace.fit(parts, {"fake": FakeSentences()}, SEEN, reduce=2 if reduced else None)
    together = space.embed(phrases).vectors
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    for phrase, vector in zip(phrases, together, strict=True):
        np.testing.assert_allclose(space.embed([phrase]).vectors[0], vector, atol=1e-6)


@pytest.mark.parametrize("reduce", [None, 2])
def test_saving_and_loading_gives_the_same(table: WordTable, tmp_path: Path, reduce: int | None) -> None:
    encoders = {"by its file": table, "fake": FakeSentences()}
    parts = [SpacePart(encoder="by its file", centre=True), SpacePart(encoder="fake", template="a {}")]
    space = LabelSpace.fit(parts, encoders, SEEN, reduce=reduce)
    assert [part.encoder for part in space.parts] == ["tiny", "fake"]
    space.save(tmp_path)
    assert b"by its file" not in (tmp_path / "label_space.safetensors").read_bytes()
    again = LabelSpace.load(tmp_path, {encoder.id: encoder for encoder in encoders.values()})
    assert (again.digest, again.dimension, again.parts) == (space.digest, space.dimension, space.parts)
    np.testing.assert_array_equal(again.embed(["wolf"]).vectors, space.embed(["wolf"]).vectors)


def test_the_digest_tells_the_transforms_apart(table: WordTable) -> None:
    def digest(seen: list[str] = SEEN, reduce: int | None = None, seed: int = 0, **values: object) -> str:
        part = SpacePart.model_validate({"encoder": "tiny", "centre": True, **values})
        return LabelSpace.fit([part], {"tiny": table}, seen, reduce=reduce, seed=seed).digest

    different = [digest(), digest(SEEN[:3]), digest(centre=False), digest(reduce=2)]
    assert len({*different, digest(reduce=2, seed=1)}) == 5
    assert digest() == digest()


def test_loading_with_the_wrong_encoders(table: WordTable, make_table: MakeTable, tmp_path: Path) -> None:
    LabelSpace.fit([SpacePart(encoder="tiny")], {"tiny": table}, SEEN).save(tmp_path)
    with pytest.raises(InputError, match=r"encoder `tiny` is not given \(given: none\)"):
        LabelSpace.load(tmp_path, {})
    other = make_table({"cat": [1, 0]}, id="other")
    with pytest.raises(InputError, match="vectors of encoder tiny have 2 numbers, the label space wants 3"):
        LabelSpace.load(tmp_path, {"tiny": other})


def test_loading_what_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"label_space\.safetensors: there is no such file"):
        LabelSpace.load(tmp_path, {})
    for header in ({}, {"parts": [{"encoder": "tiny"}]}, {"parts": [{"encoder": "tiny", "centre": 5}]}, {"parts": [5]}):
        write_tensors(tmp_path / "label_space.safetensors", "label space", 1, header, {})
        with pytest.raises(InputError, match=r"label_space\.safetensors: damaged"):
            LabelSpace.load(tmp_path, {})


def test_a_stored_weight_is_1_or_the_space_is_refused(table: WordTable, tmp_path: Path) -> None:
    LabelSpace.fit([SpacePart(encoder="tiny")], {"tiny": table}, SEEN).save(tmp_path)
    file = tmp_path / "label_space.safetensors"
    header, tensors = read_tensors(file, "label space", 1)
    assert [part["weight"] for part in header["parts"]] == [1.0]  # as older versions wrote it, with the same digest
    write_tensors(file, "label space", 1, {"parts": [header["parts"][0] | {"weight": 2.0}]}, tensors)
    with pytest.raises(InputError, match=r"weight of 2\.0, which tagprism no longer has.*Train the model again"):
        LabelSpace.load(tmp_path, {"tiny": table})
