"""Candidates of a large index: how near their scores are, and that their records decide."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from qdrant_client import QdrantClient
from safetensors.numpy import save_file

from tagprism.bundle.record import Records, Shape, score_records
from tagprism.errors import InputError
from tagprism.search import contract, first_stage, outline
from tagprism.search.conditions import Filter
from tagprism.search.contract import Hit, Picture, measured_recalls
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.edge_reader import PICTURES
from tagprism.search.first_stage import FirstStage
from tagprism.search.kept_records import KeptRecords
from tagprism.search.outline import nearly_best
from tagprism.search.qdrant_index import QdrantIndex
from tagprism.search.qdrant_vector import WholeVector
from tagprism.search.record_file import RECORDS, RecordFile, StorageName, powers_of_two
from tagprism.search.row_summary import RowSummary

SHAPE = Shape(3, 16, 5)
N = 3000


def drawn(seed: int, count: int, shape: Shape = SHAPE) -> Records:
    """Rows of a picture that are alike, as those of photos are."""
    random = np.random.default_rng(seed)
    common = random.standard_normal((count, 1, shape.dimension))
    rows = common + 0.5 * random.standard_normal((count, *shape[:2]))
    shared = random.standard_normal((count, shape.shared)) * 3
    return Records(rows.astype(np.float32), shared.astype(np.float32))


def vectors(seed: int, count: int, width: int = SHAPE.width) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def recall(exact: list[list[Hit]], found: list[list[Hit]]) -> float:
    return float(np.mean(measured_recalls(exact, found)))


def test_the_network_of_one_product_is_what_onnx_makes() -> None:
    names = (("a", TensorProto.UINT8, ["n", "w"]), ("b", TensorProto.INT8, ["w", "q"]))
    inputs = [helper.make_tensor_value_info(*one) for one in names]
    output = helper.make_tensor_value_info("o", TensorProto.INT32, ["n", "q"])
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["o"])], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    assert model.SerializeToString(deterministic=True) == first_stage._MATMUL


@given(
    st.integers(1, 9), st.integers(1, 4), st.integers(1, 40), st.integers(1, 9), st.integers(1, 4), st.integers(0, 99)
)
@settings(deadline=None, max_examples=40)
def test_scores_are_those_of_the_mean_row_and_a_share_of_the_radius(
    tmp_path_factory: pytest.TempPathFactory, n: int, M: int, D: int, S: int, q: int, seed: int
) -> None:
    records, queries = drawn(seed, n, Shape(M, D, S)), vectors(seed, q, D + S)
    stage = FirstStage(tmp_path_factory.mktemp("stage") / "first.bin", records.shape)
    stage.write(np.arange(n), records)
    mean = records.rows.mean(axis=1)
    usual = queries @ np.concatenate([mean, records.shared], axis=1).T
    radius = np.linalg.norm(records.rows - mean[:, None], axis=2).max(axis=1)
    usual += 0.2 * np.linalg.norm(queries[:, :D], axis=1)[:, None] * radius
    off = sum(
        powers_of_two(part, 127)[None] * np.abs(its).sum(axis=1)[:, None]
        + np.abs(its).max(axis=1)[:, None] / 63 * np.abs(part).sum(axis=1)[None]
        for part, its in ((mean, queries[:, :D]), (records.shared, queries[:, D:]))
    )  # half a step of either number in each product, twice
    off += 0.2 * np.linalg.norm(queries[:, :D], axis=1)[:, None] * (0.1 * radius + powers_of_two(mean, 127) * D)
    assert (np.abs(stage.scores(queries) - usual) <= off + 1e-4).all()
    places = np.arange(n)[::-2]
    np.testing.assert_allclose(stage.scores(queries, places), stage.scores(queries)[:, places], rtol=1e-6)
    other = drawn(seed + 1, 1, records.shape)
    stage.write(np.array([0]), other)  # what is known of a place is known anew when it is written again
    stage.write(np.array([n]), other)
    again = stage.scores(queries)
    np.testing.assert_array_equal(again[:, 0], again[:, n])


def test_what_candidates_are_found_by_is_made_from_the_records_where_it_is_not_there(tmp_path: Path) -> None:
    index = EdgeIndex.create(tmp_path, SHAPE, "float32")
    index.add([Picture(row + 1, f"/{row}.jpg", 1, 1, f"{row:064x}", 4, 3) for row in range(50)], drawn(1, 50))
    index.close()
    kept = tmp_path / PICTURES / "candidates.bin"
    before = kept.read_bytes()
    kept.unlink()
    small = EdgeIndex(tmp_path, SHAPE, "float32")
    assert len(small.search(vectors(2, 1), 3)[0]) == 3 and not kept.exists()  # all records are looked at
    small.close()
    assert opened(tmp_path / PICTURES, "float32").first.size == 50 and kept.read_bytes() == before


def opened(folder: Path, storage: StorageName) -> KeptRecords:
    return KeptRecords(folder, RecordFile(folder / RECORDS, SHAPE, storage))


@given(st.integers(1, 300), st.integers(0, 99), st.sampled_from(["half", "float32"]))
@settings(deadline=None, max_examples=30)
def test_scores_of_stored_records_are_near_the_true_ones(
    tmp_path_factory: pytest.TempPathFactory, n: int, seed: int, storage: str
) -> None:
    records, queries = drawn(seed, n), vectors(seed, 3)
    file = RecordFile(tmp_path_factory.mktemp("records") / "records.bin", SHAPE, storage)  # type: ignore[arg-type]
    file.write(np.arange(n), records)
    wanted = score_records(records, queries)[0].T
    np.testing.assert_allclose(file.scores(queries), wanted, atol=1e-5 if storage == "float32" else 1e-2)
    kept = file.read(np.arange(n))
    np.testing.assert_allclose(kept.rows, records.rows, atol=0 if storage == "float32" else 2e-4)
    np.testing.assert_allclose(file.scores(queries), score_records(kept, queries)[0].T, atol=1e-4)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> EdgeIndex:
    made = EdgeIndex.create(tmp_path_factory.mktemp("index"), SHAPE, "float32")
    records = drawn(1, N)
    pictures = [Picture(row + 1, f"/{row % 4}/{row}.jpg", 1, 1, f"{row:064x}", 4, 3) for row in range(N)]
    for start in range(0, N, 1000):
        made.add(pictures[start : start + 1000], records[start : start + 1000])
    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")
@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning")
@pytest.mark.parametrize("count", [0, 60])
def test_on_a_server_the_records_of_candidates_decide_too(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    records, queries, asked = drawn(1, 450), vectors(2, 4), vectors(3, count)
    settings = {**SHAPE._asdict(), "storage": "float32"}
    client = QdrantClient(":memory:")
    index = QdrantIndex.create(client, "photos", settings, asked)
    if not count:  # as in a collection of an older version, which has no such note
        monkeypatch.delitem(client._client.collections["photos"].config.metadata, "tagprism_whole")
    index = QdrantIndex(client, "photos")
    assert index.info().fitted == (count > 0)
    index.add([Picture(row + 1, f"/{row % 4}/{row}.jpg", 1, 1, f"{row:064x}", 4, 3) for row in range(450)], records)
    whole, scores = index.search(queries, 5), score_records(records, queries)[0].T
    monkeypatch.setattr(contract, "FIRST_STAGE", 100)
    monkeypatch.setattr(contract, "_CANDIDATES", (10, 1))
    assert index.info().recall is None, "it was not measured"
    rows = records.rows.mean(axis=1)
    if count:
        label_vectors = np.rint(127 * asked[:, :16] / np.abs(asked[:, :16]).max())
        rows, none = RowSummary(label_vectors, by_length=False).of(records.rows)
        assert not none.any()
    for vector, hits, every in zip(queries, index.search(queries, 5), scores, strict=True):
        small = np.concatenate([rows, records.shared], axis=1) @ vector
        among = np.argsort(-small)[: 10 if count else 20]
        expected = among[np.argsort(-every[among])][:5]
        assert [hit.id - 1 for hit in hits] == expected.tolist()
        assert [hit.score for hit in hits] == pytest.approx(every[expected].tolist(), abs=1e-4)
    assert index.search(queries, 5, exact=True) == whole and not index.info().exact
    (inside,) = index.search(queries[:1], 3, where=Filter(path=("/3/",)))
    assert inside and all(hit.id % 4 == 0 for hit in inside)
    index.settle(queries)
    info = index.info()
    assert 0.5 < info.recall <= 1 and info.worst <= info.recall
    index.keep_settings(settings)
    assert QdrantIndex(client, "photos").info() == info, "what was measured is no setting"


def test_what_a_server_is_asked_and_keeps_lie_in_one_range() -> None:
    """It has one range of 8 bits for all numbers, and cuts what is asked for to that of what is kept."""
    shape, random = Shape(3, 256, 40), np.random.default_rng(1)
    sizes = np.concatenate([np.full(256, 1 / 16), np.exp(random.uniform(-2, 3, 40))])
    asked = (random.standard_normal((1500, 296)) * sizes).astype(np.float32)
    records = Records(*(random.standard_normal(one).astype(np.float32) for one in ((50, 3, 256), (50, 40))))
    records = Records(records.rows, records.shared / sizes[256:].astype(np.float32))  # each asks for as much of a score
    made = WholeVector.for_asked(shape, asked)
    assert made.summary is not None and (np.log2(made.weights) % 1 == 0).all()
    plain = np.concatenate([made.summary.of(records.rows)[0], records.shared], axis=1)
    kept, questions = made.of(records.rows, records.shared), made.asked(asked)
    np.testing.assert_array_equal(kept / made.weights, plain)
    np.testing.assert_array_equal(made.shared(kept, 256), records.shared)
    np.testing.assert_array_equal(questions * made.weights, asked)
    sizes_now = np.sqrt(np.square(questions).mean(axis=0))
    assert sizes_now.max() < 3 * sizes_now.min() and np.abs(kept[:, :256]).std() < 2 * sizes_now.mean()
    again = WholeVector.read("photos", shape, json.loads(json.dumps(made.kept())))
    np.testing.assert_array_equal(again.of(records.rows, records.shared), kept)
    few = WholeVector.for_asked(shape, asked[:5])
    assert few.summary is None and (few.weights > 0).all() and WholeVector.read("", shape, few.kept()).summary is None
    for damaged in (
        {},
        {"exponents": [1], "words": ""},
        {**made.kept(), "words": "AAAA"},
        {**made.kept(), "words": 1},
        *({**made.kept(), "exponents": [one] * 296} for one in (61, -61, 1e9, 10**400, "a", float("nan"))),
        3,
    ):
        with pytest.raises(InputError, match="damaged"):
            WholeVector.read("photos", shape, damaged)


def test_in_a_large_index_the_records_of_candidates_decide(index: EdgeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, limit = vectors(2, 8), 10
    whole = index.search(queries, limit)
    assert index.info().exact
    monkeypatch.setattr(contract, "FIRST_STAGE", 1000)
    monkeypatch.setattr(contract, "_CANDIDATES", (150, 1))
    found = index.search(queries, limit)
    scores = dict(zip(range(1, N + 1), index.scores(queries[:1], range(1, N + 1))[0].tolist(), strict=True))
    assert all(hit.score == pytest.approx(scores[hit.id], abs=1e-5) for hit in found[0])
    assert recall(whole, found) > 0.9 and found != index.search(queries, limit + 1)
    assert index.search(queries, limit, exact=True) == whole
    assert index.search(queries, N) == index.search(queries, N, exact=True)  # where all are wanted, all are looked at
    inside = index.search(queries, limit, where=Filter(path=("/3/",)))  # too few for candidates to pay
    for hits, every in zip(inside, index.search(queries, N), strict=True):
        assert hits == [hit for hit in every if hit.id % 4 == 0][:limit]
    index.settle(queries)
    info = index.info()
    assert (
        not info.exact
        and 0.5 < info.recall <= 1
        and info.recall == pytest.approx(recall(index.search(queries, 100, exact=True), index.search(queries, 100)))
    )


def test_outlines_say_which_small_vectors_are_worth_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FIRST_STAGE", 100), ("_CANDIDATES", (30, 1)), ("OUTLINED", 2000), ("_WORTH", 6)):
        monkeypatch.setattr(contract if hasattr(contract, name) else first_stage, name, value)
    monkeypatch.setattr(outline, "_COMPONENTS", 12)  # of 22 numbers
    records, queries, read = drawn(1, N + 10), vectors(2, 8), []
    pictures = [Picture(row + 1, f"/{row}.jpg", 1, 1, f"{row:064x}", 4, 3) for row in range(N + 10)]
    made = EdgeIndex.create(tmp_path, SHAPE, "float32")
    made.add(pictures[:N], records[:N])
    scores = FirstStage.scores
    monkeypatch.setattr(FirstStage, "scores", lambda *given: (read.append(given[2]), scores(*given))[1])
    before = made.search(queries, 10)
    assert read == [None]
    made.settle(vectors(3, 4))
    read.clear()
    found = made.search(queries, 10)
    assert all(len(one) < N / 10 for one in read) and len(read) == len(queries)
    assert recall(before, found) > 0.95
    made.remove([hits[0].id for hits in found])  # its outline stays, but nobody finds it
    assert {hits[0].id for hits in made.search(queries, 10)}.isdisjoint(hits[0].id for hits in found)
    made.close()
    made = EdgeIndex(tmp_path, SHAPE, "float32")  # places that were given up are written again
    best = Records(np.repeat(records.rows[:1] + 9 * queries[:1, :16], 10, axis=0), records.shared[:10])
    made.add(pictures[N:], best)
    read.clear()
    assert {hit.id for hit in made.search(queries[:1], 10)[0]} == set(range(N + 1, N + 11)) and len(read[0]) < N / 10
    made.close()
    for name, data in (("bin", b""), ("safetensors", b""), ("safetensors", b"\x08" + bytes(7) + b"{}      ")):
        (tmp_path / PICTURES / f"outlines.{name}").write_bytes(data)  # lost: the small vectors are all read again
        made = EdgeIndex(tmp_path, SHAPE, "float32")
        last = made.info().pictures + 1
        made.add([replace(pictures[0], id=N + 100 + last, path=f"/{last}.jpg")], records[:1])  # hides no loss
        read.clear()
        assert {hit.id for hit in made.search(queries[:1], 10)[0]} == set(range(N + 1, N + 11)) and read == [None]
        made.settle(vectors(3, 4))
        assert made.info().recall == recall(*(made.search(vectors(3, 4), 100, exact=one) for one in (1, 0)))
        read.clear()
        assert {hit.id for hit in made.search(queries[:1], 10)[0]} == set(range(N + 1, N + 11))
        assert read[0] is not None and len(read[0]) < N / 10
        made.close()


@pytest.mark.parametrize("outlined", [False, True])
def test_candidates_of_several_vectors_are_those_that_match_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outlined: bool
) -> None:
    for name, value in (("FIRST_STAGE", 100), ("_CANDIDATES", (60, 1)), ("OUTLINED", 2000 if outlined else 10**6)):
        monkeypatch.setattr(contract if hasattr(contract, name) else first_stage, name, value)
    monkeypatch.setattr(outline, "_COMPONENTS", 16)  # of 22 numbers
    records, queries = drawn(1, N), vectors(2, 3)
    made = EdgeIndex.create(tmp_path, SHAPE, "float32")
    made.add([Picture(row + 1, f"/{row % 4}/{row}.jpg", 1, 1, f"{row:064x}", 4, 3) for row in range(N)], records)
    made.settle(vectors(3, 4))
    asked: list[int] = []

    def least(scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Good for each, and the best of none: lists of the best for each vector would hold few of them."""
        asked.append(len(ids))
        return np.where(ids == 7, np.inf, scores.min(axis=0))

    every, exact = made.all_scores(queries)
    order = every[np.argsort(-least(exact, every), kind="stable")]
    asked.clear()
    ids, scores = made.likely_scores(queries, 20, least)
    assert len(ids) == 60 and 7 in ids and asked == ([N, asked[1]] if outlined else [N])
    assert not outlined or asked[1] < N / 4
    np.testing.assert_allclose(scores, exact[:, np.searchsorted(every, ids)], atol=1e-5)
    assert len(set(order[:20]) & set(ids.tolist())) >= 18
    where = Filter(path=("/3/",))
    inside, _ = made.likely_scores(queries, 20, least, where)
    assert all(one % 4 == 0 for one in inside.tolist()) and len(inside) == 60
    few, _ = made.likely_scores(queries, 1000, least, where)
    assert few.tolist() == [one for one in every.tolist() if one % 4 == 0], "where all are wanted, all are scored"
    made.close()


