"""One test of the contract for every form of an index, against a slow obvious version."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient

from tagprism.bundle.record import Records, Shape
from tagprism.errors import InputError
from tagprism.search.conditions import Filter, meets
from tagprism.search.contract import Hit, Index, Picture
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.qdrant_collection import API_KEY, connect
from tagprism.search.qdrant_index import QdrantIndex
from tests.search.numpy_index import NumpyIndex
from tests.search.qdrant_server import qdrant_server

pytestmark = [
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
]
SHAPE = Shape(3, 4, 2)
Q = SHAPE.width
SERVER = "TAGPRISM_TEST_QDRANT"  # qdrant+http://HOST:6333, where a real server is to be tested too


class Form(NamedTuple):
    """An index that starts empty, and how to open it again."""

    index: Index
    reopen: Callable[[], Index]


def _numpy(folder: Path) -> Form:
    return Form(NumpyIndex(folder, SHAPE), lambda: NumpyIndex(folder))


def _edge(storage: str) -> Callable[[Path], Form]:
    return lambda folder: Form(EdgeIndex.create(folder, SHAPE, storage), lambda: EdgeIndex(folder, SHAPE, storage))


def _local(folder: Path) -> Form:
    client = QdrantClient(":memory:")
    asked = whole(1, 40, Q)  # candidates are found by them, where the other server's forms go by the mean of rows
    index = QdrantIndex.create(client, "photos", {**SHAPE._asdict(), "storage": "float32"}, asked)
    index.close = lambda: None  # type: ignore[method-assign]  # what is in memory goes with the client
    return Form(index, lambda: QdrantIndex(client, "photos"))


def _server(folder: Path) -> Form:
    address = os.environ.get(SERVER)
    if not address:
        pytest.skip(f"no Qdrant server is named by {SERVER} (its key, if any, by {API_KEY})")
    client, name = connect(f"{address.rstrip('/')}/tagprism-test-{uuid4().hex}")
    settings = {**SHAPE._asdict(), "storage": "float32"}
    return Form(QdrantIndex.create(client, name, settings), lambda: QdrantIndex(*connect(f"{address}/{name}")))


@cache
def _http_address() -> str:
    held = ExitStack()
    atexit.register(held.close)
    return held.enter_context(qdrant_server()).address


def _http(folder: Path) -> Form:
    address = f"{_http_address()}/tagprism-test-{uuid4().hex}"
    index = QdrantIndex.create(*connect(address), {**SHAPE._asdict(), "storage": "float32"})
    return Form(index, lambda: QdrantIndex(*connect(address)))


FORMS = {"numpy": _numpy, "qdrant-local": _local, "qdrant-http": _http, "qdrant-server": _server}
FORMS |= {f"edge-{storage}": _edge(storage) for storage in ("float32", "half")}


@pytest.fixture(params=FORMS, scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def one_for_all(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    index, _ = FORMS[kind](tmp_path_factory.mktemp("index"))
    yield index
    index.close()


@pytest.fixture
def index(one_for_all: Index) -> Index:
    """An index without pictures."""
    one_for_all.remove([one.id for one in one_for_all.pictures()])
    return one_for_all


def picture(number: int, **changes: object) -> Picture:
    size, time = 10 + number % 7, 5_000_000_000_000_000_001
    plain = Picture(number, f"/photos/{number}.jpg", size, time, f"{number:064x}", 40, 30)
    return replace(plain, **changes)  # type: ignore[arg-type]


def slowly(kept: dict[int, Records], query: np.ndarray, limit: int) -> list[Hit]:
    """Search as plainly as can be. Whole numbers keep every form's arithmetic exact, 16 bits as well."""
    w, v = query[: SHAPE.dimension], query[SHAPE.dimension :]
    hits = [
        Hit(one, max(float(np.dot(row, w)) for row in record.rows[0]) + float(np.dot(record.shared[0], v)))
        for one, record in kept.items()
    ]
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:limit]


