"""`tag --explain` and `doctor --bundle`: what is written and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tagprism
from tagprism.tagging.explain import Explanation, TagExplanation
from tagprism.tagging.explain_output import explained, file_name
from tagprism.tagging.explain_sheet import draw_sheet, overlay, spread
from tagprism.tagging.tags import ImageTags, Tag
from tests.app.conftest import Cli
from tests.odd_pictures import draw_odd_pictures
from tests.small_world import LABELS, World

FULL = (0.0, 0.0, 1.0, 1.0)


def test_every_tagged_picture_gets_a_sheet_and_its_numbers(cli: Cli, world: World, tmp_path: Path) -> None:
    odd = draw_odd_pictures(tmp_path / "odd")
    named = [*world.pictures()[:2], *odd]
    plain = cli("tag", *named, "-m", world.run, "--top-k", 3, "--format", "jsonl")
    done = cli("tag", *named, "-m", world.run, "--top-k", 3, "--format", "jsonl", "--explain", tmp_path / "why")
    assert (done.code, done.out) == (4, plain.out)
    rows = [row for row in map(json.loads, done.out.splitlines()) if "tags" in row]
    written = {json.loads(path.read_text())["path"]: path for path in (tmp_path / "why").glob("*.json")}
    assert len(list((tmp_path / "why").iterdir())) == 2 * len(rows) == 2 * len(written)
    for row in rows:
        found = json.loads(written[row["path"]].read_text())
        assert list(found) == ["path", "bundle", "frame", "tags"]
        assert found["frame"] == [0, 0, 1, 1] and found["bundle"] == tagprism.load(world.run).bundle.digest
        for tag, why in zip(row["tags"], found["tags"], strict=True):
            assert list(why) == ["label", "spelling", "score", "vector", "vectors", "places", "without_place"]
            assert (why["label"], why["vector"]) == (tag["label"], tag["vector"])
            assert why["score"] == pytest.approx(tag["score"], rel=1e-4, abs=1e-5)
            assert np.array(why["places"]).sum() + why["without_place"] == pytest.approx(
                why["score"], rel=1e-4, abs=1e-5
            )
            assert why["vectors"][why["vector"]] == max(why["vectors"])
        with Image.open(written[row["path"]].with_suffix(".jpg")) as sheet:
            sheet.load()
            assert sheet.format == "JPEG" and sheet.width == 2 * 320 + 20  # the picture and three tags


def test_a_second_run_writes_the_same_files(cli: Cli, world: World, tmp_path: Path) -> None:
    arguments = ("tag", world.pictures()[0], "-m", world.run, "--explain", tmp_path / "why")
    assert cli(*arguments).code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "why").iterdir()}
    assert cli(*arguments).code == 0
    assert {path: path.read_bytes() for path in (tmp_path / "why").iterdir()} == before and len(before) == 2


NAMES = [
    b"plain.png",
    b"Plain.png",
    b"new\nline.png",
    "\N{SPARKLES}".encode() + b".png",
    b"not\xffutf8.png",
    b"not\xfeutf8.png",
    b"..png",
    b"-o.png",
    b"back\\slash:colon*.png",
    b"<b>&amp;.png",
    b"x" * 251 + b".png",
    b"x" * 250 + b"y.png",
]


def test_whatever_names_pictures_have_their_files_stay_inside_and_apart(cli: Cli, world: World, tmp_path: Path) -> None:
    photos = [tmp_path / "photos", tmp_path / "photos/deeper"]
    for folder in photos:
        folder.mkdir()
        for name in NAMES:
            shutil.copy(world.pictures()[0], os.fsencode(folder) + b"/" + name)
    paths = [Path(os.fsdecode(os.fsencode(folder) + b"/" + name)) for folder in photos for name in NAMES]
    around = set(tmp_path.rglob("*"))
    done = cli("tag", *paths, "-m", world.run, "--top-k", 1, "--format", "jsonl", "--explain", tmp_path / "why/here")
    assert done.code == 0
    new = set(tmp_path.rglob("*")) - around - {tmp_path / "why", tmp_path / "why/here"}
    assert {path.parent for path in new} == {tmp_path / "why/here"}
    assert len({path.name.lower() for path in new}) == 2 * len(paths)  # also where names' case does not count
    assert {json.loads(path.read_text())["path"] for path in new if path.suffix == ".json"} == {*map(str, paths)}


def test_names_are_made_of_harmless_letters_whatever_the_path() -> None:
    for path in (Path("/"), Path(".."), Path("a/../.."), Path("nul"), Path("\udcff\n")):
        assert set(file_name(path)) <= {*"abcdefghijklmnopqrstuvwxyz0123456789_-."} and file_name(path)[0] not in ".-"
    assert file_name(Path("a.png")) == file_name(Path.cwd() / "a.png")


def test_a_folder_among_the_pictures_is_refused(cli: Cli, world: World, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(world.data)
    for into in (world.data, world.data / "images/why", tmp_path / "link/why"):
        cli("tag", world.data, "-m", world.run, "--explain", into).refused("taken for pictures", "folder elsewhere")
    assert not (world.data / "images/why").exists()
    picture = tmp_path / "photos" / "x.png"
    picture.parent.mkdir()
    shutil.copy(world.pictures()[0], picture)
    cli("tag", picture, "-m", world.run, "--explain", tmp_path / "photos").refused(
        "taken for pictures", str(picture.parent)
    )
    assert [*picture.parent.iterdir()] == [picture]
    assert cli("tag", picture, "-m", world.run, "--explain", picture.with_name("why")).code == 0


def test_a_file_in_the_way_is_refused(cli: Cli, world: World, tmp_path: Path) -> None:
    (tmp_path / "why").write_text("mine")
    cli("tag", world.data, "-m", world.run, "--explain", tmp_path / "why").refused("cannot be written", "why")
    assert (tmp_path / "why").read_text() == "mine"


def test_a_bundle_that_cannot_explain_says_why(cli: Cli, world: World, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(world.run / "bundle", bundle)
    config = json.loads((bundle / "config.json").read_text())
    del config["places"]  # as an older tagprism wrote it
    (bundle / "config.json").write_text(json.dumps(config))
    cli("tag", world.data, "-m", bundle, "--explain", tmp_path / "why").refused("not the plain mean of a feature map")
    assert not (tmp_path / "why").exists()
    assert cli("tag", world.pictures()[0], "-m", bundle).code == 0


def test_a_picture_that_went_away_gets_its_error(world: World, tmp_path: Path) -> None:
    row = ImageTags(tmp_path / "gone.png", (Tag("red", 1.0, None, 0),))
    (found,) = explained([row], tmp_path / "why", tagprism.load(world.run), LABELS, [])
    assert found.tags == () and found.error is not None and found.error.code == "missing"
    assert list((tmp_path / "why").iterdir()) == []


def whose(places: list[list[float]], label: str = "red", vectors: int = 3) -> TagExplanation:
    values = np.array(places, np.float32)
    return TagExplanation(
        label, label, float(values.sum()) - 1, 0, tuple(float(m) for m in range(vectors)), values, -1.0
    )


def test_a_place_is_drawn_where_it_is_and_in_the_colour_of_its_sign() -> None:
    grey = Image.new("RGB", (40, 20), (128, 128, 128))
    drawn = np.asarray(overlay(grey, np.array([[0, 1], [-1, 0]], np.float32), FULL, 1.0), int)
    red_over_blue = drawn[..., 0] - drawn[..., 2]
    assert red_over_blue[2, 37] > 100 and red_over_blue[17, 2] < -50  # orange top right, blue bottom left
    assert abs(red_over_blue[2, 2]) < 30 and abs(red_over_blue[17, 37]) < 30


def test_a_grid_is_laid_over_the_part_it_is_about() -> None:
    values, seen = spread(np.ones((2, 2), np.float32), (0.25, 0.5, 0.75, 1.0), (40, 20))
    assert seen[10:, 10:30].all() and seen.sum() == 10 * 20
    np.testing.assert_array_equal(values, seen.astype(np.float32))
    grid = np.array([[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0]], np.float32)
    values, seen = spread(grid, (-0.5, -0.5, 1.5, 1.5), (40, 40))  # padded: the picture is the grid's middle
    assert seen.all()
    middles = [float(values[y, x]) for y in (10, 30) for x in (10, 30)]
    assert middles == pytest.approx([1, 2, 3, 4], abs=0.25)


@pytest.mark.parametrize(("size", "frame"), [((1, 1), FULL), ((900, 2), FULL), ((3, 500), (0.4, 0.499, 0.6, 0.5))])
def test_odd_shapes_and_many_tags_are_drawn(size: tuple[int, int], frame: tuple[float, float, float, float]) -> None:
    labels = [
        "red",
        "a phrase that is far too long for the width of a panel on the sheet",
        "Übergröße",
        "\udcff\n",
        "熊",
    ]
    tags = tuple(whose([[0.0, 0.0]], label, vectors) for label in labels for vectors in (1, 7, 40))
    sheet = draw_sheet(Explanation(Path("x\n\udcff.png"), Image.new("RGB", size), frame, tags))
    assert sheet.width == 4 * 320 + 20  # the first eleven tags


def test_the_collapse_meter_reads_pictures_and_data_sets(cli: Cli, world: World, tmp_path: Path) -> None:
    done = cli("doctor", "--bundle", world.run, *world.on(), "--format", "json")
    assert done.code == 0
    found = json.loads(done.out)
    test = json.loads((world.data / "splits.json").read_text())[0]["test"]
    assert (found["pictures"], found["vectors"], found["labels"]) == (len(test), 3, len(LABELS))
    assert 1 <= found["effective_rank"]["p05"] <= found["effective_rank"]["p50"] <= found["effective_rank"]["p95"] <= 3
    assert sum(found["wins"]) == pytest.approx(1, abs=1e-3) and -0.5 <= found["cosine"]["mean"] <= 1
    assert found["verdict"] in ("collapsed", "close", "diverse")
    odd = draw_odd_pictures(tmp_path)
    shown = cli("doctor", "--bundle", world.run, *odd)
    assert shown.code == 4 and "3 principal vectors on 4 pictures" in shown.out and "skipped" in shown.err
    assert (
        "effective rank" in shown.out
        and found["verdict"].capitalize() in cli("doctor", "--bundle", world.run, *world.on()).out
    )


def test_the_collapse_meter_says_what_it_misses(cli: Cli, world: World, tmp_path: Path) -> None:
    cli("doctor", "--bundle", world.run).refused("pictures to measure on are missing", "--data")
    cli("doctor", world.data).refused("--bundle")
    cli("doctor", "--bundle", tmp_path, world.data).refused("not a bundle")
    cli("doctor", "--bundle", world.run, tmp_path).refused("there are no pictures", code=3)
    (tmp_path / "bad.jpg").write_text("no picture")
    cli("doctor", "--bundle", world.run, tmp_path).refused("none of 1 picture can be used")
