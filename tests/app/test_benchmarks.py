"""Every benchmark runs: its help by itself, and its own code on a handful of made pictures."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tagprism.app.cli import app
from tagprism.search import contract
from tests.small_foreign import make_transformers_clip
from tests.small_world import World

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = sorted(file.stem for file in BENCHMARKS.glob("*.py"))
LIBRARIES = {"made_records", "measured_run", "row_forms"}  # of which others are made
SMALL = "test_efficientnet.r160_in1k"
Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a benchmark as a program, in this process, and gives what it prints."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for constant in ("FIRST_STAGE", "_BY_MEAN", "_CANDIDATES"):  # some set them, and would for all later tests
        monkeypatch.setattr(contract, constant, getattr(contract, constant))

    def called(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        capsys.readouterr()
        try:
            runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
        except SystemExit as stop:
            assert not stop.code, stop.code
        finally:
            for other in NAMES:  # what it took from another one, as `from made_records import ...`
                sys.modules.pop(other, None)
        return capsys.readouterr().out

    return called


@pytest.fixture(scope="module")
def photo_index(world: World, tmp_path_factory: pytest.TempPathFactory, cache_folder: Path) -> Path:
    """An index of the world's pictures by the model in the box."""
    where = tmp_path_factory.mktemp("benchmarked") / "photos.index"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as done:
        patch.setenv("TAGPRISM_CACHE", str(cache_folder))
        app(["index", str(world.data / "images"), "--into", str(where), "--quiet"])
    assert done.value.code == 0
    return where


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of records that the benchmarks of indexes make once."""
    return tmp_path_factory.mktemp("records") / "real.npz"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LIBRARIES])
def test_every_benchmark_says_how_it_is_run(name: str, run: Run) -> None:
    assert f"usage: {name}.py" in run(name, "--help")


@pytest.mark.slow
class TestOnARun:
    """Those that measure a trained run on its data."""

    def on(self, world: World) -> tuple[str, str]:
        return f"tagged:{world.data}", f"{world.data}/splits.json#0"

    def test_bundle_precision(self, run: Run, world: World) -> None:
        data, split = self.on(world)
        assert "int8" in run("bundle_precision", world.run, "--data", data, "--split", split)

    def test_calibration(self, run: Run, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        (tmp_path / "calibration").mkdir()
        for number in range(2):
            features, positive = random.standard_normal((400, 3), np.float32), np.arange(400) % 4 == 0
            tensors = {"features": features + positive[:, None].astype(np.float32), "positive": positive}
            save_file(tensors, tmp_path / f"calibration/fold_{number}.safetensors")
        assert "| deviations, score | logistic |" in run("calibration", tmp_path)

    def test_combining(self, run: Run, world: World, tmp_path: Path) -> None:
        choose = tmp_path / "choose.json"
        choose.write_text(run("combining", "split", *self.on(world)))
        assert set(json.loads(choose.read_text())) == {"seen", "unseen", "train", "test"}
        assert "(ours)" in run("combining", "measure", world.run, *self.on(world), "--least", 1)

    def test_neighbours(self, run: Run, world: World) -> None:
        assert "| unseen | 2 |" in run("neighbours", world.run, *self.on(world))

    def test_retrieval(self, run: Run, world: World) -> None:
        assert "| the evaluator |" in run("retrieval", world.run, *self.on(world))

    def test_views(self, run: Run, world: World) -> None:
        assert "| 2 |" in run("views", "photos-lite", world.data, "--pictures", 40, "--views", 2)

    def test_likely(self, run: Run, world: World) -> None:
        assert "48 pictures" in run("likely", "photos-lite", world.data, "--pictures", 48)

    def test_tagging(self, run: Run, world: World, tmp_path: Path) -> None:
        Image.open(world.pictures()[0]).save(tmp_path / "photo.jpg")
        sizes = ("--small", 2, "--large", 1, "--rounds", 1, "--stored", 100)
        assert "12 megapixels" in run("tagging", world.run, tmp_path, *sizes)

    def test_rows(self, run: Run, world: World, tmp_path: Path) -> None:
        data, split = self.on(world)
        its = ("--form", "M=1", "--form", "M=2 top=2", "--epochs", 1, "--full", "--out", tmp_path / "rows.jsonl")
        assert "| M=2 top=2 |" in run("rows", world.recipe, data, "--split", split, *its)

    def test_end_to_end(self, run: Run, world: World, tmp_path: Path) -> None:
        sets = ("--set", "training.epochs=1", "--forms", 1)
        assert "| frozen, 224 px, 20 epochs |" in run("end_to_end", world.recipe, *self.on(world), tmp_path, *sets)


@pytest.mark.slow
class TestOnIndexes:
    """Those that make an index, or search in one."""

    def test_growth(self, run: Run, world: World, records: Path, tmp_path: Path) -> None:
        its = ("--records", records, "--most", 3000, "--shrink", 100, "--plot", tmp_path / "growth.svg")
        printed = run("growth", world.data / "images", *its, "--leave", tmp_path / "left.index")
        kinds = {row["what"]: row["seconds"] for row in map(json.loads, printed.splitlines())}
        assert set(kinds["tag and taken:"]) == {"10", "30"} and {"identical copies", "tag, by labels"} < set(kinds)
        assert (tmp_path / "growth.svg").is_file() and (tmp_path / "left.index").is_dir()

    def test_search(self, run: Run, world: World, records: Path) -> None:
        pytest.importorskip("faiss")
        assert "faiss flat" in run(
            "search", world.data / "images", "--pictures", 300, "--rounds", 1, "--records", records
        )

    def test_a_growing_index(self, run: Run, world: World, records: Path, tmp_path: Path) -> None:
        its = ("--pictures", 0, "--leave", tmp_path / "left", "--most", 200, "--records", records)
        assert '"left"' in run("search", world.data / "images", *its)

    def test_server_candidates(self, run: Run, world: World, records: Path) -> None:
        assert run("server_candidates", world.data / "images", "--pictures", 200, "--records", records)

    def test_several_tags(self, run: Run, photo_index: Path) -> None:
        forms = [json.loads(line) for line in run("several_tags", photo_index, "--queries", 2).splitlines()]
        assert all(form["recall@100"] == 1 for form in forms)

    def test_phrases(self, run: Run, world: World, photo_index: Path, tmp_path: Path) -> None:
        labels = {path.name: ["beach", "dog", "snow"] for path in world.pictures()}
        (tmp_path / "labels.json").write_text(json.dumps(labels))
        assert "pairs" in run("phrases", photo_index, tmp_path / "labels.json")

    def test_search_server(self, run: Run) -> None:
        assert " x 200" in run("search_server", "--pictures", 50, "--clients", 2, "--seconds", 0.5)


@pytest.mark.slow
class TestAlone:
    """Those that bring or make what they measure."""

    def test_bulk(self, run: Run, world: World) -> None:
        assert run("bulk", "--sizes")
        assert json.loads(run("bulk", world.data / "images/0", "--by-hand", "--rounds", 1))

    def test_clip_in_ten_minutes(self, run: Run, world: World, tmp_path: Path) -> None:
        network = make_transformers_clip(tmp_path / "network").folder
        on = (f"tagged:{world.data}", "--split", f"{world.data}/splits.json#0", "--scratch", tmp_path / "scratch")
        assert "search" in run("clip_in_ten_minutes", network, *on, "--pictures", 52, "--plain")

    def test_definitions(self, run: Run, world: World, tmp_path: Path) -> None:
        data = b'00000000 04 n 01 circle 0 000 | a round shape; "a red circle"\n'
        (tmp_path / "data.noun").write_bytes(data)
        (tmp_path / "index.noun").write_text("  1 licence\ncircle n 1 0 1 0 00000000\n")
        run("definitions", tmp_path, f"tagged:{world.data}", tmp_path / "out")
        written = json.loads((tmp_path / "out/sentences.json").read_text())
        assert written["circle"] == ["a photo of circle", "circle: a round shape"]
        assert written["red"] == ["a photo of red"]

    def test_splits(self, run: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from tagprism.datasets import openclipart, registry

        table = registry.open_dataset(f"tagged:{world.data}")
        monkeypatch.setattr(openclipart, "open_openclipart", lambda: table)
        run("fresh_splits", f"tagged:{world.data}", tmp_path / "fresh.json")
        run("openclipart_random_splits", tmp_path / "random.json")
        assert [len(json.loads((tmp_path / f"{name}.json").read_text())) for name in ("fresh", "random")] == [8, 3]

    def test_loss(self, run: Run) -> None:
        assert "ours / bare product" in run("loss", "--rounds", 1, "--labels", 12, "--without", "(a)", "(d)")

    def test_one_picture(self, run: Run, world: World) -> None:
        assert "known words" in run("one_picture", world.pictures()[0], "--rounds", 1)

    def test_open_images(self, run: Run) -> None:
        assert "csv + dict" in run("open_images", "--rows", 2000)

    def test_places(self, run: Run) -> None:
        assert "with, asked for" in run("places", "--rounds", 1, "--batches", 1, "--backbone", SMALL)

    def test_random_siglip(self, run: Run, tmp_path: Path) -> None:
        run("random_siglip", tmp_path / "siglip", "--layers", 1)
        assert {path.name for path in (tmp_path / "siglip/onnx").iterdir()} == {"vision_model.onnx", "text_model.onnx"}

    def test_training_step(self, run: Run) -> None:
        small = ("--backbones", SMALL, "--batch", 2, "--rounds", 1, "--without-compile")
        assert "test_efficientnet" in run("training_step", *small)


def test_every_benchmark_is_named_by_a_page() -> None:
    root = BENCHMARKS.parent
    pages = [*(root / "docs").glob("*.md"), root / "README.md", root / "RESULTS.md"]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    text += "".join((BENCHMARKS / f"{name}.py").read_text(encoding="utf-8") for name in NAMES)
    assert [name for name in NAMES if name not in LIBRARIES and f"{name}.py" not in text] == []