def test_about_as_many_of_the_best_as_are_wanted_are_chosen() -> None:
    scores = np.random.default_rng(0).integers(0, 10_000, 5000).astype(np.int32)
    for count in (100, 1000):
        chosen = nearly_best(scores, count)
        assert count / 2 < len(chosen) < 2 * count and scores[chosen].min() > np.delete(scores, chosen).max()
    assert len(nearly_best(np.zeros(5000, np.int32), 100)) == 100
    scores[::5] += 10_000  # five cameras in turn, of which one sees what is asked for
    chosen = nearly_best(scores, 1000)
    assert len(chosen) == 1000 and scores[chosen].min() >= np.delete(scores, chosen).max()


def test_outlines_of_large_numbers_are_finite() -> None:
    numbers, asked = np.full((2, 30, 5), 1e18, np.float32) * vectors(1, 60, 5).reshape(2, 30, 5)
    assert all(np.isfinite(one).all() for one in outline.Projection.fitted(numbers, asked))


def test_few_changes_are_not_measured_again(index: EdgeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "FIRST_STAGE", 1000)
    monkeypatch.setattr(contract, "_CANDIDATES", (150, 1))
    made = EdgeIndex.create(tmp_path, SHAPE)
    pictures = [Picture(row + 1, f"/{row}.jpg", 1, 1, f"{row:064x}", 4, 3) for row in range(1100)]
    made.add(pictures[:1000], drawn(1, 1100)[:1000])
    searches = []
    search = EdgeIndex.search
    monkeypatch.setattr(EdgeIndex, "search", lambda *given, **how: (searches.append(how), search(*given, **how))[1])
    for end, times in ((1000, 2), (1010, 0), (1019, 0), (1030, 2)):  # 2 % of 1,030 have changed since
        made.add(pictures[end - 10 : end], drawn(1, 1100)[end - 10 : end])
        searches.clear()
        made.settle(vectors(3, 4))
        assert len(searches) == times, end
    info = made.info()
    assert 0 < info.worst <= info.recall + 0.001 <= 1
    made.close()
    made = EdgeIndex(tmp_path, SHAPE)
    assert made.info() == info
    made.close()


