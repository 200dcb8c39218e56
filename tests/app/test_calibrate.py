"""Probabilities from the command line: a run gets them or says why not, `tag` and `evaluate` use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tagprism
from tagprism.bundle.bundle import Bundle
from tests.app.conftest import Cli
from tests.app.test_train import sets
from tests.small_world import World

pytestmark = pytest.mark.slow  # each run trains three heads; test_own_calibration is quicker

CALIBRATED = ("calibration.folds=2", "calibration.background=16", "training.validation=0.5", "training.epochs=8")


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory, cache_folder: Path) -> Path:
    """A calibrated run, made once."""
    from tagprism.app.commands.train import train

    out = tmp_path_factory.mktemp("calibrated") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAGPRISM_CACHE", str(cache_folder))
        _, data, _, split = world.on(0)
        assert train(world.recipe, data, split, out, CALIBRATED, None, None, None, None, False, True) == 0
    return out


def test_evaluate_reports_how_the_probabilities_hold(cli: Cli, world: World, run: Path, tmp_path: Path) -> None:
    done = cli("evaluate", run, *world.on(0), "--format", "json", "--report", tmp_path / "report.html", "--quiet")
    assert done.code == 0
    found = json.loads(done.out)["calibration"]
    assert found.keys() == {"unseen", "seen"}
    for row in found.values():
        assert 0 <= row["ECE"] <= 100 and row["cut"] == 0.5 and row["bins"]
        assert sum(its["pairs"] for its in row["bins"]) == row["pairs"]
    assert "Probabilities" in (tmp_path / "report.html").read_text()
    assert "Brier skill" in cli("evaluate", run, *world.on(0), "--quiet").out


def test_without_a_calibration_there_is_none_to_report(cli: Cli, world: World, tmp_path: Path) -> None:
    done = cli("evaluate", world.run, *world.on(0), "--format", "json", "--report", tmp_path / "r.html", "--quiet")
    assert "calibration" not in json.loads(done.out)
    assert 'id="probabilities"' not in (tmp_path / "r.html").read_text()
    origin = Bundle(world.run).config.provenance
    assert "too few for 4 folds" in origin["no_calibration"]
    assert "too few for 4 folds" in (world.run / "bundle/README.md").read_text()
    assert not tagprism.load(world.run).calibrated


def test_tags_carry_probabilities_and_can_be_cut_by_them(cli: Cli, world: World, run: Path) -> None:
    tagger, pictures = tagprism.load(run), world.pictures()[:6]
    assert tagger.calibrated
    everything = tagger.tag(pictures, top_k=None)
    for row in everything:
        chances = [tag.probability for tag in row.tags]
        assert all(chance is not None and 0 <= chance <= 1 for chance in chances)
        assert chances == sorted(chances, reverse=True)  # type: ignore[type-var]
    cut = 0.3
    kept = tagger.tag(pictures, top_k=None, min_probability=cut)
    for row, whole in zip(kept, everything, strict=True):
        assert row.tags == tuple(tag for tag in whole.tags if tag.probability is not None and tag.probability >= cut)
    done = cli("tag", *pictures, "-m", run, "--min-probability", cut, "--format", "jsonl", "--quiet")
    assert done.code == 0
    shown = [[tag["label"] for tag in json.loads(line)["tags"]] for line in done.out.splitlines()]
    assert shown == [[tag.label for tag in row.tags] for row in kept]


def test_a_probability_is_the_same_alone_in_a_batch_and_among_other_words(world: World, run: Path) -> None:
    tagger, pictures = tagprism.load(run), world.pictures()
    together = {(row.path, tag.label): tag for row in tagger.tag(pictures, top_k=None) for tag in row.tags}
    for picture in pictures[::7]:
        (alone,) = tagger.tag(picture, ["cross", "orange"], top_k=None)
        (tag,) = (tag for tag in alone.tags if tag.label == "cross")
        assert tag.probability == pytest.approx(together[picture, "cross"].probability, rel=1e-3)


def test_words_for_the_bundle_are_known_without_its_encoders(cli: Cli, world: World, run: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("star\torange\nReds\tscarlet\n")
    out = tmp_path / "run"
    assert cli(*world.train_arguments(out), *sets("training.epochs=1"), "--vocabulary", words, "--quiet").code == 0
    vocabulary = tagprism.load(out).vocabulary
    assert vocabulary.names_of("other") == ("star",)
    assert vocabulary.aliases == {"star": ("orange",), "red": ("Reds", "scarlet")}
    assert vocabulary.names[vocabulary.index("scarlet")] == "red"


def test_an_interrupted_calibration_continues_to_the_same_bits(
    world: World, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tagprism.app.commands.train import train
    from tagprism.training import fit as training_fit

    _, data, _, split = world.on(0)
    arguments = (world.recipe, data, split, tmp_path / "run", CALIBRATED, None, None, None, None, False, True)
    fit, calls = training_fit.fit, []

    def stopped(*given: object, **named: object) -> object:
        calls.append(given)
        if len(calls) == 3:  # the whole network, then the folds
            raise KeyboardInterrupt
        return fit(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(training_fit, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(*arguments)
    monkeypatch.setattr(training_fit, "fit", fit)
    assert train(*arguments) == 0
    name = "bundle/calibration.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (("calibration.folds=0",), "folds = 0"),
        (("training.validation=0",), "no validation pictures"),
        (("training.end_to_end=true", "training.workers=0"), "End-to-end"),
    ],
)
def test_a_run_without_calibration_says_why(
    settings: tuple[str, ...], reason: str, cli: Cli, world: World, tmp_path: Path
) -> None:
    changed = sets("calibration.folds=2", "training.epochs=1", *settings)
    done = cli(*world.train_arguments(tmp_path / "run"), *changed)
    assert done.code == 0 and "no probabilities were fitted" in done.err and reason in done.err
    assert reason in Bundle(tmp_path / "run").config.provenance["no_calibration"]
