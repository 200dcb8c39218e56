"""Shards without a cluster: rows as an index of one machine has them, and what must not be taken for whole."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import pyarrow as pa
import pytest

from tagprism import load
from tagprism.bulk import load as loading
from tagprism.bulk.listing import Listing, parts_of
from tagprism.bulk.load import load_shards
from tagprism.bulk.look import Looking
from tagprism.bulk.shards import Manifest, Shards, read_manifest
from tagprism.errors import IndexMismatchError, InputError, NothingToDoError
from tagprism.images.elsewhere import Item
from tagprism.search.collection import open_index
from tests.app.conftest import Cli

PHOTOS = Path(__file__).parents[1] / "photos"


@cache
def manifest() -> Manifest:
    bundle = load().bundle
    return Manifest(model="photos-lite", digest=bundle.digest, **bundle.shape._asdict(), max_pixels=10**8)


def looked_at(folder: Path) -> list[pa.Table]:
    """A table for each picture of a folder."""
    look = Looking(manifest()).open()
    return [pa.ipc.open_stream(look([item])).read_all() for item in Listing([str(folder)]).items()]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos beside the tests, one with a sidecar and one with a name that is no text, and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    for photo in PHOTOS.glob("*.jpg"):
        shutil.copy(photo, folder)
    (folder / "rocket.jpg").rename(folder / os.fsdecode(b"rocket\xff.jpg"))
    xmp = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    xmp += 'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" xmp:CreateDate="2024-07-31T18:05:09"/></rdf:RDF>'
    (folder / "coffee.jpg.xmp").write_text(xmp)
    (folder / "bad.jpg").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def tables(photos: Path) -> list[pa.Table]:
    return looked_at(photos)


@pytest.fixture
def out(tables: list[pa.Table], tmp_path: Path) -> Path:
    """Complete shards of two rows each."""
    with Shards(tmp_path / "out", manifest()) as shards:
        for place, table in enumerate(tables):
            shards.add(table)
            if place % 2:
                shards.save()
        shards.finish()
    return tmp_path / "out"


@pytest.mark.slow
def test_an_index_from_shards_is_that_of_one_machine(cli: Cli, photos: Path, out: Path, tmp_path: Path) -> None:
    loaded = cli("index", "--from-shards", out, "--into", tmp_path / "loaded")
    assert loaded.code == 4 and "5 added, 1 skipped; 5 pictures in" in loaded.err
    assert "bad.jpg: The file is not a picture" in loaded.err
    assert cli("index", photos, "--into", tmp_path / "made").code == 4
    with open_index(tmp_path / "loaded") as one, open_index(tmp_path / "made") as other:
        ours, theirs = ({picture.path: picture for picture in index.index.pictures()} for index in (one, other))
        assert ours.keys() == theirs.keys() and any("\udcff" in path for path in ours)
        for path, picture in ours.items():
            assert replace(picture, id=0, tags=()) == replace(theirs[path], id=0, tags=())
            assert [tag for tag, _ in picture.tags] == [tag for tag, _ in theirs[path].tags]
        assert next(one for path, one in ours.items() if path.endswith("coffee.jpg")).rating == 4
    again = cli("index", photos, "--into", tmp_path / "loaded")
    assert again.code == 4 and "5 unchanged, 1 skipped" in again.err  # no picture is looked at again


def test_a_load_that_was_interrupted_goes_on(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_BATCH", 2)

    @contextmanager
    def stopped(what: str, total: int) -> Iterator[object]:
        def advance(count: int) -> None:
            raise KeyboardInterrupt

        yield advance

    with pytest.raises(KeyboardInterrupt):
        load_shards(out, str(tmp_path / "i"), progress=stopped)  # type: ignore[arg-type]
    with open_index(tmp_path / "i") as index:
        first = index.index.info().pictures
    done = load_shards(out, str(tmp_path / "i"))
    assert 0 < first < 5 and (done.unchanged, done.added, done.pictures, done.skipped) == (first, 5 - first, 5, 1)
    done = load_shards(out, str(tmp_path / "i"))
    assert (done.unchanged, done.added, done.changed, done.pictures) == (5, 0, 0, 5)


def test_a_picture_that_changed_takes_its_old_place(
    photos: Path, tables: list[pa.Table], out: Path, tmp_path: Path
) -> None:
    load_shards(out, str(tmp_path / "i"))
    changed = tmp_path / "changed"
    with Shards(changed, manifest()) as shards:
        (row,) = (table for table in tables if table["path"][0].as_py().endswith("chelsea.jpg"))
        at = row.schema.get_field_index("digest")
        shards.add(row.set_column(at, row.schema.field(at), pa.array(["0" * 64])))
        shards.finish()
    done = load_shards(changed, str(tmp_path / "i"))
    assert (done.changed, done.added, done.pictures) == (1, 0, 5)


def test_only_what_has_no_row_is_looked_at(photos: Path, tables: list[pa.Table], tmp_path: Path) -> None:
    with Shards(tmp_path / "out", manifest()) as shards:
        shards.add(tables[0])
        shards.add(tables[-1])
    assert not read_manifest(tmp_path / "out").complete
    with Shards(tmp_path / "out", manifest()) as shards:
        there = [item.name in shards for item in Listing([str(photos)]).items()]
    assert there == [True, False, False, False, False, True] and shards.rows == 2


def test_a_second_job_is_refused(cli: Cli, out: Path, tmp_path: Path) -> None:
    with Shards(out, manifest()), pytest.raises(InputError, match="being written by another"):
        Shards(out, manifest())
    with Shards(out, manifest()):  # before anything is looked for, or a cluster asked
        done = cli("index", tmp_path / "nothing.jpg", "--ray", "auto", "--shards", out)
        done.refused(f"{out}: is being written by another tagprism")
    other = manifest().model_copy(update={"max_pixels": 5, "digest": "0" * 64})
    with pytest.raises(InputError, match=r"another digest, max_pixels"):
        Shards(out, other)
    Shards(out, manifest()).__exit__()


def test_what_is_not_whole_is_refused(out: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted(out.glob("part-*.parquet"))
    second.write_bytes(second.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"part-000001.parquet: is damaged or cut short"):
        load_shards(out, str(tmp_path / "i"))
    with pytest.raises(InputError, match=r"part-000001.parquet: is damaged or cut short.*Remove it"):
        Shards(out, manifest())
    second.unlink()
    with pytest.raises(InputError, match="has 4 of 6 rows"):
        load_shards(out, str(tmp_path / "i"))
    assert not (tmp_path / "i").exists()
    with Shards(out, manifest()) as shards:
        assert shards.rows == 4
    with pytest.raises(InputError, match="is not complete"):
        load_shards(out, str(tmp_path / "i"))
    shutil.copy(first, out / "part-000009.parquet")
    (out / "manifest.json").write_text((out / "manifest.json").read_text().replace('"shared": 402', '"shared": 7'))
    with pytest.raises(InputError, match="is not a shard of this folder's model"):
        load_shards(out, str(tmp_path / "i"))


def test_what_is_no_folder_of_shards(cli: Cli, out: Path, tmp_path: Path) -> None:
    cli("index", "--from-shards", tmp_path, "--into", tmp_path / "i").refused("holds no shards")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(InputError, match="not empty, and not of shards"):
        Shards(tmp_path / "mine", manifest())
    with pytest.raises(InputError, match="is no folder"):
        Shards(Path("s3://bucket/out"), manifest())
    (out / "manifest.json").write_text((out / "manifest.json").read_text().replace('"format": 1', '"format": 2'))
    cli("index", "--from-shards", out, "--into", tmp_path / "i").refused("manifest.json", "Update tagprism")


def test_an_index_of_another_model_is_refused(out: Path, tmp_path: Path) -> None:
    load_shards(out, str(tmp_path / "i"))
    text = (out / "manifest.json").read_text().replace(manifest().digest, "0" * 64)
    (out / "manifest.json").write_text(text)
    for shard in out.glob("part-*.parquet"):
        table = pa.parquet.read_table(shard)
        pa.parquet.write_table(table.replace_schema_metadata(read_manifest(out).schema.metadata), shard)
    with pytest.raises(IndexMismatchError, match="another model than these shards"):
        load_shards(out, str(tmp_path / "i"))
    with pytest.raises(InputError, match="is not the model that made these shards"):
        load_shards(out, str(tmp_path / "new"))
    assert not list((tmp_path / "new").glob("index.json"))


def test_parts_are_cut_where_one_machine_cuts_its_batches() -> None:
    items = [Item(str(number), str(number)) for number in range(130)]
    items += [Item(f"x#{row}", "x", "parquet", row) for row in range(1500)] + [Item("y#0", "y", "parquet", 0)]
    assert [len(part) for part in parts_of(items)] == [64, 64, 2, 1024, 476, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ray", "auto"], "go together"),
        (["--shards", "out"], "go together"),
        (["--ray", "auto", "--shards", "out", "--into", "i"], "--ray stands alone; leave --into away"),
        (["--ray", "auto", "--shards", "out", "--watch"], "--ray stands alone; leave --watch away"),
        (["--from-shards", "out", "--into", "i"], "--from-shards stands alone; leave PATHS away"),
        ([], "--into is missing"),
    ],
)
def test_options_that_do_not_go_together(cli: Cli, photos: Path, options: list[str], words: str) -> None:
    done = cli("index", photos, *options)
    assert done.code == 2 and words in done.err.replace("\n", " ")


@pytest.mark.slow
def test_a_cluster_that_is_none(cli: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    for address in ("ray://host:10001", "host", "host:port"):
        cli("index", photos, "--ray", address, "--shards", tmp_path / "o").refused("no address of a Ray cluster")
    cli("tag", photos, "--ray", "127.0.0.1:1", "--format", "jsonl").refused("does not answer", code=6)
    monkeypatch.setitem(sys.modules, "ray", None)
    cli("index", photos, "--ray", "auto", "--shards", tmp_path / "o").refused('pip install "tagprism[ray]"')


def test_nothing_to_look_at(cli: Cli, tmp_path: Path) -> None:
    with pytest.raises(NothingToDoError):
        Listing([str(tmp_path)])
    for absent in (str(tmp_path / "none"), f"file://{tmp_path}/none", str(tmp_path / "*.jpg")):
        with pytest.raises(InputError, match="is not there"):
            Listing([absent])
    cli("index", tmp_path / "none", "--ray", "auto", "--shards", tmp_path / "o").refused("none: is not there")
    assert not (tmp_path / "o").exists()


def test_other_pictures_are_another_job(photos: Path, tmp_path: Path) -> None:
    def job(*paths: Path, exclude: tuple[str, ...] = ()) -> Manifest:
        return manifest().model_copy(update=Listing([*map(str, paths)], exclude=exclude).asked)

    out = tmp_path / "out"
    for _ in range(2):  # the same one goes on
        Shards(out, job(photos)).__exit__()
    with pytest.raises(InputError, match=r"another exclude\)"):
        Shards(out, job(photos, exclude=("c*",)))
    with pytest.raises(InputError, match=r"another paths\)"):
        Shards(out, job(photos / "coffee.jpg"))
    older = read_manifest(out).model_dump(exclude={"paths", "exclude"})  # as it was kept before these were
    (out / "manifest.json").write_text(json.dumps(older))
    Shards(out, job(photos)).__exit__()
    assert read_manifest(out).paths == job(photos).paths
