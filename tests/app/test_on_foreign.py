"""SDL on top of a public CLIP, from a recipe to tags: the bundle refers to the foreign files, and needs no torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.command_line import python
from tests.command_line import tagprism as command
from tests.small_foreign import make_immich
from tests.small_world import World

pytestmark = pytest.mark.slow
PHOTO = Path(__file__).parents[1] / "photos/chelsea.jpg"
COMMIT = "3" * 40
RECIPE = """
name = "on top"
[labels]
parts = [{{ encoder = "{spec}", template = "a photo of a {{}}" }}]
[model]
backbone = "{spec}"
vectors = 3
prior = 100
[training]
epochs = 2
batch_size = 8
validation = 0
[calibration]
folds = 0
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_immich(tmp_path_factory.mktemp("models") / "small-clip").folder


@pytest.fixture(scope="module")
def there(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a machine without a network, in whose hub's cache the model is."""
    home = tmp_path_factory.mktemp("hub")
    kept = home / "hub/models--owner--small-clip"
    shutil.copytree(clip, kept / f"snapshots/{COMMIT}")
    (kept / "refs").mkdir()
    (kept / "refs/main").write_text(COMMIT)
    offline = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    return offline | {"HF_HOME": str(home), "TAGPRISM_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def run(there: dict[str, str], world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the model of the hub."""
    folder = tmp_path_factory.mktemp("run")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(spec="onnx:hf-hub:owner/small-clip"))
    done = command("train", recipe, *world.on(0), "--out", folder / "run", "--quiet", environment=there)
    assert done.returncode == 0, done.stderr.decode()
    return folder / "run"


def test_the_bundle_holds_the_head_alone_and_pins_the_revision(run: Path, clip: Path) -> None:
    config = json.loads((run / "bundle/config.json").read_text())
    assert config["format"] == 3 and config["foreign"]["name"] == f"hf-hub:owner/small-clip@{COMMIT}"
    assert set(config["foreign"]["files"]) > {"visual/model.onnx", "textual/model.onnx"}
    size = sum(file.stat().st_size for file in (run / "bundle").rglob("*") if file.is_file())
    assert size < (clip / "visual/model.onnx").stat().st_size


def test_it_tags_words_of_its_own_without_torch(run: Path, there: dict[str, str]) -> None:
    code = (
        "import os, sys\n"
        f"os.environ.update({there!r})\n"
        "import tagprism\n"
        "tagger = tagprism.load(sys.argv[1])\n"
        "(row,) = tagger.tag([sys.argv[2]], ['a sailing boat', 'red', 'birthday cake'], top_k=3)\n"
        "assert len(row.tags) == 3, row\n"
        "assert not {'torch', 'timm', 'open_clip'} & set(sys.modules), 'torch'\n"
    )
    done = python(code, run, PHOTO)
    assert done.returncode == 0, done.stderr.decode()


def test_evaluate_index_and_search(run: Path, there: dict[str, str], world: World, tmp_path: Path) -> None:
    done = command("evaluate", run, *world.on(0), "--format", "json", "--quiet", environment=there)
    assert done.returncode == 0 and json.loads(done.stdout)["gzsl"]["mAP"] > 0, done.stderr.decode()
    into = tmp_path / "index"
    made = command("index", PHOTO.parent, "--into", into, "--model", run, "--quiet", environment=there)
    assert made.returncode == 0, made.stderr.decode()
    found = command("search", into, "red AND NOT sailing boat", "--format", "jsonl", environment=there)
    assert len(found.stdout.splitlines()) == 5, found.stderr.decode()


def test_compare_of_finished_models_without_torch(run: Path, there: dict[str, str], clip: Path, world: World) -> None:
    code = (
        "import os, runpy, sys\n"
        f"os.environ.update({there!r})\n"
        "sys.modules.update(torch=None, timm=None, lightning=None, onnx=None, open_clip=None)\n"
        "sys.argv[0] = 'tagprism'\n"
        "runpy.run_module('tagprism', run_name='__main__')\n"
    )
    arguments = ("compare", "--model", run, "--model", clip, *world.on(0), "--format", "json", "--quiet")
    done = python(code, *arguments)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert set(found["methods"]) == {"run", "small-clip"}
    (verdict,) = found["verdicts"]
    assert "run " in verdict and "small-clip" in verdict
    refused = python(code, "compare", world.recipe, *world.on(0))
    assert refused.returncode == 2 and b"tagprism[train]" in refused.stderr


def test_missing_and_changed_files_are_told(run: Path, there: dict[str, str], clip: Path, tmp_path: Path) -> None:
    tag = ("tag", PHOTO, "--model", run, "--top-k", "2", "--format", "jsonl", "--quiet")
    gone = command(*tag, environment=there | {"HF_HOME": str(tmp_path / "empty")})
    assert gone.returncode == 2
    assert f"tagprism models fetch hf-hub:owner/small-clip@{COMMIT}" in " ".join(gone.stderr.decode().split())
    changed = tmp_path / "changed"
    shutil.copytree(there["HF_HOME"], changed, symlinks=True)
    graph = changed / f"hub/models--owner--small-clip/snapshots/{COMMIT}/visual/model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    other = command(*tag, environment=there | {"HF_HOME": str(changed)})
    assert other.returncode == 2 and b"visual/model.onnx is missing or another file" in other.stderr
    into = tmp_path / "whole"
    export = ("export", run, "--into", into, "--photos", PHOTO.parent, "--quiet")
    small = command(*export, "--precision", "int8", environment=there)
    assert small.returncode == 2 and b"there is no int8 form" in small.stderr
    made = command(*export, "--with-network", environment=there)
    assert made.returncode == 0, made.stderr.decode()
    words = tmp_path / "words.txt"
    words.write_text("a sailing boat\n")
    alone = there | {"HF_HOME": str(tmp_path / "empty"), "TAGPRISM_CACHE": str(tmp_path / "fresh")}
    whole = command(*tag[:3], into, *tag[4:], "--labels", words, environment=alone)
    assert whole.returncode == 0, whole.stderr.decode()
    assert json.loads(whole.stdout)["tags"][0]["label"] == "a sailing boat"
    index = ("index", PHOTO, "--into", tmp_path / "index", "--model", run, "--quiet")
    assert command(*index, environment=there).returncode == 0
    search = ("search", tmp_path / "index", "a sailing boat", "--model", into, "--format", "jsonl")
    assert command(*search, environment=alone).returncode == 0  # the same numbers: the index is handed on with it
    damaged = into / "network/model/textual/model.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    refused = command(*tag[:3], into, *tag[4:], environment=alone)
    assert refused.returncode == 2 and b"textual/model.onnx is missing or another file" in refused.stderr


def test_the_plain_model_is_a_rival_and_an_untrained_head_equals_it(
    clip: Path, there: dict[str, str], world: World, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(spec=f"onnx:{clip}"))
    arguments = ("compare", recipe, *world.on(0), "--baseline", "plain", "--quiet", "--format", "json")
    still = ("--set", "training.learning_rate=1e-30", "--set", "training.weight_decay=0")
    done = command(*arguments, *still, environment=there)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    (own, plain) = (found["methods"][name][0]["gzsl"]["mAP"] for name in ("on top", "plain small-clip"))
    assert own == pytest.approx(plain, abs=1e-3)
    (verdict,) = found["verdicts"]
    assert "on top is NOT SHOWN to beat plain small-clip" in verdict
    none = command("compare", world.recipe, *world.on(0), "--baseline", "plain", environment=there)
    assert none.returncode == 2 and b"no text network" in none.stderr