def whole(seed: int, *shape: int) -> np.ndarray:
    """Few different small whole numbers: many ties."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


def some_records(seed: int, count: int) -> Records:
    return Records(whole(seed, count, *SHAPE[:2]), whole(seed + 1, count, SHAPE.shared))


def same(one: Records, other: Records) -> bool:
    return np.array_equal(one.rows, other.rows) and np.array_equal(one.shared, other.shared)


NONE = some_records(0, 0)


class TestChanges:
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["add", "remove", "settle"]),
                st.sets(st.integers(1, 12) | st.sampled_from([2**40, 2**63 - 1]), max_size=6),
                st.integers(0, 2**32),
            ),
            max_size=6,
        ),
        st.integers(1, 20),
    )
    def test_any_changes_leave_what_the_slow_version_has(self, index: Index, changes: list, limit: int) -> None:
        index.remove([one.id for one in index.pictures()])
        kept: dict[int, Records] = {}
        told: dict[int, Picture] = {}
        for what, numbers, seed in changes:
            ids = sorted(numbers, reverse=bool(seed % 2))
            if what == "add":
                records = some_records(seed, len(ids))
                pictures = [picture(one, size=seed) for one in ids]
                index.add(pictures, records)
                kept |= dict(zip(ids, records, strict=True))
                told |= dict(zip(ids, pictures, strict=True))
            elif what == "remove":
                index.remove(ids)
                for one in ids:
                    kept.pop(one, None), told.pop(one, None)
            else:
                index.settle(whole(seed, 2, Q))
        vectors = whole(limit, 3, Q)
        assert index.search(vectors, limit) == [slowly(kept, vector, limit) for vector in vectors]
        assert list(index.pictures()) == [told[one] for one in sorted(told)]
        assert [one.id for one in index.pictures(after=limit)] == sorted(one for one in told if one > limit)
        assert index.info().pictures == len(kept)
        ids = list(kept)
        assert same(index.records(ids), Records.joined([NONE, *kept.values()]))
        expected = [[slowly({one: kept[one]}, vector, 1)[0].score for one in ids] for vector in vectors]
        assert np.array_equal(index.scores(vectors, ids), np.array(expected, np.float32).reshape(3, len(ids)))

    def test_what_was_added_is_there_after_opening_again(self, kind: str, tmp_path: Path) -> None:
        form = FORMS[kind](tmp_path)
        records = some_records(1, 3)
        pictures = [picture(one) for one in (7, 3, 12)]
        form.index.add(pictures, records)
        form.index.remove([3])
        form.index.close()
        again = form.reopen()
        assert again.get([12, 3, 7]) == [pictures[2], None, pictures[0]]
        assert same(again.records([7, 12]), records[np.array([0, 2])])
        again.close()

    def test_an_id_added_again_is_replaced(self, index: Index) -> None:
        old, new = some_records(1, 1), some_records(2, 1)
        index.add([picture(1)], old)
        index.add([picture(1, path="/elsewhere.jpg")], new)
        assert index.get([1]) == [picture(1, path="/elsewhere.jpg")]
        assert same(index.records([1]), new) and index.info().pictures == 1


class TestPictures:
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name), st.text(max_size=10))
    def test_any_bytes_of_a_file_name_survive(self, index: Index, name: bytes, text: str) -> None:
        label = text.encode("utf-8", "ignore").decode()
        odd = picture(1, path="/" + os.fsdecode(name), tags=((label, 0.25), ("b", None)), taken="2024-07-31T18:05:09")
        index.add([odd], some_records(1, 1))
        assert index.get([1]) == [odd]
        everything = Filter(path=(odd.path, odd.path.upper()))
        assert [hit.id for hit in index.search(whole(1, 1, Q), 5, where=everything)[0]] == [1]

    def test_large_numbers_survive(self, index: Index) -> None:
        large = picture(2**63 - 1, size=2**40, modified=2**62 + 1, width=10**6)
        index.add([large], some_records(1, 1))
        assert index.get([large.id]) == [large]


PLACES = ("/photos/Holiday/a.jpg", "/photos/holiday 2/B.JPG", "/photos/Größe/c.jpg", "/photos/GRÖSSE/\udcff.jpg", "/d")
TIMES = ("2023-12-31T23:59:59", "2024-01-01T00:00:00", "2024-07-31T18:05:09", "2024-08-01T00:00:00", None)


class TestFilters:
    @pytest.fixture
    def filled(self, index: Index) -> Index:
        every = [(place, time) for place in PLACES for time in TIMES]
        pictures = [picture(1 + row, path=place, taken=time) for row, (place, time) in enumerate(every)]
        index.add(pictures, some_records(3, len(pictures)))
        return index

    def found(self, index: Index, where: Filter) -> set[tuple[str, str | None]]:
        hits = index.search(whole(1, 1, Q), 100, where=where)[0]
        assert len({hit.id for hit in hits}) == len(hits)
        return {(one.path, one.taken) for one in index.get([hit.id for hit in hits]) if one}

    @pytest.mark.parametrize(
        ("where", "places", "times"),
        [
            (Filter(), PLACES, TIMES),
            (Filter(taken=(("2024", "2024"),)), PLACES, TIMES[1:4]),
            (Filter(taken=(("2024-07", "2024-07"),)), PLACES, TIMES[2:3]),
            (Filter(taken=(("2023", "2024-07-31T18:05:09"),)), PLACES, TIMES[:3]),
            (Filter(taken=(("2024-07-31T18:05:10", "2025"),)), PLACES, TIMES[3:4]),
            (Filter(taken=(("2023", "2024"), ("2024-01-01", "2030"))), PLACES, TIMES[1:4]),
            (Filter(not_taken=(("2024", "2024"),)), PLACES, (TIMES[0], None)),
            (Filter(not_taken=(("2024-01", "2024-07"), ("2023", "2023"))), PLACES, TIMES[3:]),
            (Filter(path=("HOLIDAY",)), PLACES[:2], TIMES),
            (Filter(path=("holiday", ".jpg", "2")), PLACES[1:2], TIMES),
            (Filter(path=("größe",)), PLACES[2:4], TIMES),
            (Filter(path=("grösse/\udcff",)), PLACES[3:4], TIMES),
            (Filter(path=("Gro\u0308ße",)), PLACES[2:4], TIMES),
            (Filter(not_path=("photos",)), PLACES[4:], TIMES),
            (Filter(path=("photos",), not_path=("HOLIDAY", "größe/c")), PLACES[3:4], TIMES),
            (Filter(path=("nowhere",)), (), TIMES),
            (Filter(path=("/d",), taken=(("2024", "2024-07"),), not_taken=(("2024-07", ""),)), PLACES[4:], TIMES[1:2]),
        ],
    )
    def test_filter(self, filled: Index, where: Filter, places: tuple, times: tuple) -> None:
        expected = {(place, time) for place in places for time in times}
        assert self.found(filled, where) == expected

    @pytest.mark.parametrize(
        ("field", "expected"),
        [
            (("camera", "nikon"), {1, 2}),
            (("camera", "D90"), {1}),
            (("rating", "3.."), {1, 3}),
            (("rating", "0..3"), {2, 3}),
            (("rating", "-1"), {4}),
            (("rating", "..0"), {2, 4}),
            (("type", "JPG"), {1}),
            (("type", "dng"), {3}),
            (("type", "jpeg2000"), {2}),
            (("gps", "47,8..48,9"), {1}),
            (("gps", "-90,-180..90,180"), {1, 2, 3}),
            (("gps", "-20,170..-10,-170"), {2, 3}),  # across the line where days begin
            (("gps", "-20,175..-10,-179"), {2}),
        ],
    )
    def test_filter_by_what_the_file_says(self, index: Index, field: tuple[str, str], expected: set[int]) -> None:
        known = [
            {"camera": "NIKON D90", "rating": 5, "kind": "jpeg", "location": (47.4, 8.5)},
            {"camera": "Nikon Z 6", "rating": 0, "kind": "jpeg2000", "location": (-17.0, 179.5)},
            {"camera": "Apple iPhone 12", "rating": 3, "kind": "raw", "location": (-17.0, -175.0)},
            {"rating": -1, "kind": "png"},
            {},
        ]
        pictures = [picture(1 + row, path=f"/{row}", **values) for row, values in enumerate(known)]
        index.add(pictures, some_records(3, len(pictures)))
        assert index.get([1, 5]) == [pictures[0], pictures[4]]
        for where, ids in (
            (Filter(fields=(field,)), expected),
            (Filter(not_fields=(field,)), {1, 2, 3, 4, 5} - expected),
        ):
            assert {hit.id for hit in index.search(whole(1, 1, Q), 9, where=where)[0]} == ids
        both = Filter(fields=(field,), not_fields=(("camera", "d90"),))
        assert {hit.id for hit in index.search(whole(1, 1, Q), 9, where=both)[0]} == expected - {1}

    def test_the_best_that_meet_it_come_first(self, filled: Index) -> None:
        query, where = whole(5, 1, Q), Filter(path=("holiday",))
        inside = [one.id for one in filled.pictures() if "holiday" in one.path.lower()]
        kept = dict(zip(inside, filled.records(inside), strict=True))
        assert filled.search(query, 4, where=where) == [slowly(kept, query[0], 4)]

    @pytest.mark.parametrize("time", ["summer", "2024-7-", "24/07", "2024-07-31 18:05", "2024-07-31T18:05:09Z"])
    def test_what_is_no_time_is_an_error(self, index: Index, time: str) -> None:
        with pytest.raises(InputError, match="is no time"):
            index.search(whole(1, 1, Q), 1, where=Filter(taken=((time, time),)))


class TestWhole:
    """What an index in this process gives at once."""

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.none()
            | st.sampled_from(["2023", "2024", "2024-01", "2024-01-01T00:00:00", "2024-07-31", "2024-07-31T18:05:09"]),
            max_size=20,
        ),
        st.integers(1, 25),
        st.booleans(),
    )
    def test_the_newest_and_all_scores(self, index: Index, times: list[str | None], limit: int, sifted: bool) -> None:
        whole_index = index.whole()
        if whole_index is None:
            pytest.skip("another process, or a plain form")
        index.remove([one.id for one in index.pictures()])
        pictures = [picture(20 - row, taken=one, path=f"/{row % 2}/{row}") for row, one in enumerate(times)]
        index.add(pictures, some_records(7, len(pictures)))
        where = Filter(path=("/1/",)) if sifted else None
        met = sorted((one for one in pictures if where is None or meets(one, where)), key=lambda one: one.id)
        newest = sorted(met, key=lambda one: one.taken or "", reverse=True)
        assert whole_index.newest(where, limit) == newest[:limit]
        ids, scores = whole_index.all_scores(whole(3, 2, Q), where)
        assert sorted(ids.tolist()) == [one.id for one in met]
        np.testing.assert_array_equal(scores, index.scores(whole(3, 2, Q), ids.tolist()))


class TestEdges:
    def test_an_empty_index_finds_nothing(self, index: Index) -> None:
        assert index.search(whole(1, 2, Q), 5) == [[], []]
        assert index.get([1]) == [None] and list(index.pictures()) == [] and index.info().pictures == 0
        index.settle(whole(1, 2, Q))
        index.remove([4])
        index.add([], NONE)
        assert same(index.records([]), NONE)

    def test_no_queries_and_no_limit(self, index: Index) -> None:
        index.add([picture(1)], some_records(1, 1))
        assert index.search(np.empty((0, Q), np.float32), 5) == []
        assert index.search(whole(1, 2, Q), 0) == [[], []]

    def test_of_many_equal_hits_the_lowest_ids_come(self, index: Index) -> None:
        ids = [int(one) for one in np.random.default_rng(0).permutation(np.arange(1, 200, 2))]
        index.add(
            [picture(one) for one in ids],
            Records(*(np.ones((100, *shape), np.float32) for shape in (SHAPE[:2], SHAPE[2:]))),
        )
        index.add([picture(2)], Records(*(np.full((1, *shape), 2, np.float32) for shape in (SHAPE[:2], SHAPE[2:]))))
        hits = index.search(np.ones((1, Q), np.float32), 7)[0]
        assert [hit.id for hit in hits] == [2, 1, 3, 5, 7, 9, 11]

    def test_records_of_an_unknown_id(self, index: Index) -> None:
        index.add([picture(1)], some_records(1, 1))
        with pytest.raises(KeyError):
            index.records([1, 2])
        with pytest.raises(KeyError):
            index.scores(whole(1, 1, Q), [1, 2])

    @pytest.mark.parametrize(("count", "shape"), [(1, (3, 5, 2)), (1, (4, 4, 2)), (1, (3, 4, 1)), (2, SHAPE)])
    def test_wrong_shapes_are_refused_and_nothing_is_added(self, index: Index, count: int, shape: Shape) -> None:
        M, D, S = shape
        with pytest.raises(InputError, match="the index holds 3 x 4 and 2 numbers"):
            index.add([picture(1)], Records(np.zeros((count, M, D), np.float32), np.zeros((count, S), np.float32)))
        assert index.info().pictures == 0

    def test_wrong_values_are_refused(self, index: Index) -> None:
        good = some_records(1, 1)
        for bad in (Records(good.rows * np.nan, good.shared), Records(good.rows, good.shared + np.inf)):
            with pytest.raises(InputError, match="not finite"):
                index.add([picture(1)], bad)
        with pytest.raises(InputError, match="finite rows of 6"):
            index.search(np.zeros((1, Q - 1), np.float32), 1)
        with pytest.raises(InputError, match="finite rows of 6"):
            index.search(np.full((1, Q), np.inf, np.float32), 1)
        for ids in ([0], [-1], [2**63], [4, 4]):
            with pytest.raises(InputError, match="whole numbers from 1"):
                index.add([picture(one) for one in ids], some_records(1, len(ids)))

    def test_info_says_its_form(self, index: Index) -> None:
        info = index.info()
        assert (info.vectors, info.dimension, info.shared) == SHAPE and info.exact == (info.storage == "float32")
        assert info.recall == info.worst == 1  # all records are looked at

    def test_large_and_small_numbers_keep_their_share(self, index: Index) -> None:
        """Both parts of a record have a scale of their own, so neither drowns the other."""
        large, small = np.full((1, *SHAPE[:2]), 2.0**40, np.float32), np.full((1, SHAPE.shared), 2.0**-40, np.float32)
        index.add([picture(1)], Records(large, small))
        assert same(index.records([1]), Records(large, small))
        vector = np.zeros((1, Q), np.float32)
        vector[0, -1] = 1
        assert index.search(vector, 1)[0][0].score == small[0, 0]
