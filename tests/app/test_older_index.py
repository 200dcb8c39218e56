"""An index as tagprism 0.1.0 made it: refused with the command that renews it, and renewed without a picture read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as edge
from qdrant_client import QdrantClient

from tagprism.bundle.record import Records
from tagprism.errors import IndexMismatchError
from tagprism.search import edge_index, qdrant_index
from tagprism.search.collection import open_index
from tagprism.search.conditions import folded, moment
from tagprism.search.create import open_for_update, update_lock
from tagprism.search.edge_reader import PICTURES
from tagprism.search.stored import MARKS, SETTINGS, as_json
from tests.app.conftest import Cli
from tests.small_world import World, draw


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (colour, shape) in enumerate((("red", "cross"), ("blue", "circle"), ("green", "square"))):
        draw(folder / f"{number}.png", colour, shape, seed=number)
    return folder


@pytest.fixture
def older(photos: Path, world: World, tmp_path: Path, cli: Cli) -> Iterator[tuple[Path, Records, list[str]]]:
    """Its folder, the records that are in it, and what `search` printed before it was made older."""
    where = tmp_path / "photos.index"
    assert cli("index", photos, "--into", where, "-m", world.run, "--storage", "float32", "--quiet").code == 0
    with open_index(where) as collection:
        pictures = list(collection.index.pictures())
        records = collection.index.records([one.id for one in pictures])
    before = cli("search", where, "red AND cross", "--format", "jsonl").out.splitlines()
    shutil.rmtree(where / PICTURES)
    matrix = edge.EdgeVectorParams(
        size=records.shape.width,
        distance=edge.Distance.Dot,
        multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
        datatype=edge.VectorStorageDatatype.Float32,
    )
    graph = edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=1 << 40)
    (where / "shard").mkdir()
    shard = edge.EdgeShard.create(str(where / "shard"), edge.EdgeConfig(vectors={"matrix": matrix}, hnsw_config=graph))
    copies = np.concatenate([records.rows, np.repeat(records.shared[:, None], records.shape.vectors, axis=1)], axis=2)
    points = [
        edge.Point(
            id=one.id,
            vector={"matrix": own.tolist()},
            payload={**as_json(one), "folded": folded(one.path), "moment": moment(one.taken)},
        )
        for one, own in zip(pictures, copies, strict=True)
    ]
    shard.update(edge.UpdateOperation.upsert_points(points))
    shard.close()
    settings = json.loads((where / SETTINGS).read_text())
    del settings["dimension"], settings["shared"]
    settings |= {"format": 1, "columns": records.shape.width}
    (where / SETTINGS).write_text(json.dumps(settings))
    (where / MARKS).write_bytes(b"")
    yield where, records, before


def test_it_is_refused_with_the_command_that_renews_it(cli: Cli, older: tuple[Path, Records, list[str]]) -> None:
    where, *_ = older
    command = f"tagprism index --into {where}"
    cli("search", where, "red").refused("older version", command, "marks", code=5)
    assert (where / "shard").is_dir() and not (where / PICTURES).exists()


def test_it_is_renewed_without_a_picture_read(
    cli: Cli, older: tuple[Path, Records, list[str]], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, records, before = older
    photos.rename(photos.with_name("away"))  # nothing can be read
    gone = cli("index", "--into", where, "--quiet")
    assert gone.code == 0 and "is not there" in gone.err and "--prune" in gone.err  # as ever; but it has been renewed
    with open_index(where) as collection:
        ids = [one.id for one in collection.index.pictures()]
        kept = collection.index.records(ids)
        assert np.array_equal(kept.rows, records.rows) and np.array_equal(kept.shared, records.shared)
        assert collection.folders == (str(photos),) and collection.index.info().storage == "float32"
    assert not (where / "shard").exists() and (where / MARKS).exists()
    assert cli("search", where, "red AND cross", "--format", "jsonl").out.splitlines() == before
    photos.with_name("away").rename(photos)
    done = cli("index", "--into", where)
    assert done.code == 0 and "3 unchanged; 3 pictures" in done.err


def test_a_renewal_that_is_interrupted_begins_anew(
    older: tuple[Path, Records, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, records, _ = older

    class Stop(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as broken:
        broken.setattr(edge_index.EdgeIndex, "add", stop)
        with pytest.raises(Stop), open_for_update(str(where)):
            pass
    with pytest.raises(IndexMismatchError, match="older version"):
        open_index(where)
    with open_for_update(str(where)) as collection:
        assert np.array_equal(collection.index.records([1, 2, 3]).rows, records.rows)


@pytest.mark.slow
def test_it_can_be_made_anew_with_another_model(cli: Cli, older: tuple[Path, Records, list[str]], world: World) -> None:
    where, *_ = older
    cli("index", "--into", where, "-m", "photos-lite", "--quiet").refused("another model", code=5)
    done = cli("index", "--into", where, "-m", "photos-lite", "--rebuild")
    assert done.code == 0 and "3 added; 3 pictures" in done.err
    assert not (where / "shard").exists() and (where / MARKS).exists()


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning")
@pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")
def test_an_older_collection_of_a_server_is_made_anew(
    cli: Cli, world: World, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, where = QdrantClient(":memory:"), "qdrant+http://127.0.0.1:6333/photos"
    monkeypatch.setattr(client, "close", lambda: None)
    monkeypatch.setattr(qdrant_index, "connect", lambda where: (client, "photos"))
    assert cli("index", photos, "--into", where, "-m", world.run, "--quiet").code == 0
    settings = qdrant_index.kept_settings(client, "photos")
    older = {name: value for name, value in settings.items() if name not in ("dimension", "shared")}
    older |= {"format": 1, "columns": 13, "storage": "int8"}
    client.update_collection("photos", metadata={"tagprism": older})
    for command in (("search", where, "red"), ("index", photos, "--into", where)):
        cli(*command).refused("older version", f"tagprism index --into {where} --rebuild", code=5)
    with update_lock(where):
        pass
    done = cli("index", "--into", where, "--rebuild")
    assert done.code == 0 and "3 added; 3 pictures" in done.err
    assert qdrant_index.kept_settings(client, "photos")["storage"] == "half"
