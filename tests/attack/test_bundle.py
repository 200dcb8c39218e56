"""A bundle by an attacker, whose digests fit: each way to hang, to fill the memory, to lie or to read other files."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagprism.bundle.card import CARD
from tagprism.bundle.config import CONFIG, MODEL
from tagprism.files import digest_file
from tagprism.onnx_graph import SECONDS_VARIABLE
from tests.command_line import tagprism
from tests.small_world import World

pytestmark = pytest.mark.slow

onnx = pytest.importorskip("onnx", reason="the graphs are made with onnx, of the extra [train]")
helper, FLOAT, INT64, BOOL = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL

VECTORS, WIDTH, SIZE = 3, 13, 64  # of the world's bundle
SECRET = "the words of another file"
IMPATIENT = {SECONDS_VARIABLE: "1"}


def node(kind: str, inputs: str, outputs: str, **settings: object) -> object:
    """A node, with its inputs and outputs in one text each."""
    return helper.make_node(kind, inputs.split(","), outputs.split(","), **settings)


def looping() -> list[object]:
    """A loop that goes on for as long as a picture's mean is above `bright`: for ever, or not at all."""
    shown = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", INT64), ("c", BOOL))]
    rows = [helper.make_tensor_value_info(name, FLOAT, None) for name in ("v", "w")]
    again = helper.make_tensor_value_info("d", BOOL, [])
    body = helper.make_graph(
        [node("Identity", "c", "d"), node("Identity", "v", "w")], "body", [*shown, rows[0]], [again, rows[1]]
    )
    loop = node("Loop", ",white,plain", "output", body=body, name="\x1b]52;c;bmFtZQ==\x07")
    return [node("ReduceMax", "mean", "most", keepdims=0), node("Greater", "most,bright", "white"), loop]


TROUBLES: dict[str, Callable[[], list[object]]] = {
    "none": lambda: [node("Identity", "plain", "output")],
    "loop": looping,
    "memory": lambda: [
        node("Expand", "mean,forty_gigabytes", "large"),
        node("ReduceMax", "large", "largest", keepdims=0),
        node("Add", "plain,largest", "output"),
    ],
    "nan": lambda: [node("Sub", "plain,plain", "zero"), node("Div", "zero,zero", "output")],
    "infinity": lambda: [node("Sub", "plain,plain", "zero"), node("Div", "ones,zero", "output")],
    "rows": lambda: [node("ReduceMax", "plain", "output", axes=[0], keepdims=1)],
    "sizes": lambda: [node("Slice", "plain,from,to,axis", "output")],
}


