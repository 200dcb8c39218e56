"""What is asked of a Qdrant cluster: how a collection is made, that answers are paged, and that sending goes on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from qdrant_client import models

from tagprism.errors import MachineError
from tagprism.search import qdrant_index
from tagprism.search.conditions import Filter
from tagprism.search.qdrant_index import QdrantIndex, connect
from tests.search.qdrant_server import Server, qdrant_server
from tests.search.test_contract import SHAPE, picture, some_records, whole

pytestmark = [
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
]


@pytest.fixture
def server() -> Iterator[Server]:
    with qdrant_server() as made:
        yield made


@pytest.fixture
def index(server: Server) -> Iterator[QdrantIndex]:
    client, name = connect(f"{server.address}/photos")
    made = QdrantIndex.create(client, name, {**SHAPE._asdict(), "storage": "half"})
    yield made
    made.close()


def test_a_collection_on_a_cluster_has_shards_and_copies(server: Server, index: QdrantIndex) -> None:
    ((_, _, asked),) = [one for one in server.asked if one[:2] == ("PUT", "")]
    assert (asked.shard_number, asked.replication_factor, asked.on_disk_payload) == (6, 2, True)
    rows, first = asked.vectors["rows"], asked.vectors["whole"]
    assert rows.datatype == models.Datatype.FLOAT16 and rows.on_disk and rows.quantization_config is None
    assert first.quantization_config.scalar.type == models.ScalarType.INT8
    assert first.quantization_config.scalar.always_ram and first.on_disk
    assert rows.hnsw_config.m == first.hnsw_config.m == 0  # both are scanned
    indexed = {one.field_name for method, path, one in server.asked if path == "/index"}
    assert indexed == {"folded", "moment", "camera_folded", "kind_folded", "stars", "north", "east"}


def test_the_newest_are_paged(server: Server, index: QdrantIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_index, "_PAGE", 4)
    times = ["2024-07-01", "2023", None, "2024-07-01", "2020-05-05T10:00:00"]
    pictures = [picture(one, taken=times[one % 5], path=f"/{'ab'[one % 2]}/{one}.jpg") for one in range(1, 31)]
    index.add(pictures, some_records(1, 30))
    expected = sorted(pictures, key=lambda one: one.id)
    expected.sort(key=lambda one: one.taken or "", reverse=True)
    assert list(index.newest()) == expected
    assert list(index.newest(Filter(path=("/a/",)))) == [one for one in expected if one.path.startswith("/a/")]
    before = len(server.asked)
    assert next(index.newest()) == expected[0]
    assert len(server.asked) - before <= 2  # nothing is fetched that is not wanted yet


def test_the_lowest_scores_come_from_the_server(server: Server, index: QdrantIndex) -> None:
    pictures = [picture(one, path=f"/{one % 3}/{one}.jpg") for one in range(1, 41)]
    index.add(pictures, some_records(1, 40))
    vector, ids = whole(2, 1, SHAPE.width), [one.id for one in pictures]
    scores = index.scores(vector, ids)[0]
    order = sorted(zip(scores.tolist(), ids, strict=True))
    assert [(hit.score, hit.id) for hit in index.lowest(vector, 5)[0]] == order[:5]
    only = [one for one in order if one[1] % 3 == 0]
    found = index.lowest(vector, 5, where=Filter(path=("/0/",)))[0]
    assert [(hit.score, hit.id) for hit in found] == only[:5]
    assert server.asked[-1][2].searches[0].limit <= 6


def test_pictures_are_sent_again_where_a_node_is_busy(
    server: Server, index: QdrantIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant_index, "_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(qdrant_index, "_UPLOAD", 10)
    server.busy = 2
    records = some_records(1, 25)
    index.add([picture(one) for one in range(1, 26)], records)
    sent = [len(one.points) for method, path, one in server.asked if (method, path) == ("PUT", "/points")]
    assert sent == [10, 10, 5] and index.info().pictures == 25
    assert np.array_equal(index.records([25]).rows, records[24:].rows)
    server.busy = 3
    with pytest.raises(MachineError, match="503"):
        index.add([picture(99)], some_records(2, 1))


def test_a_collection_is_made_anew_in_place_of_the_old_one(server: Server, index: QdrantIndex) -> None:
    index.add([picture(1)], some_records(1, 1))
    client, name = connect(f"{server.address}/photos")
    made = QdrantIndex.create(client, name, {**SHAPE._asdict(), "storage": "float32", "folders": ["/a"]}, anew=True)
    assert made.info().pictures == 0 and made.settings["folders"] == ["/a"] and made.info().storage == "float32"
    assert [one.name for one in server.client.get_collections().collections] == ["photos"]
    made.close()
