"""`tagprism learn`: what marks teach an index, where the answer is known; and when it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tagprism
from tagprism.bundle.record import Records
from tagprism.search.contract import Picture
from tagprism.search.create import create_collection
from tagprism.search.learn import _fitted_shift, _Teacher
from tagprism.search.left_out import gains_by_chance, left_out_gain, marks_needed
from tagprism.search.marks import open_marks
from tagprism.search.stored import learned_file
from tagprism.tagging.learned import LearnedLabel
from tests.app.conftest import Cli
from tests.small_world import World

PICTURES, REXES = 64, 16


@pytest.fixture
def index(world: World, tmp_path: Path) -> Path:
    """An index of 64 made records, of which the first 16 differ from the others in one direction that has no name.

    Pictures 20 to 24 are the only ones that show a circle.
    """
    where = tmp_path / "made.index"
    where.mkdir()
    with create_collection(str(where), str(world.run), "float32") as made:
        random, shape = np.random.default_rng(2), made.settings.shape
        rows = random.standard_normal((PICTURES, shape.vectors, shape.dimension)).astype(np.float32)
        rows[:REXES] += 2 * random.standard_normal(shape.dimension).astype(np.float32)
        circle = made.tagger.embed(["circle"])[0]
        rows -= (rows @ circle)[..., None] * circle / (circle @ circle)  # nobody shows any of it
        rows[20:25] += 2 * circle / (circle @ circle)
        pictures = [Picture(n + 1, f"/made/{n}.jpg", 1, 1, f"{n:064x}", 96, 72, None) for n in range(PICTURES)]
        made.index.add(pictures, Records(rows, np.zeros((PICTURES, shape.shared), np.float32)))
    return where


def mark(index: Path, word: str, numbers: Sequence[int], added: bool = True) -> None:
    """Say of pictures whether they have a label."""
    with closing(open_marks(str(index))) as marks:
        marks.put([f"{n:064x}" for n in numbers], word, added)


def searched(cli: Cli, index: Path, word: str, count: int = PICTURES) -> list[int]:
    """Numbers of the pictures that a search shows as likely, best first."""
    paths = cli("search", index, word, "--format", "paths", "-n", str(count)).out.split()
    return [int(Path(path).stem) for path in paths]


def test_a_word_of_ones_own_finds_what_is_like_the_marked_pictures(cli: Cli, index: Path) -> None:
    mark(index, "Rex", range(6))
    assert sorted(searched(cli, index, "Rex")) == list(range(6))  # no encoder knows it: people alone are asked
    done = cli("learn", index)
    assert done.code == 0 and done.out.splitlines()[1].split()[:3] == ["Rex", "6", "0"], done.err
    found = searched(cli, index, "rex")
    assert sorted(found[:6]) == list(range(6)) and found[6] < REXES
    others = found[6:]
    assert len(others) >= 6 and sum(number < REXES for number in others) >= 0.8 * len(others)
    with tagprism.open_index(index) as opened:
        top = [int(Path(one.picture.path).stem) for one in opened.search("Rex", top_k=REXES).found]
        without = opened.search("circle NOT Rex", top_k=PICTURES - REXES).found
    assert sorted(top) == list(range(REXES))
    assert all(int(Path(one.picture.path).stem) >= REXES for one in without)

    assert cli("learn", index, "--forget").code == 0 and not learned_file(str(index)).exists()
    assert sorted(searched(cli, index, "Rex")) == list(range(6))
    cli("learn", index, "--forget").refused("nothing was learned", code=3)


def test_what_was_learned_outlives_a_renewal_and_not_another_model(cli: Cli, world: World, index: Path) -> None:
    mark(index, "Rex", range(6))
    assert cli("learn", index, "--quiet").code == 0
    few = world.pictures()[:3]
    assert cli("index", *few, "--into", index, "--rebuild", "--quiet").code == 0
    with tagprism.open_index(index) as opened:
        assert opened.learned is not None and opened.learned.find("rex") is not None
        assert len(opened.search("Rex").found) == 3
        opened.learned.save(learned_file(str(index)), "another digest")
    with tagprism.open_index(index) as opened:
        assert opened.learned is None
    learned_file(str(index)).write_bytes(b"damaged")
    cli("search", index, "red").refused("what was learned cannot be read", "--forget")


def test_marks_that_teach_nothing_are_refused_with_the_reason(cli: Cli, index: Path) -> None:
    cli("learn", index).refused("too few marks", code=3)
    mark(index, "Rex", [20, 21])
    mark(index, "circle", [22, 23])
    mark(index, "Circles", [24], added=False)
    few = "teach something. With and without: circle 2+1, Rex 2+0."
    cli("learn", index).refused("there are too few marks", few, code=3)
    mark(index, "Monday", [3, 11, 19, 25, 33, 41, 48, 60])  # in no way alike
    cli("learn", index).refused("nothing was learned", "Monday: no gain", few, code=3)
    assert not learned_file(str(index)).exists()


def test_an_index_of_one_picture_teaches_nothing(cli: Cli, world: World, tmp_path: Path) -> None:
    where = tmp_path / "one.index"
    cli("index", world.pictures()[0], "--into", where, "-m", world.run, "--quiet")
    with tagprism.open_index(where) as opened, closing(open_marks(str(where))) as marks:
        marks.put([one.digest for one in opened.index.pictures()], "Rex", True)
    mark(where, "Bello", [1])  # of a picture that has left the index
    cli("learn", where).refused("there are too few marks", "With and without: Rex 1+0.", code=3)


def test_what_the_model_finds_by_itself_is_not_given_up_for_what_it_missed() -> None:
    """Ten of forty pictures are likely by the model; a learned vector finds all, some or none of them."""
    rows = np.full((40, 1, 2), -9, np.float32)
    rows[:10, 0, 0] = rows[30:, 0, 1] = 9
    others = Records(rows, np.zeros((40, 1), np.float32))
    teacher = SimpleNamespace(_logits=SimpleNamespace(logits=lambda vectors, scores, usual: scores))
    for vector, kept in ([1, 0, 0], None), ([1, 0.5, 0], None), ([0, 1, 0], 0):
        learned = LearnedLabel("people", 0.0, vector=np.array(vector, np.float32))
        said = _Teacher._lost(teacher, np.array([[1, 0, 0]], np.float32), learned, others)  # type: ignore[arg-type]
        assert (said == "") is (kept is None) and (kept is None or "of 10 other pictures that the model" in said)


def test_a_few_marks_of_pictures_that_are_not_alike_are_refused(cli: Cli, index: Path) -> None:
    random = np.random.default_rng(5)  # by its standard error alone a gain of four pictures would often be learned
    for name in ("Jesper", "Lotte", "Mads", "Ida", "Sofus", "Karla"):
        mark(index, name, random.choice(np.arange(REXES + 8, PICTURES), 4, replace=False).tolist())
    done = cli("learn", index)
    assert done.code == 3 and "Jesper: " in done.err and not learned_file(str(index)).exists()
    mark(index, "Rex", range(4))  # that are alike
    assert cli("learn", index).code == 0


def test_marks_are_told_from_chance() -> None:
    random = np.random.default_rng(0)
    refused = [marks_needed(random.standard_normal(8)) != 0 for _ in range(400)]
    assert 0.92 < np.mean(refused) < 0.98
    few = np.array([1.0, 0.5, 1.5, 2.0])
    assert marks_needed(few) == 5 and marks_needed(np.append(few, 1.2)) == 0 and marks_needed(-few) is None
    features = random.standard_normal((300, 12))
    chance = gains_by_chance(features @ features.T, 4)
    assert abs(chance.mean()) < 0.15  # the gain is none on average
    assert marks_needed(np.full(4, 5.0), chance) == 0 and marks_needed(np.full(4, chance.min()), chance) is None
    assert 4 < (marks_needed(np.full(4, 0.8), chance) or 0) < 100


def test_accepted_and_rejected_guesses_move_a_label_and_no_other(cli: Cli, index: Path) -> None:
    with tagprism.open_index(index) as opened:
        before = {one.picture.id: one.score for one in opened.search("circle", top_k=PICTURES).found}
        red = [one.score for one in opened.search("red", top_k=5).found]
    mark(index, "circle", [20, 21])  # the model is not as sure as it could be
    mark(index, "Circles", [30, 31], added=False)
    cli("learn", index).refused("too few marks", code=3)
    mark(index, "circle", [22, 23, 24])
    assert cli("learn", index).code == 0
    with tagprism.open_index(index) as opened:
        assert opened.learned is not None
        learned = opened.learned.find("circles")
        assert learned is not None and learned.shift > 0 and learned.vector is None
        after = {one.picture.id: one.score for one in opened.search("circle", top_k=PICTURES).found}
        assert [one.score for one in opened.search("red", top_k=5).found] == red
    unmarked = [number for number in after if after[number] < 1]
    assert len(unmarked) == PICTURES - 7 and all(after[number] > before[number] for number in unmarked)


def test_a_shift_follows_the_marks_as_far_as_the_prior_lets_it() -> None:
    logits, yes = np.zeros(4), np.ones(4, bool)
    shifts = [_fitted_shift(logits[:n], yes[:n]) for n in range(5)]
    assert shifts[0] == pytest.approx(0, abs=1e-6) and np.all(np.diff(shifts) > 0) and shifts[-1] < 4
    assert _fitted_shift(logits, ~yes) == pytest.approx(-shifts[-1], abs=1e-6)
    assert _fitted_shift(np.full(50, 3.0), np.arange(50) < 25) == pytest.approx(-3, abs=0.1)
    assert _fitted_shift(logits[:0], yes[:0], centre=7.0) == pytest.approx(7, abs=1e-6)


def test_a_gain_is_that_of_the_way_which_the_others_choose() -> None:
    gains = np.array([[0, 5.0], [0, -1.0], [0, -1.0], [0, -1.0]])  # one lucky picture
    assert left_out_gain(gains).tolist() == [0, -1, -1, -1]
    assert left_out_gain(np.array([[0, 1.0], [0, 2.0], [0, 3.0]])).tolist() == [1, 2, 3]


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
    with closing(open_marks(str(index))) as marks:
        marks.put([digests[name] for name in horses[::3]], "Zottel", True)
    assert cli("learn", index).code == 0
    found = [Path(path).name for path in cli("search", index, "Zottel", "--format", "paths", "-n", "24").out.split()]
    unmarked = [name for name in found if name not in horses[::3]]
    assert len(unmarked) >= 8 and sum(name in horses for name in unmarked) / len(unmarked) > 0.6
