"""The tagger as a Python library."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tagprism
from tagprism.errors import InputError
from tagprism.images.decode import open_picture
from tagprism.tagging.explain import Explainer
from tagprism.tagging.tagger import Tagger
from tagprism.tagging.tags import best_spellings
from tagprism.tagging.unknown import known_labels
from tests.odd_pictures import DAMAGED, USABLE, draw_odd_pictures
from tests.small_world import LABELS, UNSEEN, World

PHOTO = Path(__file__).parents[1] / "photos/chelsea.jpg"


@pytest.fixture
def tagger(world: World) -> Tagger:
    return tagprism.load(world.run)


def test_tags_are_the_largest_products_best_first(tagger: Tagger, world: World) -> None:
    picture = world.pictures()[3]
    (row,) = tagger.tag([picture], top_k=None)
    assert (row.path, row.error) == (picture, None)
    record = tagger.network(
        tagger.preprocess.apply(open_picture(picture, draft_size=tagger.preprocess.draft_size))[None]
    )
    vectors = tagger.vocabulary.vectors
    products = record.rows[0] @ vectors.T + record.shared[0]  # (M, L)
    order = np.argsort(-products.max(axis=0), kind="stable")
    assert [tag.label for tag in row.tags] == [tagger.vocabulary.names[place] for place in order]
    np.testing.assert_allclose([tag.score for tag in row.tags], products.max(axis=0)[order], rtol=1e-4, atol=1e-5)
    assert [tag.vector for tag in row.tags] == products.argmax(axis=0)[order].tolist()


def test_scores_of_seen_labels_have_mean_0_and_deviation_1_in_every_picture(tagger: Tagger, world: World) -> None:
    seen = [label for label in LABELS if label not in UNSEEN]
    for row in tagger.tag(world.pictures()[:5], seen, top_k=None):
        scores = np.array([tag.score for tag in row.tags])
        assert abs(scores.mean()) < 1e-3
        assert scores.std() == pytest.approx(1, abs=1e-3)


def test_every_path_has_a_row_in_order(tagger: Tagger, world: World, tmp_path: Path) -> None:
    paths = [str(path) for path in (*draw_odd_pictures(tmp_path), world.pictures()[0], tmp_path / "missing.png")] * 8
    found = tagger.tag(paths, top_k=1)
    assert [str(row.path) for row in found] == paths
    codes = [*DAMAGED.values(), *(None for _ in USABLE), None, "missing"] * 8
    assert [row.error.code if row.error else None for row in found] == codes
    assert all(bool(row.tags) == (row.error is None) for row in found)


def test_new_words_go_through_the_space_of_the_training(tagger: Tagger) -> None:
    known, new = tagger.embed(["red"]), tagger.embed(["RED", "orange"])
    assert tagger.label_space is not None
    np.testing.assert_allclose(new[0], known[0], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(new, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(tagger.embed(["orange", "red"]), np.stack([new[1], known[0]]))
    stored = tagger.label_space.embed(tagger.vocabulary.names).vectors
    np.testing.assert_allclose(stored, tagger.vocabulary.vectors, atol=1e-4)


def test_errors_come_before_the_first_row(tagger: Tagger, world: World) -> None:
    with pytest.raises(InputError, match="square"):
        tagger.tag_each(world.pictures(), ["sqare"])
    with pytest.raises(InputError, match="not calibrated"):
        tagger.tag_each(world.pictures(), min_probability=0.5)
    with pytest.raises(InputError, match="no labels"):
        tagger.tag_each(world.pictures(), [])


def test_a_bare_string_is_one_label(tagger: Tagger, world: World) -> None:
    picture = world.pictures()[0]
    assert tagger.tag(picture, "red") == tagger.tag(picture, ["red"])
    assert tagger.tag(picture, {"red": "star"}) == tagger.tag(picture, {"red": ("star",)})
    (one,), (other,) = (Explainer(tagger, labels).explain(picture, ["red"]).tags for labels in ("red", ["red"]))
    assert one.score == other.score


@pytest.mark.usefixtures("no_type_checks")
@pytest.mark.parametrize("labels", [5, b"red", ["red", None], ["red", b"star"], {"red": 5}, {"red": ["star", 5]}, [[]]])
def test_labels_that_are_no_words_are_an_error(labels: Any, tagger: Tagger, world: World) -> None:
    with pytest.raises(InputError, match="labels are words, not"):
        tagger.tag(world.pictures()[0], labels)


@pytest.mark.usefixtures("no_type_checks")
@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": 2.5}, r"top_k is 2\.5"),
        ({"top_k": "3"}, "top_k is '3'"),
        ({"min_probability": 2}, "min_probability is 2"),
        ({"min_probability": "0.5"}, "min_probability is '0.5'"),
    ],
)
def test_limits_that_make_no_sense_are_an_error(
    limits: Any, complaint: str, tagger: Tagger, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tagger, "calibrated", True)
    with pytest.raises(InputError, match=complaint):
        tagger.tag(world.pictures()[0], **limits)


def test_without_text_an_unknown_phrase_names_the_nearest_words(world: World, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(world.run / "bundle", bundle, ignore=shutil.ignore_patterns("text"))
    config = json.loads((bundle / "config.json").read_text())
    config["digests"] = {name: value for name, value in config["digests"].items() if not name.startswith("text/")}
    (bundle / "config.json").write_text(json.dumps(config))
    tagger = tagprism.load(bundle)
    assert tagger.label_space is None
    assert tagger.embed(["red", "cross"]).shape == (2, 12)
    with pytest.raises(InputError, match=r"`trangle` \(near: triangle.*vocabulary"):
        tagger.embed(["red", "trangle"])


def test_nothing_to_tag_is_no_error(tagger: Tagger) -> None:
    assert tagger.tag([]) == []


def test_top_k_above_the_labels_gives_all(tagger: Tagger, world: World) -> None:
    (row,) = tagger.tag(world.pictures()[:1], ["red", "star"], top_k=10)
    assert {tag.label for tag in row.tags} == {"red", "star"}


def test_a_single_path_is_one_picture(tagger: Tagger, world: World) -> None:
    picture = world.pictures()[0]
    assert tagger.tag(str(picture)) == tagger.tag(picture) == tagger.tag([picture])


def test_a_label_has_the_score_of_its_best_spelling(tagger: Tagger, world: World) -> None:
    pictures = world.pictures()[:12]
    labels = {"red": ("yellow",), "blue": (), "circle": ("square", "cross"), "star": ("orange", "triangle")}
    single = tagger.tag(pictures, [spelling for label, others in labels.items() for spelling in (label, *others)], None)
    for row, alone in zip(tagger.tag(pictures, labels, None), single, strict=True):
        of = {tag.label: tag for tag in alone.tags}
        assert {tag.label for tag in row.tags} == set(labels)
        assert [tag.score for tag in row.tags] == sorted((tag.score for tag in row.tags), reverse=True)
        for tag in row.tags:
            best = max((of[spelling] for spelling in (tag.label, *labels[tag.label])), key=lambda other: other.score)
            assert (tag.score, tag.vector) == (pytest.approx(best.score, abs=1e-5), best.vector)


@given(st.lists(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=4), min_size=1, max_size=6))
def test_best_spellings_are_as_counted_by_hand(groups: list[list[float]]) -> None:
    scores = np.array([score for group in groups for score in group], np.float32)
    winners = np.arange(len(scores))
    starts = np.array([sum(map(len, groups[:place])) for place in range(len(groups))])
    best, won = best_spellings(scores, winners, starts)
    assert best.tolist() == [max(group) for group in groups]
    assert won.tolist() == [start + group.index(max(group)) for start, group in zip(starts, groups, strict=True)]


def test_paths_are_fetched_as_they_are_needed(tagger: Tagger, world: World) -> None:
    fetched = 0

    def endless() -> Iterator[Path]:
        nonlocal fetched
        while True:
            fetched += 1
            yield world.pictures()[0]

    rows = tagger.tag_each(endless(), ["red"])
    assert [next(rows).path for _ in range(3)] == [world.pictures()[0]] * 3
    assert fetched < 200
    rows.close()  # type: ignore[attr-defined]


def test_errors_keep_no_file_in_memory(tagger: Tagger, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(10_000_000))
    tracemalloc.start()
    try:
        rows = tagger.tag([tmp_path / "large.png"] * 10, ["red"])
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert [row.error.code for row in rows if row.error] == ["corrupt"] * 10
    assert kept < 10_000_000


def test_the_vocabulary_is_made_ready_once_and_scores_as_its_parts() -> None:
    tagger = tagprism.load()
    names = tagger.vocabulary.names
    whole = tagger.scoring_vectors(names)
    assert tagger.scoring_vectors(names) is whole
    some = [*tagger.vocabulary.seen[:3], *names[-3:]]
    rows = [names.index(name) for name in some]
    np.testing.assert_allclose(tagger.scoring_vectors(some), whole[rows], atol=1e-3)


def test_a_phrase_with_an_unknown_word_is_never_sure() -> None:
    tagger, said = tagprism.load(), list[str]()
    phrases = ["cat", "my qwxzvbn cat", "Hund"]
    (row,) = tagger.tag(PHOTO, phrases)
    assert row.tags[0].label == "cat" and row.tags[0].probability
    assert {tag.label: tag.probability for tag in row.tags[1:]} == {"my qwxzvbn cat": 0.0, "Hund": 0.0}
    assert list(known_labels(tagger, dict.fromkeys(phrases, ()), said.append)) == ["cat"]
    assert said[0].startswith("2 of the words are unknown to this model: `Hund`")
    assert "`qwxzvbn` (nearest: " in said[0] and "in `my qwxzvbn cat`" in said[0]
    assert tagger.unknown(["Bedlington terrier on grass", "grass qwxzvbn"]) == ["grass qwxzvbn"]
    (either,) = tagger.tag(PHOTO, {"Katze": ["cat"]})  # a spelling that is known suffices
    assert (either.tags[0].probability or 0) > 0.5
