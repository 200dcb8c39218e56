"""CLIP as backbone and as label space, from pictures to a table, with a small random model from a local folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tagprism.comparing.experiment import Experiment
from tagprism.comparing.methods import Method, baseline
from tagprism.datasets.registry import open_dataset
from tagprism.datasets.splits import load_split
from tagprism.evaluation.metrics import mean_average_precision
from tagprism.tagging.tagger import load
from tagprism.training.recipe import load_recipe
from tests.app.conftest import Cli
from tests.command_line import tagprism
from tests.small_clip import make_clip, theirs
from tests.small_world import World

pytestmark = pytest.mark.slow

PROMPT = "a photo of a {}."
RECIPE = """
name = "clip"
[labels]
parts = [{{ encoder = "{spec}", template = "{prompt}" }}]
[model]
backbone = "{spec}"
vectors = 3
rows_from = "{rows_from}"
prior = 100
[training]
epochs = 2
batch_size = 8
validation = 0.4
[calibration]
folds = 2
"""
PHRASE = "a sailing boat at sunset"


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_clip(tmp_path_factory.mktemp("clip") / "small")


@pytest.fixture(scope="module", params=["pooled", "patches"])
def run(
    request: pytest.FixtureRequest,
    spec: str,
    world: World,
    tmp_path_factory: pytest.TempPathFactory,
    cache_folder: Path,
) -> Path:
    """A run on CLIP."""
    folder = tmp_path_factory.mktemp(request.param)
    recipe = folder / "clip.toml"
    recipe.write_text(RECIPE.format(spec=spec, prompt=PROMPT, rows_from=request.param))
    arguments = ("train", str(recipe), *world.on(0), "--out", str(folder / "run"), "--quiet")
    trained = tagprism(*arguments, environment={"TAGPRISM_CACHE": str(cache_folder)})
    assert (trained.returncode, trained.stdout, trained.stderr) == (0, b"", b"")
    return folder / "run"


def their_words(spec: str, names: list[str] | tuple[str, ...]) -> np.ndarray:
    model, _, tokenise = theirs(spec)
    tokens = tokenise([PROMPT.format(name) for name in names])
    with torch.inference_mode():
        vectors: np.ndarray = model.encode_text(tokens, normalize=True).numpy()
    return vectors


def test_a_bundle_reads_own_words_without_torch_as_open_clip_does(run: Path, spec: str, world: World) -> None:
    code = f"""
import json, sys
from pathlib import Path
import numpy as np
import tagprism
tagger = tagprism.load({str(run / "bundle")!r})
(row,) = tagger.tag([{str(world.pictures()[0])!r}], labels=["red", {PHRASE!r}], top_k=2)
print(json.dumps([sorted(tag.label for tag in row.tags), tagger.calibrated, tagger.embed([{PHRASE!r}])[0].tolist()]))
assert not {{"torch", "open_clip", "timm"}} & set(sys.modules)
"""
    nowhere = {**os.environ, "TAGPRISM_CACHE": str(run / "no-cache")}  # the bundle alone must do
    done = subprocess.run([sys.executable, "-c", code], check=True, env=nowhere, capture_output=True)
    tags, calibrated, vector = json.loads(done.stdout)
    assert tags == sorted(["red", PHRASE]) and calibrated
    np.testing.assert_allclose(vector, their_words(spec, [PHRASE])[0], atol=1e-4)


def test_onnx_and_torch_agree_and_the_card_says_where_it_comes_from(run: Path, cli: Cli, world: World) -> None:
    results = [
        json.loads(cli("evaluate", run, *world.on(0), "--engine", engine, "--format", "json", "--quiet").out)
        for engine in ("onnx", "torch")
    ]
    for task in ("zsl", "gzsl"):
        assert results[0][task]["mAP"] == pytest.approx(results[1][task]["mAP"], abs=0.5)
    assert "no label is certainly unseen by it" in (run / "bundle/README.md").read_text()
    assert load(run).preprocess.resize == "crop"


def test_it_is_stored_in_halves_but_not_in_int8_and_has_no_places(
    run: Path, cli: Cli, world: World, tmp_path: Path
) -> None:
    photos = world.data / "images"
    exported = cli("export", run, "--into", tmp_path / "half", "--precision", "fp16", "--photos", photos, "--quiet")
    assert exported.code == 0, exported.err
    cli("export", run, "--into", tmp_path / "int8", "--precision", "int8", "--photos", photos).refused("too few convol")
    picture = world.pictures()[0]
    cli("tag", picture, "--model", run, "--explain", tmp_path / "sheets").refused("cannot say where in a picture")


def test_rows_begin_as_plain_clip(spec: str, world: World, tmp_path: Path) -> None:
    """Untrained and raw, the model ranks as open_clip's own cosines of open_clip's own pictures and words."""
    table = open_dataset(f"tagged:{world.data}")
    split = load_split(f"{world.data}/splits.json#0", table)
    recipe = tmp_path / "clip.toml"
    recipe.write_text(RECIPE.format(spec=spec, prompt=PROMPT, rows_from="pooled"))
    experiment = Experiment(table, split, ks=(3,))
    untrained = ("training.learning_rate=1e-12", "training.weight_decay=0", "model.standardise=false")
    start = experiment.run(Method("untrained", load_recipe(recipe, untrained)))
    plain = experiment.run(baseline(spec, load_recipe(recipe)))
    for ours, its in zip(start.per_label, plain.per_label, strict=True):
        assert ours.average_precision == pytest.approx(its.average_precision, abs=2)
    model, transform, _ = theirs(spec)
    names, rows = (*split.seen, *split.unseen), table.rows_of(split.test)
    with torch.inference_mode():
        pictures = torch.stack([transform(Image.open(table.files[int(row)]).convert("RGB")) for row in rows])
        cosines = model.encode_image(pictures, normalize=True).numpy() @ their_words(spec, names).T
    expected = mean_average_precision(cosines, table.targets(rows, names))
    assert plain.gzsl.labelled.mean_ap == pytest.approx(expected, abs=3)  # another decoder of the same small drawings
    assert plain.label_encoder == spec


def test_the_table_says_whether_plain_clip_is_beaten(spec: str, world: World, cli: Cli, tmp_path: Path) -> None:
    recipe = tmp_path / "clip.toml"
    recipe.write_text(RECIPE.format(spec=spec, prompt=PROMPT, rows_from="patches"))
    named = ("compare", recipe, "--data", f"tagged:{world.data}", "--split", world.data / "splits.json")
    command = (*named, "--baseline", spec, "--baseline", "decoder", "--baseline", "ridge", "--quiet")
    table = cli(*command, "--out", tmp_path / "kept", "--format", "markdown")
    assert table.code == 0, table.err
    assert "| CLIP small |" in table.out
    found = json.loads(cli(*command, "--out", tmp_path / "kept", "--format", "json").out)
    (said,) = found["verdicts"]
    assert said in table.out and said.startswith("clip ") and "CLIP small" in said
    differences = [
        ours["gzsl"]["mAP"] - its["gzsl"]["mAP"]
        for ours, its in zip(found["methods"]["clip"], found["methods"]["CLIP small"], strict=True)
    ]
    assert f"GZSL mAP {np.mean(differences):+.1f}" in said


def test_a_prior_needs_the_text_tower_in_the_label_space(spec: str, world: World, cli: Cli, tmp_path: Path) -> None:
    changed = ("--set", f"model.backbone={spec}", "--set", "model.prior=100", "--set", "model.image_size=48")
    cli("train", world.recipe, *world.on(0), "--out", tmp_path / "run", *changed).refused(
        "its text tower in the label space", "model.prior"
    )