def test_rows_come_to_what_is_nearest_for_label_vectors() -> None:
    records, asked = drawn(1, 40), vectors(2, 200, SHAPE.dimension)
    asked = asked.astype(np.float16).astype(np.float32)
    found, more = RowSummary(asked).of(records.rows)
    known = np.concatenate([asked, np.linalg.norm(asked, axis=1, keepdims=True)], axis=1)
    ridge = 0.1 * np.square(asked).sum() / SHAPE.dimension
    for rows, its, its_more in zip(records.rows, found, more, strict=True):
        products = rows @ asked.T
        wanted = np.linalg.lstsq(  # a ridge is as many more rows of the least squares
            np.concatenate([known, np.sqrt(ridge) * np.eye(known.shape[1])]),
            np.concatenate([products.max(axis=0) - products.mean(axis=0), np.zeros(known.shape[1])]),
        )[0]
        np.testing.assert_allclose(its, rows.mean(axis=0) + wanted[:-1], atol=1e-3)
        assert its_more == pytest.approx(max(wanted[-1], 0), abs=1e-3)


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 20), st.integers(0, 99))
def test_equal_rows_come_to_the_row(M: int, D: int, K: int, seed: int) -> None:
    row = np.random.default_rng(seed).standard_normal((1, 1, D)).astype(np.float32)
    found, more = RowSummary(vectors(seed, K, D)).of(np.repeat(row, M, axis=1))
    np.testing.assert_allclose(found, row[0], atol=1e-5)
    assert more[0] == pytest.approx(0, abs=1e-5)


