"""`--views` on the command line: pinned in an index, said in a result, explained by the part that won."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tagprism.images.views import view_boxes
from tests.app.conftest import Cli
from tests.small_world import World

PHOTOS = Path(__file__).parents[1] / "photos"


@pytest.mark.slow
def test_an_index_keeps_its_views(cli: Cli, tmp_path: Path) -> None:
    into = tmp_path / "photos.index"
    assert cli("index", PHOTOS / "coffee.jpg", PHOTOS / "rocket.jpg", "--into", into, "--views", 2, "--quiet").code == 0
    assert json.loads((into / "index.json").read_text())["model"] == "photos-lite#views=2"
    found = cli("search", into, "coffee", "--format", "jsonl")
    assert json.loads(found.out.splitlines()[0])["path"].endswith("coffee.jpg")
    assert cli("search", into, "coffee", "--format", "jsonl", "--model", "photos-lite").out == found.out
    assert cli("index", "--into", into, "--quiet").code == 0  # by its own views
    cli("search", into, "coffee", "--model", "photos-lite#views=1").refused("2 views of each", code=5)
    cli("index", "--into", into, "--views", 5, "--quiet").refused(
        "2 views of each picture, not 5", "--rebuild --views 5", code=5
    )
    assert cli("index", "--into", into, "--views", 1, "--rebuild", "--quiet").code == 0
    assert json.loads((into / "index.json").read_text())["model"] == "photos-lite"


@pytest.mark.slow
def test_the_part_that_won_explains_a_tag(cli: Cli, tmp_path: Path) -> None:
    why = tmp_path / "why"
    done = cli("tag", PHOTOS / "rocket.jpg", "--views", 10, "--top-k", 2, "--explain", why, "--format", "jsonl")
    assert done.code == 0 and json.loads(done.out)["tags"][0]["probability"] is not None
    (file,), (sheet,) = why.glob("*.json"), why.glob("*.jpg")
    Image.open(sheet).verify()
    for tag in json.loads(file.read_text())["tags"]:
        assert len(tag["vectors"]) == 70 and tag["vectors"].index(max(tag["vectors"])) == tag["vector"]
        assert sum(map(sum, tag["places"])) + tag["without_place"] == pytest.approx(tag["score"], abs=1e-3)
        assert (len(tag["places"]), len(tag["places"][0])) == (10, 10)
        assert tag["view"] == pytest.approx(view_boxes(10, 2, 1)[tag["vector"] // 7], abs=1e-6)


def test_a_result_says_its_views_and_device(cli: Cli, world: World) -> None:
    done = cli("evaluate", world.run, *world.on(), "--views", 3, "--limit", 8, "--format", "json", "--quiet")
    origin = json.loads(done.out)["provenance"]
    assert (origin["views"], origin["device"]) == (3, "cpu")


def test_a_number_that_there_is_not(cli: Cli) -> None:
    cli("tag", PHOTOS, "--views", 4).refused("no 4 views", "1, 2, 3, 5, 6, 10, 15")
    cli("tag", PHOTOS, "--model", "photos-lite#views=0").refused("no 0 views")
