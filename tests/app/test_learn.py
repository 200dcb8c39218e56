"""`tagprism learn`: what marks teach an index, where the answer is known; and when it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tagprism
from tagprism.search.collection import learned_file
from tagprism.search.create import create_collection
from tagprism.search.learn import _fitted_shift, _left_out_gain
from tagprism.search.marks import open_marks
from tests.app.conftest import Cli
from tests.search.test_find import fill
from tests.small_world import World


@pytest.fixture
def index(world: World, tmp_path: Path) -> Iterator[Path]:
    """An index of the 64 made pictures, 16 of each colour."""
    where = tmp_path / "made.index"
    where.mkdir()
    made = create_collection(str(where), str(world.run), "float32")
    fill(made, world.pictures())
    made.close()
    yield where


def mark(index: Path, world: World, word: str, name: str, added: bool = True, some: slice = slice(None)) -> set[str]:
    """Say of pictures whose file is called so whether they have a label; the names of those that were marked."""
    with tagprism.open_index(index) as opened:
        digests = {one.path: one.digest for one in opened.index.pictures()}
    chosen = [path for path in map(str, world.pictures()) if name in Path(path).name][some]
    marks = open_marks(str(index))
    marks.put([digests[path] for path in chosen], word, added)
    marks.close()
    return set(chosen)


def test_a_word_of_ones_own_finds_what_is_like_the_marked_pictures(cli: Cli, world: World, index: Path) -> None:
    marked = mark(index, world, "Rex", "red_", some=slice(6))
    before = cli("search", index, "Rex", "--format", "paths", "-n", "64").out.split()
    assert set(before) == marked  # no encoder knows the word: people alone are asked
    done = cli("learn", index)
    assert done.code == 0 and done.out.splitlines()[1].split()[:3] == ["Rex", "6", "0"], done.err
    rows = [json.loads(line) for line in cli("search", index, "Rex", "--format", "jsonl", "-n", "16").out.splitlines()]
    assert {row["path"] for row in rows[:6]} == marked and all(row["score"] == 1 for row in rows[:6])
    others = rows[6:]
    assert sum("red_" in row["path"] for row in others) >= 8  # of the ten that nobody marked
    assert others[0]["likely"] and "Rex" not in others[0]["own"]
    with tagprism.open_index(index) as opened:
        blue = opened.search("blue NOT Rex", top_k=16).found
    assert all("red_" not in one.picture.path for one in blue)

    assert cli("learn", index, "--forget").code == 0 and not learned_file(str(index)).exists()
    assert set(cli("search", index, "Rex", "--format", "paths", "-n", "64").out.split()) == marked
    cli("learn", index, "--forget").refused("nothing was learned", code=3)


def test_what_was_learned_outlives_a_renewal_and_not_another_model(
    cli: Cli, world: World, index: Path, tmp_path: Path
) -> None:
    mark(index, world, "Rex", "red_", some=slice(6))
    assert cli("learn", index, "--quiet").code == 0
    assert cli("index", world.data / "images", "--into", index, "--rebuild", "--quiet").code == 0
    with tagprism.open_index(index) as opened:
        assert opened.learned.find("rex") is not None and not opened.learned_elsewhere
        found = opened.search("Rex", top_k=16).found
        assert sum("red_" in one.picture.path for one in found) >= 14
        width = opened.settings.shape.width
        opened.learned.save(learned_file(str(index)), "another digest")
    with tagprism.open_index(index) as opened:
        assert not opened.learned and opened.learned_elsewhere and width
    learned_file(str(index)).write_bytes(b"damaged")
    cli("search", index, "red").refused("what was learned cannot be read", "--forget")


def test_marks_that_teach_nothing_are_refused_with_the_reason(cli: Cli, world: World, index: Path) -> None:
    cli("learn", index).refused("too few marks", code=3)
    mark(index, world, "Rex", "0/", some=slice(2))
    cli("learn", index).refused("too few marks", code=3)
    random = np.random.default_rng(5)
    with tagprism.open_index(index) as opened:
        digests = [one.digest for one in opened.index.pictures()]
    marks = open_marks(str(index))
    marks.put([digests[place] for place in random.choice(64, 12, replace=False)], "Monday", True)
    marks.close()
    done = cli("learn", index)
    done.refused("nothing was learned", "Monday: no gain", code=3)
    assert not learned_file(str(index)).exists()


def test_rejected_guesses_move_a_label_and_no_other(cli: Cli, world: World, index: Path) -> None:
    with tagprism.open_index(index) as opened:
        before = {one.picture.path: one.score for one in opened.search("circle", top_k=64).found}
        blue = [one.score for one in opened.search("blue", top_k=5).found]
        likeliest = [one.picture.digest for one in opened.search("circle", top_k=20).found]
    marks = open_marks(str(index))
    marks.put(likeliest[2::2], "circle", False)  # as if the model were far too sure
    marks.put(likeliest[:1], "circle", True)
    marks.put(likeliest[1], "circle", False)
    marks.close()
    assert cli("learn", index).code == 0
    with tagprism.open_index(index) as opened:
        learned = opened.learned.find("circles")
        assert learned is not None and learned.shift < 0 and learned.vector is None
        after = {one.picture.path: one.score for one in opened.search("circle", top_k=64).found}
        assert [one.score for one in opened.search("blue", top_k=5).found] == blue
    unmarked = [path for path in after if 0 < after[path] < 1]
    assert len(unmarked) > 40 and all(after[path] < before[path] for path in unmarked)


def test_a_shift_follows_the_marks_as_far_as_the_prior_lets_it() -> None:
    logits, yes = np.zeros(4), np.ones(4, bool)
    shifts = [_fitted_shift(logits[:n], yes[:n]) for n in range(5)]
    assert shifts[0] == pytest.approx(0, abs=1e-6) and np.all(np.diff(shifts) > 0) and shifts[-1] < 4
    assert _fitted_shift(logits, ~yes) == pytest.approx(-shifts[-1], abs=1e-6)
    assert _fitted_shift(np.full(50, 3.0), np.arange(50) < 25) == pytest.approx(-3, abs=0.1)
    assert _fitted_shift(logits[:0], yes[:0], centre=7.0) == pytest.approx(7, abs=1e-6)


def test_a_gain_is_that_of_the_way_which_the_others_choose() -> None:
    gains = np.array([[0, 5.0], [0, -1.0], [0, -1.0], [0, -1.0]])  # one lucky picture
    assert _left_out_gain(gains).tolist() == [0, -1, -1, -1]
    assert _left_out_gain(np.array([[0, 1.0], [0, 2.0], [0, 3.0]])).tolist() == [1, 2, 3]


@pytest.mark.slow
def test_on_real_photos_a_name_given_to_horses_finds_horses(cli: Cli, shared: Path, tmp_path: Path) -> None:
    labels = json.loads((shared / "data/corel5k/labels.json").read_text())
    horses = [name for name in sorted(labels) if "horses" in labels[name]][:24]
    others = [name for name in sorted(labels) if "horses" not in labels[name]][::60]
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in horses + others:
        (photos / name).symlink_to(shared / "data/corel5k/images" / name)
    index = tmp_path / "photos.index"
    assert cli("index", photos, "--into", index, "--quiet").code == 0
    with tagprism.open_index(index) as opened:
        digests = {Path(one.path).name: one.digest for one in opened.index.pictures()}
    marks = open_marks(str(index))
    marks.put([digests[name] for name in horses[::3]], "Zottel", True)
    marks.close()
    assert cli("learn", index).code == 0
    found = [Path(path).name for path in cli("search", index, "Zottel", "--format", "paths", "-n", "24").out.split()]
    unmarked = [name for name in found if name not in horses[::3]]
    assert len(unmarked) >= 8 and sum(name in horses for name in unmarked) / len(unmarked) > 0.6