def test_what_is_usually_asked_finds_more_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that differ are far from their mean; what is asked lies in few directions, as words do."""
    monkeypatch.setattr(contract, "FIRST_STAGE", 1000)
    monkeypatch.setattr(contract, "_CANDIDATES", (100, 1))
    random, records = np.random.default_rng(5), drawn(3, N)
    rows = records.rows * np.exp(random.standard_normal((N, SHAPE.vectors, 1)))
    records = Records(rows.astype(np.float32), records.shared * np.float32(0.1))
    few = random.standard_normal((4, SHAPE.dimension))
    asked = np.concatenate([random.standard_normal((416, 4)) @ few, np.zeros((416, SHAPE.shared))], axis=1)
    queries, asked = asked[:64].astype(np.float32), asked[64:].astype(np.float32)
    index = EdgeIndex.create(tmp_path, SHAPE)
    index.add([Picture(1 + one, f"/{one}.jpg", 1, 1, f"{one}", 1, 1) for one in range(N)], records)
    exact = index.search(queries, 100, exact=True)
    before = recall(exact, index.search(queries, 100))
    index.settle(asked)
    after = recall(exact, index.search(queries, 100))
    assert after > before + 0.02, (before, after)
    kept = (tmp_path / PICTURES / "candidates.bin").read_bytes()
    index.add([Picture(1, "/0.jpg", 1, 1, "0", 1, 1)], records[:1])
    index.close()
    index = EdgeIndex(tmp_path, SHAPE)
    again = (tmp_path / PICTURES / "candidates.bin").read_bytes()
    size = len(kept) // N
    assert again[N * size : (N + 1) * size] == kept[:size]  # a picture that is added later comes to the same
    (tmp_path / PICTURES / "usually_asked.safetensors").write_bytes(b"lost")
    index.close()
    index = EdgeIndex(tmp_path, SHAPE)
    index.settle(asked)  # all are written again, by the same
    assert (tmp_path / PICTURES / "candidates.bin").read_bytes()[: N * size] == kept
    assert not list(not_as_written(tmp_path))
    index.close()


def not_as_written(folder: Path) -> list[int]:
    """Ids of pictures whose bytes are not as they were written."""
    return [one for one, as_written in opened(folder / PICTURES, "half").check() if not as_written]


def test_a_kill_while_small_vectors_are_written_again_damages_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = EdgeIndex.create(tmp_path, SHAPE)
    index.add([Picture(1 + one, f"/{one}.jpg", 1, 1, f"{one}", 1, 1) for one in range(50)], drawn(1, 50))
    asked, note = vectors(2, 16 + 2 * SHAPE.dimension), KeptRecords._note_candidates

    def killed(kept: KeptRecords, places: np.ndarray, first: np.ndarray) -> None:
        if first.any():
            raise KeyboardInterrupt
        note(kept, places, first)

    with monkeypatch.context() as patched:
        patched.setattr(KeptRecords, "_note_candidates", killed)
        with pytest.raises(KeyboardInterrupt):
            index.settle(asked)
    assert not not_as_written(tmp_path) and not (tmp_path / PICTURES / "usually_asked.safetensors").exists()
    with monkeypatch.context() as patched, pytest.raises(OSError, match="full"):
        patched.setattr(RowSummary, "save", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
        index.settle(asked)
    index.settle(asked)  # the same process goes on with it, too
    assert (tmp_path / PICTURES / "usually_asked.safetensors").exists() and not not_as_written(tmp_path)
    index.close()


@pytest.mark.parametrize("content", [b"", np.zeros((3, 9)), np.zeros(16), np.full((3, 16), np.nan), np.zeros((0, 16))])
def test_words_that_do_not_fit_are_passed_over(tmp_path: Path, content: bytes | np.ndarray) -> None:
    file = tmp_path / "usually_asked.safetensors"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        save_file({"label_vectors": content}, file)
    assert RowSummary.opened(file, 16) is None


def test_few_words_and_single_rows_leave_the_mean(tmp_path: Path) -> None:
    for name, shape, count in (("few", SHAPE, 20), ("single", Shape(1, 16, 5), 60)):
        index = EdgeIndex.create(tmp_path / name, shape)
        index.settle(vectors(1, 16 + count))
        assert not (tmp_path / name / PICTURES / "usually_asked.safetensors").exists()
        index.close()
