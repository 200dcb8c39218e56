"""Searches of a small collection with a trained model: labels, filters, examples and marks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from tagprism.bundle.config import CONFIG, VOCABULARY
from tagprism.bundle.neighbours import nearest_pictures
from tagprism.bundle.record import Records, score_records
from tagprism.datasets.registry import open_dataset
from tagprism.datasets.splits import load_split
from tagprism.errors import InputError, PictureError
from tagprism.evaluation.evaluate import evaluate
from tagprism.evaluation.scores import score_chunks, streamed_scores
from tagprism.evaluation.streaming import evaluate_scores
from tagprism.files import digest_file
from tagprism.labels.phrases import normalise_phrase
from tagprism.labels.vocabulary import Vocabulary
from tagprism.search import qdrant_index
from tagprism.search.collection import Collection
from tagprism.search.contract import Picture
from tagprism.search.create import create_collection
from tagprism.search.find import find
from tagprism.search.marks import Said, open_marks
from tagprism.search.match import LIKELY, searched_as, searched_by
from tagprism.search.query import QueryError
from tagprism.search.similar import Example, example_of
from tagprism.search.stored import marks_file
from tagprism.search.words import unknown_words
from tagprism.tagging.calibration import Calibration, MonotoneMap
from tagprism.tagging.explain import Explainer
from tests.small_world import LABELS, World


@pytest.fixture(scope="module")
def collection(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    folder = tmp_path_factory.mktemp("made")
    made = create_collection(str(folder), str(world.run), "float32")
    fill(made, world.pictures())
    yield made
    made.close()


def fill(collection: Collection, paths: list[Path]) -> None:
    pictures, records = [], []
    for place, outcome, digest in collection.tagger.records(paths):
        assert not isinstance(outcome, PictureError)
        taken = f"{2020 + place // 16}-0{1 + place % 9}-10T12:00:00" if place % 5 else None
        pictures.append(Picture(place + 1, str(paths[place]), 1, 1, digest, 96, 72, taken))
        records.append(outcome)
    collection.index.add(pictures, Records.joined(records))


def said(*marks: tuple[Picture, str, bool]) -> Said:
    """Marks as they are kept."""
    kept: dict[str, dict[str, tuple[str, bool]]] = {}
    for picture, label, added in marks:
        kept.setdefault(picture.digest, {})[normalise_phrase(label)] = (label, added)
    return kept


def names(results: Any) -> list[str]:
    return [Path(one.picture.path).name for one in results.found]


@pytest.mark.parametrize("label", [*LABELS, "orange", "yellow star"])
def test_one_label_ranks_as_the_evaluator_does(collection: Collection, label: str) -> None:
    index = collection.index
    ids = list(range(1, index.info().pictures + 1))
    scores = streamed_scores(index.records(ids), collection.tagger.embed([label]))[:, 0]
    expected = (np.argsort(-scores, kind="stable") + 1).tolist()
    results = find(collection, label, limit=64)
    assert [one.picture.id for one in results.found] == expected and results.exact
    for one in results.found:
        (tag,) = one.tags
        assert tag.label == label and tag.score == pytest.approx(scores[one.picture.id - 1], abs=1e-5)
        assert one.label_matches == pytest.approx([one.score], rel=1e-5)


def test_with_neighbours_a_small_collection_ranks_as_evaluate_neighbours_does(collection: Collection) -> None:
    index, tagger = collection.index, collection.tagger
    records = index.records(list(range(1, index.info().pictures + 1)))
    nearest = nearest_pictures(records.rows, 4)
    ((_, scores),) = score_chunks(records, tagger.scoring_vectors(["orange"]), nearest)
    results = find(collection, "orange", limit=64, neighbours=4)
    assert [one.picture.id for one in results.found] == (np.argsort(-scores[:, 0], kind="stable") + 1).tolist()
    assert results.found != find(collection, "orange", limit=64).found and not results.exact
    for one in results.found:
        assert one.label_matches == pytest.approx([one.score], rel=1e-5)


def test_a_match_is_made_of_those_of_the_labels(collection: Collection) -> None:
    for one in find(collection, "red AND circle NOT 2*blue").found:
        red, circle, blue = one.label_matches
        assert [tag.label for tag in one.tags] == ["red", "circle", "blue"]
        assert one.score == pytest.approx(red * circle * (1 - blue) ** 2, rel=1e-3)


def test_pages_begin_with_the_pictures_that_are_likely_by_each_label(collection: Collection) -> None:
    first, second, third, *_ = collection.index.pictures()
    marks = said(
        *((one, label, True) for one in (first, second) for label in ("red", "circle")),
        *((one, "blue", False) for one in (first, second)),
        (third, "red", True),  # is certain, and makes up for no circle
    )
    query = "red AND circle NOT blue"
    pages = [find(collection, query, limit=9, offset=at, marks=marks).found for at in range(0, 64, 9)]
    found = [one for page in pages for one in page]
    are, matches = zip(*((one.likely, one.label_matches) for one in found), strict=True)
    assert list(are) == [red >= LIKELY and circle >= LIKELY and blue < LIKELY for red, circle, blue in matches]
    count = are.index(False)
    assert count >= 2 and not any(are[count:])
    for some in (found[:count], found[count:]):
        assert [one.score for one in some] == sorted((one.score for one in some), reverse=True)
    assert len({one.picture.id for one in found}) == len(found)


def test_an_unknown_word_ranks_nothing_that_need_not_have_it(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"orange": ["orange"], "Hund on orange": ["Hund"]}
    monkeypatch.setattr(collection.tagger, "unknown_words", lambda label: words.get(label, []))
    red = [(one.picture.id, one.score, one.likely) for one in find(collection, "red", limit=64).found]
    for query in ("red OR orange", "red NOT orange", "red AND NOT orange OR orange", '"Hund on orange" OR red'):
        results = find(collection, query, limit=64)
        assert results.strangers == ()
        assert [(one.picture.id, pytest.approx(one.score), one.likely) for one in results.found] == red
    needed = find(collection, 'red AND "Hund on orange" NOT orange', limit=64)
    assert needed.strangers == ("Hund on orange",)
    assert not any(one.likely or one.tags[1].probability for one in needed.found)
    assert str(unknown_words(needed, collection.tagger)).startswith("query: `Hund` (in `Hund on orange`) is unknown")
    like = Example(collection.index.records([1]))
    beside = find(collection, "orange", limit=3, like=like)
    assert beside.strangers == ("orange",) and {one.likely for one in beside.found} == {False}


def test_filters_sift(collection: Collection) -> None:
    results = find(collection, "red path:/2/ taken:2021..2022", limit=64)
    assert results.found
    for one in results.found:
        assert "/2/" in one.picture.path and (one.picture.taken or "")[:4] in ("2021", "2022")
    either = find(collection, "red AND (path:/2/ OR path:/3/)", limit=64)
    assert {Path(one.picture.path).parent.name for one in either.found} == {"2", "3"} and len(either.found) == 32
    assert names(find(collection, "red -path:/0/ -path:/1/", limit=64)) == names(either)


def test_filters_alone_give_the_newest_first(collection: Collection) -> None:
    results = find(collection, "path:circle (taken:2021 OR taken:2023)", limit=64)
    times = [one.picture.taken or "" for one in results.found]
    assert times == sorted(times, reverse=True) and {time[:4] for time in times} == {"2021", "2023"}
    assert all(one.score == 1 and "circle" in one.picture.path for one in results.found)
    everything = find(collection, "NOT path:nowhere", limit=100)
    assert len(everything.found) == 64 and everything.found[-1].picture.taken is None
    assert len(find(collection, "taken:2021", limit=3).found) == 3
    assert find(collection, "taken:1999").found == ()


def test_marks_overrule_scores(collection: Collection) -> None:
    plain = find(collection, "red", limit=64).found
    first, last = plain[0].picture, plain[-1].picture
    marks = said((last, "red", True), (first, "red", False), (first, "blue", True))
    marked = find(collection, "Red", limit=64, marks=marks).found
    assert marked[0].picture == last and marked[0].label_matches == (1.0,)
    assert first not in [one.picture for one in marked] and len(marked) == 63
    without = find(collection, "square NOT red", limit=64, marks=marks).found
    assert last not in [one.picture for one in without] and len(without) == 63
    assert find(collection, "red OR blue", limit=1, marks=marks).found[0].picture in (first, last)
    others = find(collection, "circle", limit=64, marks=marks).found
    assert [one.score for one in others] == [one.score for one in find(collection, "circle", limit=64).found]
    assert {one.picture.id: one.own for one in others if one.own} == {last.id: ("red",), first.id: ("blue",)}


def test_a_mark_counts_for_every_copy_of_a_picture(collection: Collection) -> None:
    index, (worst,) = collection.index, find(collection, "red", limit=64).found[-1:]
    copy = replace(worst.picture, id=999, path="/copy.png")
    index.add([copy], index.records([worst.picture.id]))
    marked = find(collection, "red", limit=2, marks=said((copy, "red", True))).found
    assert [one.picture.id for one in marked] == [worst.picture.id, 999]
    index.remove([999])


def test_an_example_finds_its_like_but_not_itself(collection: Collection, world: World) -> None:
    shown = world.pictures()[5]
    results = find(collection, None, limit=64, like=example_of(collection, str(shown)))
    assert len(results.found) == 63 and str(shown) not in [one.picture.path for one in results.found]
    again = find(collection, None, limit=64, like=Example(collection.index.records([6]), str(shown)))
    assert [one.picture.id for one in again.found] == [one.picture.id for one in results.found]
    sifted = find(collection, "circle path:/2/", limit=64, like=example_of(collection, str(shown)))
    assert sifted.found and all("/2/" in one.picture.path and one.label_matches for one in sifted.found)


def test_a_picture_that_is_gone_is_an_example_as_it_was_indexed(collection: Collection, tmp_path: Path) -> None:
    index, gone = collection.index, str(tmp_path / "gone.png")
    index.add([Picture(500, gone, 1, 1, "0" * 64, 9, 9)], index.records([3]))
    example = example_of(collection, gone)
    assert example.path == gone and (example.record.rows == index.records([3]).rows).all()
    index.remove([500])
    with pytest.raises(InputError, match="neither a file nor a picture"):
        example_of(collection, gone)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match="Give another picture"):
        example_of(collection, str(tmp_path / "text.png"))


def test_a_calibrated_bundle_gives_probabilities_and_its_background(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    background = collection.index.records(list(range(1, 33))).astype(np.float16)
    calls = []

    class Fake(Calibration):
        def of_labels(self, *arguments: Any) -> Any:
            calls.append(arguments[0])

            class Half:
                def probabilities(self, records: Records, scores: np.ndarray) -> np.ndarray:
                    return np.full(scores.shape, 0.5)

            return Half()

    plain = MonotoneMap(np.array([0.5, 1.0, 0.0]), np.array([-1.0, 1.0]), np.array([-1.0, 1.0]))
    calibration = Fake(background, {"unseen": plain}, np.zeros((len(LABELS), 2), np.float32))
    monkeypatch.setitem(vars(collection.tagger), "calibration", calibration)
    monkeypatch.delitem(vars(collection), "label_logits", raising=False)  # those of other tests
    results = find(collection, "red NOT blue", limit=64)
    assert calls and all(tag.probability == 0.5 for one in results.found for tag in one.tags)
    assert collection.label_logits.background is background
    first = find(collection, "red", limit=64)
    monkeypatch.delitem(vars(collection), "label_logits")
    assert [one.picture.id for one in find(collection, "red", limit=64).found] == [
        one.picture.id for one in first.found
    ]


def test_a_collection_searches_itself_with_what_people_said(collection: Collection, world: World) -> None:
    shown = world.pictures()[5]
    assert collection.search("red AND circle", 3) == find(collection, "red AND circle", 3)
    assert collection.search("red", neighbours=4) == find(collection, "red", neighbours=4)
    example = example_of(collection, str(shown))
    assert collection.search(None, top_k=5, like=shown) == find(collection, None, 5, like=example)
    assert collection.search("red", like=example) == find(collection, "red", like=example)
    first = collection.search("red", 1).found[0].picture
    with closing(open_marks(collection.where)) as marks:
        marks.put(first.digest, "Red", False)
    assert first not in [one.picture for one in collection.search("red", 64).found]
    marks_file(collection.where).unlink()
    with pytest.raises(InputError, match="neither a query nor a picture"):
        collection.search(None)


def test_what_cannot_be_searched_for_is_an_error(collection: Collection) -> None:
    with pytest.raises(QueryError, match="column 5"):
        find(collection, "red (")
    with pytest.raises(InputError, match="neither a query nor a picture"):
        find(collection, None)
    with pytest.raises(InputError, match="0 pictures"):
        find(collection, "red", limit=0)


def test_an_empty_index_gives_nothing(world: World, tmp_path: Path) -> None:
    made = create_collection(str(tmp_path), str(world.run))
    assert find(made, "red").found == find(made, "taken:2024").found == ()
    made.close()


def test_pictures_removed_while_they_are_described_are_left_out(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [one.picture.id for one in find(collection, "red", limit=4).found]
    index = collection.index
    plain, gone = {"get": index.get, "records": index.records}, [False]

    def get(ids: list[int]) -> Any:
        return [
            None if gone[0] and one == expected[1] else picture
            for one, picture in zip(ids, plain["get"](ids), strict=True)
        ]

    def records(ids: list[int]) -> Any:
        if expected[1] in ids and len(ids) < 10:
            gone[0] = True  # between the two calls
            raise KeyError(expected[1])
        return plain["records"](ids)

    monkeypatch.setattr(index, "get", get)
    monkeypatch.setattr(index, "records", records)
    assert [one.picture.id for one in find(collection, "red", limit=4).found] == [expected[0], *expected[2:]]


def test_a_label_of_several_vectors_is_tagged_searched_and_measured_by_the_best_of_them(
    world: World, tmp_path: Path
) -> None:
    bundle = shutil.copytree(world.run / "bundle", tmp_path / "bundle")
    words = Vocabulary.load(bundle / VOCABULARY)
    own = np.random.default_rng(0).standard_normal((2, 3, words.dimension)).astype(np.float32)
    several = {"red": own[0] / np.linalg.norm(own[0], axis=1, keepdims=True), "yellow": own[1]}
    Vocabulary(words.names, words.vectors, words.roles, words.aliases, several).save(bundle / VOCABULARY)
    config = json.loads((bundle / CONFIG).read_text())
    digests = config["digests"] | {VOCABULARY: digest_file(bundle / VOCABULARY)}
    (bundle / CONFIG).write_text(json.dumps(config | {"calibration": None, "digests": digests}))
    (tmp_path / "index").mkdir()
    with closing(create_collection(str(tmp_path / "index"), str(bundle), "float32")) as made:
        fill(made, world.pictures())
        records = made.index.records(list(range(1, 65)))
        for label in ("red", "yellow"):
            scores = np.max([streamed_scores(records, one[None])[:, 0] for one in several[label]], axis=0)
            found = find(made, label, limit=64)
            assert [one.picture.id for one in found.found] == (np.argsort(-scores, kind="stable") + 1).tolist()
            (first,) = find(made, label, limit=1).found
            assert first.tags[0].score == pytest.approx(scores.max(), abs=1e-5)
            assert find(made, f"{label} NOT blue", limit=5).exact
        tagged = made.tagger.tag(world.pictures()[:5], ["red", "blue"])
        reds = [next(tag.score for tag in row.tags if tag.label == "red") for row in tagged]
        wanted = [np.max([streamed_scores(records[:5], one[None])[:, 0] for one in several["red"]], axis=0)]
        np.testing.assert_allclose(reds, wanted[0], atol=1e-4)
        table = open_dataset(f"tagged:{world.data}")
        result = evaluate(made.tagger, table, load_split(f"{world.data}/splits.json#0", table))
    queries = {name: several.get(name, words.vectors[[words.index(name)]]) for name in result.names}
    assert result.records is not None
    by_hand = np.stack(
        [np.max([streamed_scores(result.records, w[None])[:, 0] for w in its], axis=0) for its in queries.values()], 1
    )
    expected = evaluate_scores(by_hand, result.names, result.unseen, result.targets)
    assert result.evaluation.gzsl.labelled.mean_ap == pytest.approx(expected.gzsl.labelled.mean_ap, abs=1e-9)


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning")
@pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")
@pytest.mark.parametrize("engine", ["embedded", "qdrant"])
def test_a_word_is_searched_by_its_kinds_and_other_names_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    client, where = QdrantClient(":memory:"), str(tmp_path)
    if engine == "qdrant":
        where = "qdrant+http://127.0.0.1:6333/photos"
        monkeypatch.setattr(client, "close", lambda: None)
        monkeypatch.setattr(qdrant_index, "connect", lambda where: (client, "photos"))
    with closing(create_collection(where, "photos-lite", "float32")) as made:
        background = made.label_logits.background
        records = background[np.arange(60)].astype(np.float32)
        pictures = [Picture(n + 1, f"/made/{n}.jpg", 1, 1, f"{n:064x}", 96, 72, None) for n in range(60)]
        made.index.add(pictures, records)
        for word, others in ("person", {"man", "woman", "boy", "crowd"}), ("lorry", {"truck"}), ("sunset", set[str]()):
            names = searched_as(word, made.tagger)
            assert others <= set(names) and bool(names) == bool(others)
            asked = [*([] if word == "lorry" else [word]), *names]  # what was not trained on says less than what was
            vectors, _ = searched_by(asked, made.tagger.scoring_vectors(asked), made.tagger)
            scores, _ = score_records(records, vectors)
            order = (np.argsort(-scores.max(axis=1), kind="stable") + 1).tolist()
            for exact in (False, True):
                found = find(made, word, limit=60, exact=exact).found
                assert [one.picture.id for one in found] == order
                assert [tag.label for tag in found[0].tags] == [word]
            assert [one.picture.id for one in find(made, f"NOT {word}", limit=60).found] == order[::-1]
        likely = {
            word: {one.picture.id for one in find(made, word, limit=60).found if one.likely}
            for word in ("person", "people", "man", "lorry", "truck")
        }
        assert likely["person"] == likely["people"] and likely["lorry"] == likely["truck"]
        assert len(likely["man"] - likely["person"]) <= 1 < len(likely["person"])


def test_a_soft_maximum_ranks_alike_in_tags_search_and_evaluation(world: World, tmp_path: Path) -> None:
    bundle = shutil.copytree(world.run / "bundle", tmp_path / "bundle")
    config = json.loads((bundle / CONFIG).read_text())
    (bundle / CONFIG).write_text(json.dumps(config | {"best_rows": 2}))
    (tmp_path / "index").mkdir()
    with closing(create_collection(str(tmp_path / "index"), str(bundle), "float32")) as made:
        fill(made, world.pictures())
        records, tagger = made.index.records(list(range(1, 65))), made.tagger
        for label in ("red", "orange"):
            (w,) = tagger.embed([label])
            products = np.sort(records.rows @ w, axis=1)
            scores = products[:, -2:].mean(axis=1) + records.shared[:, 0]
            found = find(made, label, limit=64)
            assert [one.picture.id for one in found.found] == (np.argsort(-scores, kind="stable") + 1).tolist()
            assert found.exact and found.found[0].tags[0].score == pytest.approx(scores.max(), abs=1e-5)
            found = find(made, f"{label} AND circle", limit=3)
            assert found.exact and len(found.found) == 3
            tagged = tagger.tag(world.pictures(), [label])
            np.testing.assert_allclose([row.tags[0].score for row in tagged], scores, atol=1e-4)
            explained = Explainer(tagger, [label]).explain(world.pictures()[0], [label]).tags[0]
            assert explained.score == pytest.approx(scores[0], abs=1e-4)
            assert explained.places.sum() + explained.without_place == pytest.approx(explained.score, abs=1e-4)
