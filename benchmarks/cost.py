"""What accuracy costs: backbones, forms of the network, M and D against file size and speed, as a table and a plot.

    python benchmarks/cost.py recipes/corel5k.toml --data tagged:DIR --split FILE --work FOLDER --plot docs/cost.svg

Each point is the recipe with one thing changed. Settings are chosen by this, so it measures on validation pictures with
seen labels that play the unseen ones, a draw for each of the first `--splits` splits, and never on test data; fp16 and
int8 are held against their fp32 on the first split. What is done is kept in FOLDER, and the same call goes on. Speed:
processor time of one thread, so that a busy machine does less harm.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cost_plot import draw
from tagprism.app import console
from tagprism.bundle.bundle import MODEL
from tagprism.bundle.onnx_model import ASKED, PLACES, OnnxNetwork, RecordNetwork
from tagprism.comparing.compare import choosing_splits, run_method
from tagprism.comparing.experiment import Experiment
from tagprism.comparing.methods import Method
from tagprism.datasets.registry import open_data
from tagprism.datasets.splits import Split, split_names
from tagprism.datasets.table import ImageTable
from tagprism.errors import NothingToDoError
from tagprism.evaluation.evaluate import evaluate
from tagprism.evaluation.protocols import EvaluationProtocol
from tagprism.files import digest_json, link_or_copy, write_json
from tagprism.images.stream import process_pictures
from tagprism.network.quantise import quantise_network
from tagprism.provenance import made_with
from tagprism.tagging.tagger import load
from tagprism.training.recipe import Recipe, load_recipe
from tagprism.training.train import train

Form = Literal["fp32", "fp16", "int8"]
_LITE = [f"tf_efficientnet_lite{size}" for size in range(3)]
_UNION = f"model.backbone={json.dumps(_LITE)}"
_SIDES = ("zsl", "gzsl")
_SHARE, _RANGES, _BATCH, _ROUNDS = 0.25, 64, 16, 7


@dataclass(frozen=True)
class Point:
    """One row: the recipe with `sets` over it, and the forms of the network that are measured."""

    group: Literal["backbone", "M", "D"]
    name: str
    sets: tuple[str, ...]
    forms: tuple[Form, ...] = ("fp32",)


POINTS = (
    *(
        Point("backbone", f"Lite{size}", (f"model.backbone={name}",), ("fp32", "fp16", "int8"))
        for size, name in enumerate(_LITE)
    ),
    Point("backbone", "Lite0+1+2", (_UNION,), ("fp32", "fp16", "int8")),
    *(Point("M", str(rows), (f"model.vectors={rows}",)) for rows in (1, 2, 4, 7, 10, 14)),
    # `reduce` stops at the rank of the seen labels.
    *(Point("D", str(size), (f"labels.reduce={size}",)) for size in (64, 96, 128)),
    Point("D", "all", ()),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], help="over the recipe, for every point")
    given = parser.parse_args()
    names = split_names(given.split)[: given.splits]
    opened = [open_data(given.data, name) for name in names]
    table = opened[0][0]
    # As `compare --pseudo-unseen`, but one draw for each split.
    splits = [choosing_splits(split, _SHARE)[at % 5] for at, (_, split) in enumerate(opened)]
    rows = []
    for point in POINTS:
        general = [one for one in given.set if point.name != "all" or not one.startswith("labels.reduce")]
        recipe = load_recipe(given.recipe, (*general, *point.sets, "calibration.folds=0", "training.validation=0"))
        rows += list(_measured(point, recipe, table, splits, given.work))
    costs = _costs(rows, given.work)
    results = [row | cost for row, cost in zip(rows, costs, strict=True)]
    write_json(given.work / "cost.json", {"rows": results, "provenance": made_with()})
    print(_markdown(results))
    if given.plot:
        draw(results, given.plot)


def _measured(point: Point, recipe: Recipe, table: ImageTable, splits: list[Split], work: Path) -> Iterator[dict]:
    """A point's accuracy on every split, and its networks of the first one with what their forms lose there."""
    accuracy = []
    for split in splits:
        console.say(f"{point.group} {point.name}: {split.name}")
        experiment = Experiment(table, split, ks=(3,), progress=console.progress(False))
        accuracy.append(_map(run_method(experiment, Method(point.name, recipe), work / "results").to_json()))
    whole: dict[str, float] = {}
    for form in point.forms:
        network = _network(recipe, table, splits[0], work, form)
        lost = dict.fromkeys(_SIDES, 0.0)
        if len(point.forms) > 1:
            here = _form_accuracy(network, table, splits[0])
            whole = whole or here
            lost = {side: here[side] - whole[side] for side in _SIDES}
        row = {"group": point.group, "name": point.name, "form": form, "accuracy": accuracy, "lost": lost}
        size = {
            "megabytes": network.stat().st_size / 1e6,
            "dimension": load(str(network.parent)).bundle.config.dimension,
        }
        yield row | {"network": str(network)} | size