def write_network(path: Path, trouble: str, bright: float) -> None:
    """A network of the right shape that makes the trouble."""
    scale = np.random.default_rng(0).standard_normal((1, VECTORS, WIDTH)).astype(np.float32)
    constants = {
        "scale": scale,
        "ones": np.ones_like(scale),
        "column": np.array([-1, 1, 1]),
        "bright": np.float32(bright),
        "forty_gigabytes": np.array([1, 10_000, 1000, 1000]),
        "from": np.array([0]),
        "to": np.array([WIDTH - 1]),
        "axis": np.array([2]),
    }
    graph = helper.make_graph(
        [
            node("ReduceMean", "pixels", "mean", axes=[1, 2, 3], keepdims=1),
            node("Reshape", "mean,column", "row"),
            node("Mul", "row,scale", "plain"),
            *TROUBLES[trouble](),
        ],
        "network",
        [helper.make_tensor_value_info("pixels", FLOAT, ["B", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("output", FLOAT, ["B", VECTORS, WIDTH])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.fixture
def bundle(world: World, tmp_path: Path) -> Callable[[str], Path]:
    """Make a bundle whose network makes a trouble, as whoever made the bundle could."""

    def make(trouble: str) -> Path:
        folder = tmp_path / f"{trouble}.bundle"
        shutil.copytree(world.run / "bundle", folder)
        (folder / MODEL).unlink()
        settings = json.loads((folder / CONFIG).read_text())["preprocess"]
        mean, deviation = (np.array(settings[name]) for name in ("mean", "std"))
        write_network(folder / MODEL, trouble, float(((0.95 - mean) / deviation).mean()))
        redigest(folder)
        return folder

    return make


def redigest(bundle: Path) -> None:
    """Make the digests fit."""
    config = json.loads((bundle / CONFIG).read_text())
    config["digests"] = {name: digest_file(bundle / name) for name in config["digests"]}
    config["calibration"] = None  # it was of the network that was there
    (bundle / CONFIG).write_text(json.dumps(config))


@pytest.fixture
def white(tmp_path: Path) -> Path:
    """The picture at which the loop does not end."""
    Image.new("RGB", (80, 80), "white").save(tmp_path / "white.png")
    return tmp_path / "white.png"


def refused(*arguments: str | Path, words: tuple[str, ...], environment: dict[str, str] | None = None) -> None:
    """The command ends soon, with one clear error, no data, and nothing that commands the terminal."""
    began = time.monotonic()
    done = tagprism(*arguments, environment=environment)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (2, b""), said
    assert "Traceback" not in said and "bug" not in said and said.count("error ") == 1
    assert all(word in said for word in words), said
    assert said.replace("\n", "").isprintable()
    assert time.monotonic() - began < 120


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("loop", (MODEL, "took more than 1 s of processor time", SECONDS_VARIABLE)),
        ("memory", (MODEL, "more memory than there is")),
        ("nan", (MODEL, "not finite", "NaN")),
        ("infinity", (MODEL, "not finite")),
        ("rows", (MODEL, "no row for each of")),
        ("sizes", (MODEL, "not a network that gives records")),
    ],
)
def test_a_network_that_makes_trouble_is_one_clear_error(
    trouble: str, words: tuple[str, ...], bundle: Callable[[str], Path], white: Path, world: World, tmp_path: Path
) -> None:
    hostile, photos = bundle(trouble), [white, world.pictures()[0]]
    refused("tag", *photos, "-m", hostile, "--format", "jsonl", words=words, environment=IMPATIENT)
    refused("index", *photos, "-m", hostile, "--into", tmp_path / "index", words=words, environment=IMPATIENT)
    arguments = ("--into", tmp_path / "copy", "--photos", photos[0], "--photos", photos[1], "--precision", "int8")
    refused("export", hostile, *arguments, words=words, environment=IMPATIENT)
    assert not (tmp_path / "copy").exists()


def test_the_same_network_without_trouble_is_used(bundle: Callable[[str], Path], white: Path) -> None:
    done = tagprism("tag", white, "-m", bundle("none"), "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tags"]


def test_a_server_outlives_a_picture_at_which_its_network_hangs(
    bundle: Callable[[str], Path], white: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi", reason="the server needs the extra [serve]")
    from tests.server.served import make_index, serving

    monkeypatch.setenv(SECONDS_VARIABLE, "1")
    photos = tmp_path / "photos"
    shutil.copytree(world.data / "images" / "0", photos)
    index = make_index(tmp_path / "photos.index", photos, str(bundle("loop")))
    refused("search", index, "--like", white, words=(MODEL, "took more than 1 s"), environment=IMPATIENT)
    with serving(index) as client:
        answer = client.post("/api/tag", files={"file": ("white.png", white.read_bytes())})
        assert answer.status_code == 422, answer.text
        assert "took more than 1 s" in answer.json()["error"]["what"]
        photo = world.pictures()[0].read_bytes()
        assert client.post("/api/tag", files={"file": ("photo.png", photo)}).status_code == 200


@pytest.mark.parametrize("place", [CARD, "text/words/notes.txt", "text/words/folder"])
def test_a_link_to_another_file_is_not_followed_into_an_export(place: str, world: World, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "secret.txt").write_text(SECRET)
    hostile = tmp_path / "bundle"
    shutil.copytree(world.run / "bundle", hostile)
    (folder,) = (hostile / "text").glob("*/encoder.json")
    link = hostile / place.replace("text/words", f"text/{folder.parent.name}")
    link.unlink(missing_ok=True)
    link.symlink_to(private if place.endswith("folder") else private / "secret.txt")
    arguments = ("export", hostile, "--into", tmp_path / "copy", "--photos", world.data / "images", "--text")
    refused(*arguments, words=(link.name, "leads out of the bundle"))
    assert not (tmp_path / "copy").exists()
    link.unlink()
    assert tagprism(*arguments).returncode == 0


def test_the_links_of_a_hubs_cache_are_followed(world: World, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    shutil.copytree(world.run / "bundle", snapshot)
    blob = tmp_path / "models--a--b" / "blobs" / "4567"
    blob.parent.mkdir()
    (snapshot / CARD).rename(blob)
    blob.write_text("# A card of the hub\n")
    (snapshot / CARD).symlink_to(Path("..", "..", "blobs", blob.name))
    done = tagprism("export", snapshot, "--into", tmp_path / "copy", "--photos", world.data / "images")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy" / CARD).read_text().startswith("# A card of the hub\n")
