"""The command line as people meet it: processes, pipes, exit codes, and what goes to stdout and to stderr."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.conftest import Cli
from tests.command_line import python, tagprism
from tests.odd_pictures import DAMAGED, draw_odd_pictures
from tests.small_world import LABELS, UNSEEN, World

_PLAIN = {"image_set", "images", "labels", "labels_without_positive", "positives_per_image"}
_PLAIN |= {"mAP", "mAP_weighted", "chance_mAP"}
_AT_K = ("P", "R", "F1", "constant_F1", "ceiling_F1")

WITHOUT_TRAINING = """
import importlib.machinery, sys
missing = {"torch", "torchvision", "timm", "lightning", "transformers", "onnx", "onnxscript", "tomli_w", "sklearn"}
finder = importlib.machinery.PathFinder
find = finder.find_spec
finder.find_spec = lambda name, *rest: None if name.partition(".")[0] in missing else find(name, *rest)
from tagprism.app.cli import main
main()
"""


def test_the_run_tells_what_it_was_made_from(world: World) -> None:
    assert {path.name for path in world.run.iterdir()} == {
        *(
            "recipe.toml",
            "data.json",
            "skipped.json",
            "weights.safetensors",
            "checkpoints",
            "bundle",
            "pictures.json",
            "split.json",
        ),
    }
    assert json.loads((world.run / "skipped.json").read_text()) == {}
    config = json.loads((world.run / "bundle/config.json").read_text())
    origin = config["provenance"]
    assert (config["vectors"], config["dimension"], config["standardised"]) == (3, 12, True)
    assert set(config["seen"]) == set(LABELS) - set(UNSEEN)
    assert origin["recipe"]["name"] == "small" and origin["seed"] == 3
    assert {"torch", "timm", "lightning", "numpy"} < origin["versions"].keys()
    assert origin["training_images"] + origin["validation_images"] == 42
    assert 0 <= origin["validation_mAP"] <= 100
    for digest in ("data", "split_digest", "vocabulary", "backbone_weights"):
        assert re.fullmatch("[0-9a-f]{64}", origin[digest])
    card = (world.run / "bundle/README.md").read_text()
    assert all(word in card for word in ("# small", "licence", "seed 3", "Limits", "red"))


def test_evaluate_writes_json_and_nothing_else_to_stdout(world: World) -> None:
    done = tagprism("evaluate", world.run, *world.on(0), "--format", "json", "--k", "1", "--k", "2")
    assert done.returncode == 0
    assert b"looking at pictures" in done.stderr
    result = json.loads(done.stdout)
    keys = _PLAIN | {f"{name}@{k}" for name in _AT_K for k in (1, 2)}
    for task, labels in (("zsl", 2), ("gzsl", 8)):
        assert keys <= result[task].keys()
        assert keys <= result[task]["all"].keys()
        assert (result[task]["image_set"], result[task]["all"]["image_set"]) == ("labelled", "all")
        assert (result[task]["labels"], result[task]["all"]["images"]) == (labels, 22)
    assert result["leak"] is False
    assert result["provenance"]["engine"] == "onnx"


def test_names_of_any_bytes_survive(world: World, tmp_path: Path) -> None:
    picture = world.pictures()[0].read_bytes()
    names = [b"caf\xe9 \xff.png", "snow ☃ \U0001f98a.png".encode(), b"[bold]tab\tnew\nline.png", b"--quiet.png"]
    folder = os.fsencode(tmp_path)
    for name in names:
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(picture)
    done = tagprism("tag", *(folder + b"/" + name for name in names), "-m", world.run, "--format", "jsonl")
    assert done.returncode == 0
    rows = [json.loads(line) for line in done.stdout.decode("ascii").splitlines()]
    assert [os.fsencode(row["path"]) for row in rows] == [folder + b"/" + name for name in names]
    assert len({tuple(tag["label"] for tag in row["tags"]) for row in rows}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "table"])
def test_damaged_pictures_of_odd_names_are_listed(format: str, world: World, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff[red].png"))
    odd.write_bytes(b"no picture")
    paths = world.pictures()[0], os.fsencode(odd)
    wide = {"COLUMNS": "400"}
    done = tagprism("tag", *paths, "-m", world.run, "--format", format, "--quiet", environment=wide)
    assert done.returncode == 4
    assert rb"\xff[red].png: The file is not a picture" in done.stderr
    assert rb"\xff[red].png" in done.stdout


@pytest.mark.slow
def test_quiet_says_nothing_on_stderr(world: World) -> None:
    for command in (("evaluate", world.run, *world.on(0)), ("tag", world.pictures()[0], "-m", world.run)):
        done = tagprism(*command, "--quiet")
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\x1b" not in done.stdout  # not a terminal: no colours


@pytest.mark.slow
def test_no_color_is_respected(tmp_path: Path) -> None:
    coloured, plain = (
        tagprism("tag", tmp_path, "-m", tmp_path, environment={"FORCE_COLOR": "1"} | more).stderr
        for more in ({}, {"NO_COLOR": "1"})
    )
    colour = rb"\x1b\[[0-9;]*3[0-7]m"
    assert re.search(colour, coloured)
    assert not re.search(colour, plain)
    assert b"is not a bundle" in plain


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Usage"),
        (("nonsense",), "nonsense"),
        (("tag",), "paths"),
        (("tag", "x.png", "-m"), "-m"),
        (("tag", "x.png", "-m", "run", "--top-k", "0"), "--top-k"),
        (("tag", "x.png", "-m", "run", "--format", "xml"), "xml"),
        (("evaluate", "run"), "--data"),
    ],
)
def test_usage_errors_exit_with_2(arguments: tuple[str, ...], words: str, cli: Cli) -> None:
    done = cli(*arguments)
    assert done.code == 2 and words in done.out + done.err
    assert "Traceback" not in done.err


def test_a_usage_error_of_a_process() -> None:
    done = tagprism("nonsense")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"nonsense" in done.stderr and b"Traceback" not in done.stderr


def test_help_is_quick_and_loads_neither_torch_nor_onnxruntime() -> None:
    code = (
        "import sys\nfrom tagprism.app import console\nfrom tagprism.app.cli import app\n"
        "console.run(lambda: app(['train', '--help'], standalone_mode=False))\n"
        "print(sorted({'torch', 'onnxruntime', 'pandas', 'timm'} & set(sys.modules)), file=sys.stderr)"
    )
    done = python(code)
    assert b"--print-config" in done.stdout
    assert done.stderr.strip() == b"[]"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_exits_with_6(world: World) -> None:
    command = [sys.executable, "-m", "tagprism", "tag", world.pictures()[0], "-m", world.run, "--format", "jsonl"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 6
    assert b"No space left" in done.stderr and b"Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_error(world: World) -> None:
    command = [sys.executable, "-m", "tagprism", "tag", world.data, "-m", world.run, "--format", "jsonl", "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.slow
def test_a_quiet_training_prints_nothing(world: World, tmp_path: Path) -> None:
    done = tagprism(*world.train_arguments(tmp_path / "run"), "--set", "training.epochs=1", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_using_a_model_needs_nothing_of_the_training(world: World, tmp_path: Path) -> None:
    pictures = draw_odd_pictures(tmp_path / "odd")
    words = tmp_path / "words.txt"
    words.write_text("orange\nstar\nred\n")
    for code, arguments in {
        0: ("evaluate", world.run, *world.on(0), "--format", "json"),
        4: ("tag", *pictures, world.data, "-m", world.run, "--labels", words),
    }.items():
        done = python(WITHOUT_TRAINING, *arguments, "--quiet")
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr
    for arguments in (("labels", "show", world.run), ("data", "info", f"tagged:{world.data}"), ("doctor",)):
        assert python(WITHOUT_TRAINING, *arguments).returncode == 0


@pytest.mark.parametrize(
    "command", [("train", "recipe.toml"), ("compare", "recipe.toml", "--data", "x"), ("demo",)], ids=lambda c: c[0]
)
def test_a_missing_extra_names_the_pip_line(
    command: tuple[str, ...], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    cli(*command).refused('pip install "tagprism[train]"')


def test_torch_engine_without_torch_names_the_pip_line(world: World) -> None:
    done = python(WITHOUT_TRAINING, "evaluate", world.run, *world.on(0), "--engine", "torch")
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    assert b'pip install "tagprism[train]"' in done.stderr.replace(b"\n", b" ")


@pytest.mark.slow
def test_where_torch_is_installed_using_does_not_load_it(world: World) -> None:
    code = (
        "import sys\nfrom tagprism.app import console\nfrom tagprism.app.cli import app\n"
        "code = console.run(lambda: app(sys.argv[1:], standalone_mode=False))\n"
        "print(code, 'torch' in sys.modules, file=sys.stderr)"
    )
    for arguments in (
        ("tag", world.pictures()[0], "-m", world.run, "--quiet"),
        ("evaluate", world.run, *world.on(0), "--quiet"),
    ):
        assert python(code, *arguments).stderr == b"0 False\n"


def test_every_damaged_picture_has_a_row_and_a_reason(world: World, tmp_path: Path) -> None:
    good, odd = world.pictures()[:2], draw_odd_pictures(tmp_path / "odd")
    paths = [good[0], *odd, good[1], tmp_path / "missing.png"]
    done = tagprism("tag", *paths, "-m", world.run, "--format", "jsonl")
    assert done.returncode == 4
    assert b"Traceback" not in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    expected = DAMAGED | {"missing.png": "missing"}
    found = {Path(row["path"]).name: row["error"]["code"] for row in rows if "error" in row}
    assert found == expected
    assert f"{len(expected)} pictures skipped".encode() in done.stderr
    for row in rows:
        if "error" in row:
            assert f"{row['path']}: {row['error']['message']}".encode() in done.stderr.replace(b"\n", b"")
        else:
            assert len(row["tags"]) == len(LABELS)
