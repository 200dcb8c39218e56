"""Foreign models: pictures and phrases as in torch, and every known trap."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tagprism
from tagprism.bundle.foreign.model import WORDS, ForeignModel
from tagprism.bundle.foreign.text import TextTower
from tagprism.bundle.record import score_records
from tagprism.images.preprocess import cut
from tagprism.images.views import view_boxes
from tagprism.labels.phrases import spoken_phrase
from tests.bundle.foreign_models import MAKERS, PHRASES, cosines, looked_at, opened, read
from tests.small_foreign import Foreign

pytestmark = pytest.mark.slow
OTHER_LANGUAGES = ["Hund am Strand", "собака", "赤い車", "كلب على الشاطئ", "la forêt enneigée", "Straße"]
SAME = 0.9999


@pytest.mark.parametrize("name", MAKERS)
def test_pictures_and_phrases_as_in_torch(
    name: str, made: Callable[[str], Foreign], pictures: list[Image.Image]
) -> None:
    theirs = made(name)
    layout = opened(theirs.folder)
    assert cosines(looked_at(layout, pictures), theirs.pictures(pictures)).min() > SAME
    assert cosines(read(layout.text, PHRASES), theirs.phrases(PHRASES)).min() > SAME
    alone = np.concatenate([read(layout.text, [phrase]) for phrase in PHRASES])
    assert cosines(alone, theirs.phrases(PHRASES)).min() > SAME  # what shares a batch changes nothing


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("immich", {"resize": "squash"}),
        ("immich-squash", {"resize": "shortest"}),
        ("transformers", {"resize": "squash"}),
        ("transformers", {"resize": "shortest"}),  # a pixel beside
        ("immich", {"resize": "shortest_floor"}),
        ("transformers-siglip2", {"resize": "shortest"}),
        ("immich", {"mean": (0.2, 0.2, 0.9)}),
        ("immich", {"std": (0.5, 0.2, 0.9)}),
    ],
)
def test_a_wrong_preparation_of_pictures_is_seen(
    name: str, wrong: dict[str, Any], made: Callable[[str], Foreign], pictures: list[Image.Image]
) -> None:
    """These tests fail when the adapter steps into a trap only if stepping into it is seen at all."""
    theirs = made(name)
    layout = opened(theirs.folder)
    changed = layout.vision.preprocess.model_copy(update=wrong)
    assert cosines(looked_at(layout, pictures, changed), theirs.pictures(pictures)).min() < SAME


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("immich-siglip", {"clean": "lower"}),  # punctuation stays
        ("immich-siglip", {"pad": 1}),
        ("transformers-siglip", {"clean": "lower"}),
        ("transformers-siglip", {"pad": 0}),
        ("transformers-siglip2", {"pad": "<eos>"}),
        ("transformers-siglip2", {"whole": False}),  # not filled up to 64
        ("transformers-siglip2", {"end": None}),
        ("immich-mobileclip", {"pad": 49407}),  # as its own tokenizer_config says
    ],
)
def test_a_wrong_reading_of_phrases_is_seen(name: str, wrong: dict[str, Any], made: Callable[[str], Foreign]) -> None:
    theirs = made(name)
    text = replace(opened(theirs.folder).text, **wrong)
    found = np.concatenate([read(text, [phrase]) for phrase in PHRASES])
    assert cosines(found, theirs.phrases(PHRASES)).min() < SAME


def test_words_of_other_languages(made: Callable[[str], Foreign]) -> None:
    theirs = made("immich-xlm-roberta")
    tagger = tagprism.load(theirs.folder)
    assert tagger.unknown(OTHER_LANGUAGES) == []
    spoken = [f"a photo of a {spoken_phrase(phrase)}" for phrase in OTHER_LANGUAGES]
    assert cosines(tagger.embed(OTHER_LANGUAGES), theirs.phrases(spoken)).min() > SAME
    text = opened(theirs.folder).text
    assert cosines(read(text, OTHER_LANGUAGES), read(text, ["dog"] * 6)).max() < SAME  # they are not all unknown


def test_case_and_length_of_the_tokens(made: Callable[[str], Foreign]) -> None:
    siglip = TextTower("small", opened(made("transformers-siglip2").folder).text, 24)
    ids, counts = siglip.tokens(["A Dog", "a dog"])
    assert ids.shape == (2, 64) and (ids[0] == ids[1]).all() and counts.all()
    assert list(ids[0]).index(1) == len(ids[0]) - (ids[0] == 0).sum() - 1  # the end, and nothing but filling after it
    clip = TextTower("small", opened(made("immich").folder).text, 24)
    ids, _ = clip.tokens(["two dogs " * 60])
    assert ids.shape == (1, 16) and (ids[0, 0], ids[0, -1]) == (49406, 49407)
    free = TextTower("small", opened(made("transformers").folder).text, 24)
    ids, counts = free.tokens(["dog", "a dog on the beach"])
    assert ids.shape == (2, 7) and counts.sum(axis=1).tolist() == [3, 7]


def test_scores_are_standardised_over_the_common_words(
    made: Callable[[str], Foreign], pictures: list[Image.Image]
) -> None:
    model = ForeignModel(opened(made("immich").folder))
    records = model.records(np.stack([model.layout.vision.preprocess.apply(one) for one in pictures]))
    assert (len(WORDS), records.shape) == (1000, model.shape)
    scores = records.rows[:, 0] @ model.vocabulary.vectors.T + records.shared
    assert np.allclose(scores.mean(axis=1), 0, atol=1e-3) and np.allclose(scores.std(axis=1), 1, atol=1e-3)
    spoken = [model.layout.prompt.replace("{}", word) for word in WORDS[:5]]
    assert cosines(model.vocabulary.vectors[:5], made("immich").phrases(spoken)).min() > SAME


def test_a_row_for_each_view(made: Callable[[str], Foreign], pictures: list[Image.Image]) -> None:
    theirs = made("transformers")  # its batch is free
    tagger = tagprism.load(theirs.folder, views=6)
    found = tagger.network(np.stack([tagger.preprocess.apply(one) for one in pictures]))
    assert found.shape == tagger.bundle.shape == (6, 24, 1)
    for picture, rows in zip(pictures, found.rows, strict=True):
        alone = theirs.pictures([cut(picture, box) for box in view_boxes(6, *picture.size)])
        assert cosines(alone, rows / np.linalg.norm(rows, axis=1, keepdims=True)).min() > SAME
    scores, _ = score_records(found, tagger.scoring_vectors(WORDS))
    assert np.allclose(scores.mean(axis=1), 0, atol=1e-3) and np.allclose(scores.std(axis=1), 1, atol=1e-3)


def test_words_are_computed_once(
    made: Callable[[str], Foreign], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path))
    first = ForeignModel(opened(made("immich").folder)).vocabulary
    again = ForeignModel(opened(made("immich").folder))
    monkeypatch.setattr(TextTower, "encode", lambda *_: pytest.fail("the network of phrases was asked again"))
    assert np.array_equal(again.vocabulary.vectors, first.vectors)
    other = ForeignModel(opened(made("immich-squash").folder))
    assert other.digest != again.digest


def test_an_interrupted_reading_of_the_words_goes_on(
    made: Callable[[str], Foreign], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path))
    asked: list[str] = []
    encode = TextTower.encode

    def counted(tower: TextTower, phrases: list[str]) -> np.ndarray:
        asked.extend(phrases)
        if len(asked) == 320:
            raise KeyboardInterrupt
        return encode(tower, phrases)

    monkeypatch.setattr(TextTower, "encode", counted)
    with pytest.raises(KeyboardInterrupt):
        _ = ForeignModel(opened(made("immich").folder)).vocabulary
    done = len(asked) - 32
    _ = ForeignModel(opened(made("immich").folder)).vocabulary
    assert len(asked) == done + 32 + 1000 - done


def test_the_digest_is_of_the_content_and_not_of_the_place(made: Callable[[str], Foreign], tmp_path: Path) -> None:
    shutil.copytree(made("immich").folder, tmp_path / "copy")
    here, there = (ForeignModel(opened(at)).digest for at in (made("immich").folder, tmp_path / "copy"))
    assert here == there
    file = tmp_path / "copy/visual/preprocess_cfg.json"
    file.write_text(file.read_text().replace("shortest", "squash"))
    assert ForeignModel(opened(tmp_path / "copy")).digest != here