def _map(result: dict) -> dict[str, float]:
    return {side: result[side]["mAP"] for side in _SIDES}


def _network(recipe: Recipe, table: ImageTable, split: Split, work: Path, form: Form) -> Path:
    """The network of a form; trains and exports what is not there yet."""
    identity = [recipe.model_dump(mode="json"), split.digest, made_with()["commit"]]
    run = work / "runs" / digest_json(identity)[:24]
    with suppress(NothingToDoError):  # an earlier call did it
        train(recipe, table, split, run, progress=console.progress(False))
    source, target = run / "bundle" / MODEL, run / f"{form}.onnx"
    if not target.exists() and form == "fp32":
        link_or_copy(source, target)
    elif not target.exists():
        files = [table.files[int(row)] for row in table.rows_of(split.train[:_RANGES])]
        pixels = np.stack([seen.output for seen in process_pictures(files, load(str(run)).preprocess, np.copy)])
        quantise_network(source, target, form, np.split(pixels, len(pixels) // _BATCH))
    return target


def _form_accuracy(network: Path, table: ImageTable, split: Split) -> dict[str, float]:
    """Accuracy of a RUN's network in one of its forms; kept beside it."""
    kept = network.with_suffix(".json")
    if not kept.exists():
        tagger = load(str(network.parent))
        tagger.network = RecordNetwork(network, tagger.bundle.config.dimension).records
        measured = evaluate(
            tagger, table, split, protocol=EvaluationProtocol(ks=(3,)), progress=console.progress(False)
        )
        write_json(kept, measured.evaluation.to_json())
    return _map(json.loads(kept.read_text(encoding="utf-8")))


def _costs(rows: list[dict], work: Path) -> list[dict]:
    """Pictures per second of one thread's processor time, the median over rounds in which all take turns."""
    kept = work / "speed.json"
    identity = digest_json([[row["network"], row["megabytes"]] for row in rows])
    if kept.exists() and (stored := json.loads(kept.read_text(encoding="utf-8")))["of"] == identity:
        return stored["costs"]
    ways: list[Callable[[], object]] = []
    numbers = []
    for row in rows:
        network = OnnxNetwork(Path(row["network"]), threads=1)
        pixels = np.random.default_rng(0).standard_normal((8, *network.shapes["pixels"][1:]), dtype=np.float32)
        outputs = [name for name in network.shapes if name not in ("pixels", ASKED, PLACES)]
        numbers.append(sum(part[0].size for part in network.run(outputs, pixels)))  # also the first call
        ways.append(lambda network=network, outputs=outputs, pixels=pixels: network.run(outputs, pixels))
    times: list[list[float]] = [[] for _ in rows]
    with console.progress(False)("measuring speed", _ROUNDS) as advance:
        for _ in range(_ROUNDS):
            for way, own in zip(ways, times, strict=True):
                start = time.process_time()
                way()
                own.append((time.process_time() - start) / 8)
            advance(1)
    costs = [
        {"pictures_per_second": 1 / statistics.median(own), "numbers": count}
        for own, count in zip(times, numbers, strict=True)
    ]
    write_json(kept, {"of": identity, "costs": costs})
    return costs


def _markdown(results: list[dict]) -> str:
    """The table of docs/scale.md: paired differences to the first row; of a smaller form, to its own fp32."""
    lines = [
        "| | ZSL mAP | GZSL mAP | network, MB | pictures/s | kB a picture in an index |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in results:
        cells = [_cell(row, results[0], side) for side in _SIDES]
        label = f"{row['name']}, {row['form']}" if row["group"] == "backbone" else f"{row['group']} = {row['name']}"
        kilobytes = row["numbers"] * 4 / 1e3
        cells += [f"{row['megabytes']:.1f}", f"{row['pictures_per_second']:.0f}", f"{kilobytes:.1f}"]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: dict, first: dict, side: str) -> str:
    if row["form"] != "fp32":
        return f"{row['lost'][side]:+.1f}"
    own, base = (np.array([one[side] for one in of["accuracy"]]) for of in (row, first))
    gap = own - base
    if not gap.any():
        return f"{own.mean():.1f}"
    error = f" ± {gap.std(ddof=1) / len(gap) ** 0.5:.1f}" if len(gap) > 1 else ""
    return f"{own.mean():.1f} ({gap.mean():+.1f}{error})"


if __name__ == "__main__":
    main()
