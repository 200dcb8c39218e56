"""`tagprism index`, through the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from tagprism.app.commands.index import form_of
from tagprism.errors import MachineError
from tagprism.search import edge_index, qdrant_collection, qdrant_index
from tagprism.search.collection import open_index
from tagprism.search.contract import IndexInfo
from tagprism.search.create import open_for_update
from tagprism.search.marks import open_marks
from tagprism.search.stored import MARKS
from tests.app.conftest import Cli, held
from tests.command_line import python
from tests.small_world import World


def test_it_is_made_and_kept_up_to_date(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    where = tmp_path / "photos.index"
    done = cli("index", photos, "--into", where, "-m", world.run, "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    done = cli("index", photos, "--into", where)
    assert done.code == 0 and "6 unchanged; 6 pictures in" in done.err and done.out == ""
    (photos / "0.png").rename(photos / "moved.png")
    (photos / "1.png").unlink()
    (photos / "bad.jpg").write_text("no picture")
    done = cli("index", "--into", where)  # the folders and the model are remembered
    assert done.code == 4 and "bad.jpg: The file is not a picture" in done.err
    assert "1 moved, 1 removed, 4 unchanged, 1 skipped; 5 pictures in" in done.err
    assert held(where) == ["2.png", "3.png", "4.png", "5.png", "moved.png"]


def test_a_model_that_has_moved_is_remembered(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    where, first, copy = tmp_path / "photos.index", tmp_path / "first", tmp_path / "copy"
    for folder in (first, copy):
        shutil.copytree(world.run / "bundle", folder)
    assert cli("index", photos, "--into", where, "-m", first, "--quiet").code == 0
    shutil.rmtree(first)
    cli("search", where, "red").refused(str(first))
    assert "6 unchanged" in cli("index", "--into", where, "-m", copy).err
    assert cli("search", where, "red", "--all", "--format", "paths").out.count("\n") == 6


def test_it_ranks_as_the_tagger_does(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    where = tmp_path / "photos.index"
    assert cli("index", photos, "--into", where, "-m", world.run, "--storage", "float32", "--quiet").code == 0
    collection = open_index(str(where))
    labels = ["red", "cross", "star"]
    hits = collection.index.search(collection.tagger.scoring_vectors(labels), 10)
    tags = collection.tagger.tag(sorted(photos.iterdir()), labels, None)
    for label, found in zip(labels, hits, strict=True):
        scores = {str(row.path): next(tag.score for tag in row.tags if tag.label == label) for row in tags}
        paths = [one.path for one in collection.index.get([hit.id for hit in found]) if one]
        assert paths == sorted(scores, key=lambda path: -scores[path])
        assert [hit.score for hit in found] == pytest.approx([scores[path] for path in paths], abs=1e-5)
    first = collection.index.get([1])[0]
    assert first and len(first.tags) == 8 and first.tags[0][0] == collection.tagger.tag(first.path)[0].tags[0].label
    collection.close()


@pytest.mark.slow
def test_another_model_is_exit_code_5(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    where = tmp_path / "photos.index"
    assert cli("index", photos, "--into", where, "-m", world.run, "--quiet").code == 0
    other = cli("index", photos, "--into", where, "-m", "photos-lite")
    other.refused(
        f"another model ({world.run}, digest", f"--into {where} --rebuild --model photos-lite", code=5
    )  # not the one that was offered
    cli("index", photos, "--into", where, "--storage", "float32").refused("half, not float32", "--rebuild")
    assert len(held(where)) == 6
    (where / MARKS).touch()  # what people added or rejected is not the index's to remove
    done = cli("index", "--into", where, "-m", "photos-lite", "--storage", "float32", "--rebuild")
    assert done.code == 0 and "6 added; 6 pictures" in done.err and "(float32, exact" in done.err
    assert (where / MARKS).exists()
    settings = json.loads((where / "index.json").read_text())
    assert "numbers" not in settings, "older versions read it"
    assert (settings["model"], settings["vectors"], settings["storage"]) == ("photos-lite", 7, "float32")
    assert settings["folders"] == [str(photos)]


def test_what_cannot_be_done_is_said(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    where = tmp_path / "photos.index"
    cli("index", "--into", where).refused("there is no index, and no pictures are named")
    cli("index", tmp_path / "nowhere", "--into", where).refused("nowhere: is not there")
    assert not where.exists()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("mine")
    cli("index", photos, "--into", tmp_path / "notes").refused("is no index and not empty")
    cli("index", photos, "--into", photos / "0.png").refused("cannot be written")
    cli("index", photos, "--into", "qdrant+http://localhost").refused("is not the address of a collection")
    empty = tmp_path / "empty"
    empty.mkdir()
    cli("index", empty, "--into", where, "-m", world.run).refused("there are no pictures", code=3)
    assert not where.exists()
    assert cli("index", photos, "--into", where, "--quiet").code == 0
    (where / "index.json").write_text("{}")
    cli("index", photos, "--into", where).refused("index.json", "is damaged")
    (where / "index.json").write_text("{")
    cli("index", photos, "--into", where).refused("index.json", "is damaged", "--rebuild")
    done = cli("index", photos, "--into", where, "-m", world.run, "--rebuild")
    assert done.code == 0 and "6 added" in done.err


def test_a_missing_folder_empties_nothing(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    where, away, more = tmp_path / "photos.index", tmp_path / "away", tmp_path / "more"
    more.mkdir()
    shutil.copy(world.pictures()[7], more / "7.png")
    assert cli("index", photos, more, "--into", where, "-m", world.run, "--quiet").code == 0
    photos.rename(away)
    (more / "8.png").write_bytes(world.pictures()[8].read_bytes())
    for named in ((), (photos, more)):  # what is done every day goes on with the rest
        done = cli("index", *named, "--into", where, "--quiet")
        assert done.code == 0 and "photos is not there: 6 indexed pictures kept" in done.err
        assert "mount it" in done.err and "--prune" in done.err
        assert len(held(where)) == 8
    photos.mkdir()
    done = cli("index", "--into", where, "--quiet")
    assert done.code == 0 and "photos has lost many: 6 indexed pictures kept" in done.err
    cli("index", tmp_path / "pohtos", "--into", where).refused("pohtos: is not there")
    photos.rmdir()
    assert cli("index", "--into", where, "--prune").code == 0
    assert held(where) == ["7.png", "8.png"] and json.loads((where / "index.json").read_text())["folders"] == [
        str(more)
    ]


def test_a_renamed_folder_is_followed_when_it_is_named(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    where = tmp_path / "photos.index"
    assert cli("index", photos, "--into", where, "-m", world.run, "--quiet").code == 0
    photos.rename(tmp_path / "new")
    assert "6 moved" in cli("index", tmp_path / "new", "--into", where).err
    done = cli("index", "--into", where)
    assert done.code == 0 and "not there" not in done.err and "6 unchanged; 6 pictures" in done.err


def test_an_old_bad_file_is_news_once(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    where = tmp_path / "photos.index"
    (photos / "bad.jpg").write_text("no picture")
    (photos / "gone.jpg").symlink_to(tmp_path / "gone.jpg")
    first = cli("index", photos, "--into", where, "-m", world.run)
    assert first.code == 4 and "bad.jpg: The file is not" in first.err and "2 skipped" in first.err
    again = cli("index", "--into", where)
    assert again.code == 0 and "bad.jpg" not in again.err and "2 pictures could not be used before" in again.err
    (photos / "bad.jpg").write_text("no picture either")
    (photos / "new.jpg").write_text("no picture")
    changed = cli("index", "--into", where)
    assert changed.code == 4 and "bad.jpg: " in changed.err and "new.jpg: " in changed.err and "gone" not in changed.err
    assert cli("index", "--into", where).code == 0
    anew = cli("index", "--into", where, "--rebuild")
    assert "answer no search from now on" in anew.err and "It is whole: searches find all of it again" in anew.err
    assert anew.code == 4 and "bad.jpg: " in anew.err and "gone.jpg: " in anew.err
    for name in ("bad.jpg", "new.jpg", "gone.jpg"):
        (photos / name).unlink()
    assert "could not be used" not in cli("index", "--into", where).err
    (photos / "bad.jpg").write_text("no picture either")  # it went, and is news again
    assert cli("index", "--into", where).code == 4


def test_a_folder_by_two_paths_is_indexed_once(cli: Cli, world: World, photos: Path, tmp_path: Path) -> None:
    where, link = tmp_path / "photos.index", tmp_path / "link"
    link.symlink_to(photos)
    assert cli("index", photos, link, "--into", where, "-m", world.run, "--quiet").code == 0
    (photos / "deep").mkdir()
    (photos / "0.png").rename(photos / "deep/0.png")
    assert "1 moved, 5 unchanged; 6 pictures" in cli("index", link, "--into", where).err
    assert "1 unchanged; 6 pictures" in cli("index", link / "deep", "--into", where).err
    assert json.loads((where / "index.json").read_text())["folders"] == [str(photos)]


def test_a_folder_around_a_linked_one_takes_its_pictures_over(
    cli: Cli, world: World, photos: Path, tmp_path: Path
) -> None:
    where, link = tmp_path / "photos.index", tmp_path / "else" / "link"
    link.parent.mkdir()
    link.symlink_to(photos)
    assert cli("index", link, "--into", where, "-m", world.run, "--quiet").code == 0
    (tmp_path / "all").mkdir()
    photos.rename(tmp_path / "all/photos")
    link.unlink()
    link.symlink_to(tmp_path / "all/photos")
    assert "6 moved; 6 pictures" in cli("index", tmp_path / "all", "--into", where).err
    assert json.loads((where / "index.json").read_text())["folders"] == [str(tmp_path / "all")]
    assert "6 unchanged; 6 pictures" in cli("index", "--into", where).err


def test_what_is_left_out_is_remembered_counted_and_taken_out(
    cli: Cli, world: World, photos: Path, tmp_path: Path
) -> None:
    where = tmp_path / "photos.index"
    (photos / "@eaDir").mkdir()
    shutil.copy(photos / "0.png", photos / "@eaDir/thumb.png")
    done = cli("index", photos, "--into", where, "-m", world.run)
    assert "6 added" in done.err and "left out: 1 folder @eaDir" in done.err
    assert "5 removed, 1 unchanged" in cli("index", "--into", where, "--exclude", "*.png", "--exclude", "!0.png").err
    assert "1 unchanged; 1 picture in" in cli("index", "--into", where).err
    cli("index", "--into", where, "--exclude", "a\\").refused("--exclude", "is no pattern")
    assert "5 added, 1 unchanged" in cli("index", "--into", where, "--exclude", "").err
    (photos / ".tagprismignore").write_text("[1-5].*\n")
    assert "5 removed, 1 unchanged" in cli("index", "--into", where).err and held(where) == ["0.png"]


def test_a_full_disk_is_exit_code_6_and_what_was_done_stays(
    cli: Cli, world: World, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = tmp_path / "photos.index"
    assert cli("index", photos / "0.png", "--into", where, "-m", world.run, "--quiet").code == 0
    with monkeypatch.context() as full:
        usage = shutil.disk_usage(tmp_path)
        full.setattr(edge_index.shutil, "disk_usage", lambda path: usage._replace(free=100 << 20))
        cli("index", photos, "--into", where, "--quiet").refused("MB are free", "Free space", code=6)
    assert held(where) == ["0.png"]
    assert cli("index", photos, "--into", where, "--quiet").code == 0
    assert len(held(where)) == 6


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("size", ["1m", "100m"])
def test_a_small_and_a_read_only_disk_are_exit_code_6(
    cli: Cli, world: World, photos: Path, tmp_path: Path, size: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        cli("index", photos, "--into", disk / "i", "-m", world.run, "--quiet").refused("free", code=6)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for name in ("i", "new"):
            cli("index", photos, "--into", disk / name, "--quiet").refused("Read-only file system", code=6)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_without_the_extra_the_pip_line_is_shown(cli: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    monkeypatch.delitem(sys.modules, "tagprism.search.qdrant_index", raising=False)
    monkeypatch.delattr("tagprism.search.qdrant_index", raising=False)  # where another test has imported it
    done = cli("index", photos, "--into", "qdrant+http://127.0.0.1:6333/photos")
    done.refused('pip install "tagprism[cluster]"')


def test_an_index_of_which_the_renewal_was_cut_short_says_so_and_loses_nothing(
    cli: Cli, world: World, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, finish = tmp_path / "photos.index", f"`tagprism index --into {tmp_path}/photos.index` finishes it"
    asked = ("search", where, "tag:Rex", "--format", "paths")
    assert cli("index", photos, "--into", where, "-m", world.run, "--exclude", "5.png", "--quiet").code == 0
    with open_index(where) as collection, closing(open_marks(str(where))) as marks:
        first = min(collection.index.pictures(), key=lambda one: one.path)
        marks.put(first.digest, "Rex", True)
    assert cli(*asked).out.split() == [str(photos / "0.png")]

    def killed(*arguments: object) -> None:
        raise MachineError("killed", where="here", remedy="none")

    with monkeypatch.context() as patch:  # when the pictures are gone, and there is no new index yet
        patch.setattr(edge_index.EdgeIndex, "create", killed)
        assert cli("index", "--into", where, "--rebuild").code == 6
    cli(*asked).refused("making it anew was cut short", finish)
    with open_for_update(str(where)) as collection:  # when it is there, and holds nothing yet
        assert collection.settings.renewing == "filling" and collection.settings.exclude == ("5.png",)
    done = cli(*asked, "--quiet")
    assert (done.code, done.out) == (4, "") and finish in done.err and "holds 0 pictures" in done.err
    cli("learn", where, "--quiet").refused("too few marks", finish, code=3)
    assert cli("index", photos / "1.png", "--into", where).code == 0  # that is not all of it
    assert finish in cli(*asked).err and cli("search", where, "red", "--all").code == 0
    assert "4 added, 1 unchanged" in cli("index", "--into", where).err and held(where) == [f"{n}.png" for n in range(5)]
    done = cli(*asked)
    assert (done.code, done.out.split()) == (0, [str(photos / "0.png")]) and finish not in done.err


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning")
@pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")
def test_a_collection_of_a_server_is_kept_up_to_date_too(
    cli: Cli, world: World, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, where = QdrantClient(":memory:"), "qdrant+http://127.0.0.1:6333/photos"
    monkeypatch.setattr(client, "close", lambda: None)
    monkeypatch.setattr(qdrant_index, "connect", lambda where: (client, "photos"))
    assert cli("index", photos, "--into", where, "-m", world.run, "--storage", "half", "--quiet").code == 0
    kept = client.get_collection("photos").config.metadata
    assert kept["tagprism"]["numbers"] == "weighted", "an older version refuses it, as it would ask for other numbers"
    assert len(kept["tagprism_whole"]["exponents"]) == sum(kept["tagprism"][name] for name in ("dimension", "shared"))
    (photos / "0.png").rename(photos / "moved.png")
    done = cli("index", "--into", where)
    assert done.code == 0 and "1 moved, 5 unchanged; 6 pictures in qdrant+http" in done.err
    cli("index", photos, "--into", where, "-m", "photos-lite").refused("another model", code=5)
    collection = open_index(where)
    assert collection.folders == (str(photos),) and collection.index.info().storage == "half"
    assert len(collection.index.search(collection.tagger.scoring_vectors(["red"]), 10)[0]) == 6
    assert cli("index", "--into", where, "--rebuild", "--storage", "float32").code == 0
    renewed = open_index(where)
    assert renewed.index.info().exact and renewed.unfinished == ""

    def killed(*arguments: object, **named: object) -> None:
        raise MachineError("killed", where="here", remedy="none")

    with monkeypatch.context() as patch:  # when the collection is gone, and there is no new one yet
        patch.setattr(qdrant_collection, "make_collection", killed)
        assert cli("index", "--into", where, "--rebuild").code == 6
    assert not client.collection_exists("photos")
    cli("search", where, "red").refused("making it anew was cut short", f"`tagprism index --into {where}` finishes it")
    with monkeypatch.context() as patch:  # when it is there, but not all of it may be
        patch.setattr(client, "create_payload_index", killed)
        assert cli("index", "--into", where, "--rebuild").code == 6
    assert "6 added; 6 pictures" in cli("index", "--into", where).err
    assert open_index(where).folders == (str(photos),)
    assert [one.name for one in client.get_collections().collections] == ["photos"]


def test_a_server_that_is_not_there_is_exit_code_6(cli: Cli, photos: Path) -> None:
    done = cli("index", photos, "--into", "qdrant+http://127.0.0.1:1/photos")
    done.refused("the Qdrant server fails", "TAGPRISM_QDRANT_KEY", code=6)


def test_no_torch_is_loaded(world: World, photos: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from tagprism.app.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "assert 'torch' not in sys.modules and 'qdrant_client' not in sys.modules"
    )
    done = python(code, "index", photos, "--into", tmp_path / "i", "-m", world.run)
    assert done.returncode == 0, done.stderr


def test_what_is_said_of_the_form_of_an_index() -> None:
    def said(**values: object) -> str:
        return form_of(IndexInfo(9, 3, 16, 5, **{"storage": "half", "exact": False, "recall": 1.0, **values}))

    assert said() == "half" and said(exact=True, storage="float32") == "float32, exact"
    assert said(recall=0.98, worst=0.9, fitted=True) == "half, recall of one word 0.9800, worst word 0.90"
    assert said(recall=0.98, worst=None) == "half, recall of one word 0.9800, candidates by the mean of rows"
    assert said(recall=None, worst=None, fitted=True) == "half, recall not measured yet"
