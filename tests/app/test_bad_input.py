"""Files that people got wrong: each a clear error with exit code 2 that names the place and the remedy."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from tagprism.files import digest_file, write_tensors
from tests.app.conftest import Cli
from tests.small_world import World

_ONE = "0/red_circle.png"


@pytest.fixture
def data(world: World, tmp_path: Path) -> Path:
    """A copy of the pictures, to be spoilt."""
    shutil.copytree(world.data, tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a.png": ["red"]', ("not JSON", "line 1")),
        (b"\xff\xfe{", ("not UTF-8",)),
        (b"[]", ("must be an object",)),
        (b"{}", ("at least one picture",)),
        (b'{"0/red_circle.png": "red"}', (_ONE, "expected a list of labels", "'red'")),
        (b'{"0/red_circle.png": [1]}', (_ONE, "a label must be words", "1")),
        (b'{"0/red_circle.png": [" "]}', (_ONE, "a label must be words")),
        (b'{"0/red_circle.png": null}', (_ONE, "None")),
        (b'{"0/red_circle.png": {"positives": ["red"]}}', (_ONE, '"positive"')),
        (b'{"0/red_circle.png": {"positive": ["red"], "negative": ["red"]}}', ("both positive and negative", "'red'")),
        (b'{"0/red_circle.png": ["red"], "0/red_circle.png": ["blue"]}', ("named twice",)),
        (b'{"0/red_circle.png": ["red", "Red"]}', ("'Red' and 'red' are the same",)),
        (b'{"../labels.json": ["red"]}', ("leads out of images/",)),
        (b'{"a.png": ["red"], "b.png": ["red"]}', ("none of the pictures", "a.png: missing")),
        (b'{"0/red_circle.png": []}', ("none of the pictures", "no_labels")),
        (None, ("cannot be read", "labels.json")),
    ],
)
def test_labels_json(text: bytes | None, words: tuple[str, ...], cli: Cli, world: World, data: Path) -> None:
    if text is None:
        (data / "labels.json").unlink()
    else:
        (data / "labels.json").write_bytes(text)
    cli(*world.train_arguments(data.with_name("run"), data)).refused("labels.json", *words)
    assert not data.with_name("run").exists()


@pytest.mark.parametrize("text", ["[]", '{"unlisted": "maybe"}', '{"other": 1}', "unknown"])
def test_dataset_json(text: str, cli: Cli, world: World, data: Path) -> None:
    (data / "dataset.json").write_text(text)
    cli("data", "info", f"tagged:{data}").refused("dataset.json", '{"unlisted": "negative"}')


def _with(**parts: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda split: split | parts


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_with(unseen=["purple", "cross"]), ("'unseen' names unknown labels: 'purple'",)),
        (_with(unseen=["red", "cross"]), ("both sides", "red / red")),
        (_with(test=["0/purple_circle.png"]), ("'test' names unknown pictures: '0/purple_circle.png'",)),
        (_with(test=[_ONE], val=[_ONE]), ("named twice", _ONE)),
        (_with(train=[]), ("'train' is empty",)),
        (_with(seen="red"), ("'seen' must be a list",)),
        (_with(seen=[1]), ("'seen' must be a list",)),
        (_with(sean=[]), ("unknown parts: 'sean'",)),
        (lambda split: {key: split[key] for key in ("seen", "train", "test")}, ("parts are missing: 'unseen'",)),
        (lambda split: "split", ("must be an object",)),
        (lambda split: [], ("holds 0 splits",)),
        (lambda split: [split, split], ("holds 2 splits", "#1")),
    ],
)
def test_split_file(
    spoil: Callable[[dict[str, Any]], Any], words: tuple[str, ...], cli: Cli, world: World, data: Path
) -> None:
    split = json.loads((data / "split.json").read_text())
    (data / "split.json").write_text(json.dumps(spoil(split)))
    command = ("--data", f"tagged:{data}", "--split", data / "split.json")
    cli("train", world.recipe, *command, "--out", data.with_name("run")).refused("split.json", *words)
    cli("evaluate", world.run, *command).refused("split.json", *words)


def test_a_plural_on_the_other_side(cli: Cli, world: World, data: Path) -> None:
    labels = json.loads((data / "labels.json").read_text())
    labels[_ONE].append("circles")
    (data / "labels.json").write_text(json.dumps(labels))
    split = json.loads((data / "split.json").read_text())
    (data / "split.json").write_text(json.dumps(split | {"unseen": ["circles"]}))
    cli("data", "info", f"tagged:{data}", "--split", data / "split.json").refused("both sides", "circle / circles")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "tagged:{data}", "--split", "{data}/splits.json#2"), ("holds 2 splits",)),
        (("--data", "tagged:{data}", "--split", "{data}/split.json#1"), ("one split, not a list",)),
        (("--data", "tagged:{data}", "--split", "{data}/nothing.json"), ("nothing.json", "cannot be read")),
        (("--data", "tagged:{data}", "--split", "{data}"), ("cannot be read",)),
        (("--data", "tagged:{data}/images", "--split", "x"), ("no folder images/",)),
        (("--data", "tagged:{data}/nothing", "--split", "x"), ("no such folder",)),
        (("--data", "paintings:{data}", "--split", "x"), ("no data set 'paintings:", "tagged:DIR")),
        (("--data", "tagged", "--split", "x"), ("no data set 'tagged'",)),
    ],
)
def test_names_of_data_and_split(
    arguments: tuple[str, ...], words: tuple[str, ...], cli: Cli, world: World, data: Path
) -> None:
    named = [argument.format(data=data) for argument in arguments]
    cli("train", world.recipe, *named, "--out", data.with_name("run")).refused(*words)
    cli("evaluate", world.run, *named).refused(*words)


def test_a_data_set_without_a_split(cli: Cli, world: World, data: Path) -> None:
    done = cli("train", world.recipe, "--data", f"tagged:{data}", "--out", data.with_name("run"))
    done.refused("no split of its own", "--split FILE#0")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "x"\n[model]\nvektors = 3', ("`model.vektors`", "Extra inputs", "--print-config")),
        ('name = "x"\nepochs = 3', ("`epochs`",)),
        ('name = "x"\n[model]\nvectors = 0', ("`model.vectors`", "greater than or equal to 1")),
        ('name = "x"\n[model]\nvectors = "many"', ("`model.vectors`", "integer")),
        ('name = "x"\nmodel = 3', ("`model`",)),
        ('name = "x"\n[training]\nlearning_rate = inf', ("`training.learning_rate`", "finite")),
        ('name = "x"\n[training]\nlearning_rate = nan', ("`training.learning_rate`",)),
        ('name = "x"\n[loss]\nregulariser_weight = 2', ("`loss.regulariser_weight`",)),
        ('name = "x"\n[labels]\nparts = []', ("`labels.parts`",)),
        ('name = "x"\n[labels]\nparts = [{encoder = "minilm", template = "a photo"}]', ("template", "{} once")),
        ("seed = 1", ("`name`", "required")),
        ("name = 3 4", ("not valid TOML", "line 1")),
        (b"\xff", ("cannot be read",)),
        (None, ("cannot be read", "No such file")),
    ],
)
def test_recipe(text: str | bytes | None, words: tuple[str, ...], cli: Cli, world: World, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    if text is not None:
        recipe.write_bytes(text if isinstance(text, bytes) else text.encode())
    cli("train", recipe, "--print-config").refused("recipe.toml", *words)
    cli("train", recipe, *world.on(0), "--out", tmp_path / "run").refused("recipe.toml", *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.vectors", ("key=value",)),
        ("=3", ("key=value",)),
        ("a.b.c=3", ("key=value",)),
        ("name.first=x", ("not a table",)),
        ("model.vectors=lots", ("`model.vectors`",)),
        ("model.backbone=mobilenett", ("no model `mobilenett`", "model.backbone")),
        ("model.weights=nowhere.safetensors", ("nowhere.safetensors", "existing .safetensors")),
        ('labels.parts=[{encoder="word2vec"}]', ("`word2vec` is not a label encoder", "file:PATH")),
        ('labels.parts=[{encoder="file:/nowhere.txt"}]', ("/nowhere.txt", "no such file")),
        ("labels.reduce=9", ("reduce = 9", "between 1 and")),
        ("training.precision=fp16", ("fp16 needs a GPU",)),
        ("training.validation=0.001", ("leaves a part empty",)),
    ],
)
def test_settings(setting: str, words: tuple[str, ...], cli: Cli, world: World, tmp_path: Path) -> None:
    cli(*world.train_arguments(tmp_path / "run"), "--set", setting, "--quiet").refused(*words)


@pytest.fixture
def run(world: World, tmp_path: Path) -> Path:
    """A copy of the run, to be spoilt."""
    shutil.copytree(world.run, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["model.onnx", "vocabulary.safetensors", "trained_on.safetensors"])
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "absent"])
def test_a_damaged_file_of_a_bundle(name: str, cut: bool, cli: Cli, world: World, run: Path) -> None:
    file = run / "bundle" / name
    if cut:
        file.write_bytes(file.read_bytes()[:-1])
    else:
        file.unlink()
    cli("tag", world.pictures()[0], "-m", run).refused(name, "damaged", "Copy the bundle again")
    cli("evaluate", run, *world.on(0)).refused(name)


def test_damaged_text_encoders_are_noticed_when_they_are_needed(cli: Cli, world: World, run: Path) -> None:
    (words,) = (run / "bundle/text").glob("*/words.safetensors")
    words.unlink()
    own = run / "own.txt"
    own.write_text("orange\n")
    assert cli("tag", world.pictures()[0], "-m", run).code == 0
    cli("tag", world.pictures()[0], "-m", run, "--labels", own).refused("words.safetensors", "Copy the bundle again")


def _config(**changes: Any) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | changes)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_config(format=4), ("bundle format 4", "reads formats 1 to 3", "Install")),
        (_config(format="1"), ("bundle format 1",)),
        (_config(vectors="many"), ("not a bundle's config",)),
        (_config(surprise=1), ("not a bundle's config",)),
        (_config(vectors=10**12), ("not a bundle's config", "vectors")),
        (_config(dimension=7), ("label vectors have 12 numbers",)),
        (_config(precision="int4"), ("not a bundle's config", "precision")),
        (_config(encoders={"words": "../../elsewhere"}), ("not a bundle's config", "encoders")),
        (_config(encoders={"../*": "words"}), ("not a bundle's config", "encoders")),
        (_config(encoder_digests={"words": "short"}), ("not a bundle's config", "encoder_digests")),
        (_config(digests={"../../secret": "0" * 64}), ("not a path inside the bundle",)),
        (_config(digests={"/etc/passwd": "0" * 64}), ("not a path inside the bundle",)),
        (_config(digests={"text/../../x": "0" * 64}), ("not a path inside the bundle",)),
        (_config(digests={"C:/x": "0" * 64}), ("not a file name that every system has",)),
        (_config(digests={"a\\..\\b": "0" * 64}), ("not a file name that every system has",)),
        (_config(digests={"n" * 300: "0" * 64}), ("not a file name that every system has",)),
        (_config(digests={"a\0b": "0" * 64}), ("not a path inside the bundle",)),
        (_config(digests={}), ("names no digest of model.onnx",)),
        (lambda text: text.replace('"vectors": 3', '"vectors": ' + "9" * 5000), ("not a bundle's config",)),
        (lambda text: "[" * 100_000, ("not a bundle's config",)),
        (_config(preprocess={"height": 0}), ("preprocessing cannot be used",)),
        (lambda text: text[:100], ("not a bundle's config",)),
        (lambda text: "[]", ("not a bundle's config",)),
        (lambda text: "{}", ("not a bundle's config",)),
    ],
)
def test_config_of_a_bundle(
    spoil: Callable[[str], str], words: tuple[str, ...], cli: Cli, world: World, run: Path
) -> None:
    config = run / "bundle/config.json"
    config.write_text(spoil(config.read_text()))
    cli("tag", world.pictures()[0], "-m", run).refused(*words)


def _redigested(bundle: Path) -> None:
    """Make the digests fit again, as whoever made the bundle could."""
    config = json.loads((bundle / "config.json").read_text())
    config["digests"] = {name: digest_file(bundle / name) for name in config["digests"]}
    (bundle / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.onnx", pickle.dumps({"never": "loaded"}), ("model.onnx", "not an ONNX model")),
        ("model.onnx", b"", ("model.onnx", "not an ONNX model")),
        ("vocabulary.safetensors", pickle.dumps([1]), ("vocabulary.safetensors", "not a readable safetensors")),
        ("vocabulary.safetensors", b"\xff" * 8 + b"{}", ("vocabulary.safetensors", "not a readable safetensors")),
        ("vocabulary.safetensors", save({"vectors": np.zeros((1, 1))}), ("not a tagprism vocabulary",)),
    ],
)
def test_a_hostile_bundle_whose_digests_fit(
    name: str, content: bytes, words: tuple[str, ...], cli: Cli, world: World, run: Path
) -> None:
    (run / "bundle" / name).unlink()
    (run / "bundle" / name).write_bytes(content)
    _redigested(run / "bundle")
    cli("tag", world.pictures()[0], "-m", run).refused(*words)


@pytest.mark.parametrize(
    ("header", "vectors"),
    [
        ({"names": 5, "roles": [], "aliases": {}}, np.zeros((1, 12), np.float32)),
        ({"names": [["red"]], "roles": ["seen"], "aliases": {}}, np.ones((1, 12), np.float32)),
        ({"names": ["red"], "roles": ["seen"], "aliases": {"red": 5}}, np.ones((1, 12), np.float32)),
        ({"names": ["red"], "roles": ["seen"], "aliases": []}, np.ones((1, 12), np.float32)),
        ({"names": ["red"], "roles": ["seen"], "aliases": {}}, np.ones(12, np.float32)),
        ({"names": ["red"], "roles": ["seen"], "aliases": {}}, np.ones((1, 12), np.int32)),
        ({"names": ["red"], "roles": ["seen"], "aliases": {}}, np.full((1, 12), np.inf, np.float16)),
        ({"names": ["red"], "roles": ["seen"], "aliases": {}}, np.ones((1, 13), np.float32)),
        ({"names": ["red"], "roles": [["seen"]], "aliases": {}}, np.ones((1, 12), np.float32)),
    ],
)
def test_a_hostile_vocabulary(header: dict[str, Any], vectors: np.ndarray, cli: Cli, world: World, run: Path) -> None:
    write_tensors(run / "bundle/vocabulary.safetensors", "vocabulary", 1, header, {"vectors": vectors})
    _redigested(run / "bundle")
    cli("tag", world.pictures()[0], "-m", run).refused("vocabulary")


def test_a_network_of_another_model(cli: Cli, world: World, run: Path) -> None:
    config = run / "bundle/config.json"
    config.write_text(_config(vectors=4)(config.read_text()))
    cli("tag", world.pictures()[0], "-m", run, "--format", "jsonl").refused("model.onnx", "its config says otherwise")


def test_weights_that_are_damaged_or_of_another_network(cli: Cli, world: World, run: Path) -> None:
    command = ("evaluate", run, *world.on(0), "--engine", "torch")
    weights = run / "weights.safetensors"
    shutil.copy(run / "bundle/vocabulary.safetensors", weights)
    cli(*command).refused("weights.safetensors", "does not hold this run's weights")
    weights.write_bytes(b"short")
    cli(*command).refused("weights.safetensors", "does not hold this run's weights")


def test_no_model_there(cli: Cli, world: World, run: Path, tmp_path: Path) -> None:
    picture = world.pictures()[0]
    cli("tag", picture, "-m", tmp_path / "nothing").refused("nothing", "Name a RUN or a BUNDLE")
    cli("tag", picture, "-m", picture).refused("is not a bundle")
    shutil.rmtree(run / "bundle")
    cli("tag", picture, "-m", run).refused("has not finished", "Run the same `tagprism train` again")
    cli("evaluate", run, *world.on(0)).refused("has not finished")


def test_a_damaged_checkpoint_is_named(cli: Cli, world: World, run: Path) -> None:
    shutil.rmtree(run / "bundle")
    (run / "checkpoints/last.ckpt").write_bytes(b"short")
    cli(*world.train_arguments(run), "--quiet").refused("last.ckpt", "Delete it to start over")


def test_a_report_in_place_of_a_folder(cli: Cli, world: World, tmp_path: Path) -> None:
    cli("evaluate", world.run, *world.on(0), "--report", tmp_path, "--quiet").refused("is there already")
    assert not any(tmp_path.iterdir())
