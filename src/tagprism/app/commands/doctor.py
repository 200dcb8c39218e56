"""`tagprism doctor`: what is installed, what is cached, what this machine can do; how diverse a model's vectors are."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import tagprism
from tagprism.app import console
from tagprism.app.options import Device, Limit, Quiet, Split, named_path
from tagprism.counted import counted
from tagprism.errors import InputError, NothingToDoError, PictureError, TagprismError

if TYPE_CHECKING:
    import numpy as np

    from tagprism.images.picture_file import PictureFile
    from tagprism.tagging.collapse import Collapse

_EXTRAS = {"train": ("torch", "torchvision", "timm", "lightning", "onnxscript", "transformers")}
_QUANTILES = (5, 50, 95)


def doctor(
    photos: Annotated[
        list[Path] | None, typer.Argument(parser=named_path, help="Pictures and folders to measure --bundle on.")
    ] = None,
    bundle: Annotated[
        str | None, typer.Option(help="RUN or BUNDLE: measure whether its vectors have collapsed.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Measure on a data set: openclipart or tagged:DIR.")
    ] = None,
    split: Split = None,
    limit: Limit = None,
    format: Annotated[Literal["table", "json"], typer.Option(help="What to print about a bundle.")] = "table",
    device: Device = None,
    quiet: Quiet = False,
) -> int:
    """Say what is installed, what is cached and what this machine can do; or how diverse a model's vectors are."""
    if bundle is not None:
        return _measure(bundle, photos or [], data, split, limit, format, quiet)
    if photos or data:
        raise InputError("the model to measure is missing.", remedy="Name it: --bundle RUN_OR_BUNDLE.")
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    fine = True
    for name, value, good in _findings():
        fine &= good
        table.add_row(name, value, Text("ok", "green") if good else Text("no", "red"))
    console.show(table)
    return console.OK if fine else console.REFUSED


def _findings() -> Iterator[tuple[str, str, bool]]:
    from tagprism.bundle.write import made_with
    from tagprism.datasets.openclipart import find_openclipart
    from tagprism.files import cache_dir

    made = made_with()
    for name, version in made["versions"].items():
        yield name, version, True
    yield "platform", f"{made['platform']}, {made['cores']} cores", True
    yield "commit", made["commit"] or "installed package", True
    yield "device", *_device()
    yield "its telemetry", *_telemetry()
    for extra, modules in _EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        note = f'not installed: {", ".join(missing)}; pip install "tagprism[{extra}]"' if missing else "installed"
        yield f"extra [{extra}]", note, True
    try:
        yield "defaults", _defaults(), True
        path = cache_dir()
        free = shutil.disk_usage(path).free / 1e9
        used = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e9
        yield "cache", f"{path}: {used:.2f} GB used, {free:.0f} GB free", free > 1
        clipart = find_openclipart()
        yield "Open Clip Art", str(clipart) if clipart else "not here; `tagprism data fetch openclipart`", True
    except TagprismError as error:
        yield "cache or defaults", str(error), False


def _device() -> tuple[str, bool]:
    """Where the packaged network runs, what it was asked to run on, and what else there is; whether it is as asked."""
    from tagprism.bundle.bundle import DEFAULT, open_model
    from tagprism.bundle.names import packaged_bundles
    from tagprism.device import device_in_use
    from tagprism.onnx_graph import available_devices, chosen_device

    try:
        asked, here = chosen_device(), f"ONNX Runtime has {', '.join(available_devices())}"
        if DEFAULT not in packaged_bundles():
            return f"{asked}, not tried as {DEFAULT} is not here; {here}", True
        _ = open_model(DEFAULT).shape  # loads the network
        used = device_in_use()
        return f"{used} in use{'' if used == asked else f' in place of {asked}'}; {here}", used == asked
    except TagprismError as error:
        return str(error), False


def _defaults() -> str:
    """Where the user's file of defaults is, and what it says."""
    from tagprism.app.config import read_config
    from tagprism.files import config_file

    said = [f"{command} {json.dumps(options)}" for command, options in read_config().items()]
    return f"{config_file()}: {'; '.join(said) or 'nothing set'}"


def _telemetry() -> tuple[str, bool]:
    """Whether ONNX Runtime reports its use to its makers, and whether that is as the user wants it."""
    if tagprism.onnxruntime_came_first:
        return "may be on: onnxruntime was imported before tagprism; set ORT_DISABLE_TELEMETRY=1", False
    value = os.environ["ORT_DISABLE_TELEMETRY"]
    return "off" if value == "1" else f"as the environment wants it: ORT_DISABLE_TELEMETRY={value}", True


def _measure(
    bundle: str,
    photos: list[Path],
    data: str | None,
    split: str | None,
    limit: int | None,
    format: Literal["table", "json"],
    quiet: bool,
) -> int:
    """Measure whether a model's principal vectors do different things; 4 when pictures were skipped."""
    from tagprism.tagging.collapse import CollapseMeter
    from tagprism.tagging.tagger import load

    tagger = load(bundle)
    files = _files(photos, data, split)[:limit]
    meter = CollapseMeter(tagger.vocabulary.vectors)
    skipped = []
    for number, outcome, _ in tagger.records(files, progress=console.progress(quiet)):
        if isinstance(outcome, PictureError):
            skipped.append((str(files[number]), outcome.message))
        else:
            meter.add(outcome.rows)
    if len(skipped) == len(files):
        raise InputError(
            f"none of {counted(len(files), 'picture')} can be used. The first: {skipped[0][0]}: {skipped[0][1]}"
        )
    result = _to_json(meter.result()) | {"bundle": tagger.bundle.digest, "labels": len(tagger.vocabulary.names)}
    if format == "json":
        console.write_json(result)
    else:
        _print(result)
    return console.report_skipped(skipped)


def _files(photos: list[Path], data: str | None, split: str | None) -> list[Path] | list[PictureFile]:
    """The pictures that were named: files and folders, or the test pictures of a data set (all, without a split)."""
    from tagprism.datasets.registry import default_split, open_dataset
    from tagprism.datasets.splits import load_split
    from tagprism.images.walk import find_pictures

    if bool(photos) == bool(data):
        raise InputError("the pictures to measure on are missing or given twice.", remedy="Name PHOTOS or --data.")
    if data is None:
        if not (files := find_pictures(photos)):
            raise NothingToDoError("there are no pictures.", where=", ".join(map(str, photos)))
        return files
    table = open_dataset(data)
    chosen = load_split(split, table) if split is not None else default_split(data, table)
    rows = range(len(table.files)) if chosen is None else table.rows_of(chosen.test)
    return [table.files[int(row)] for row in rows]


def _to_json(found: Collapse) -> dict[str, Any]:
    """The measurement as in docs/explain.md."""
    from tagprism.tagging.collapse import CLOSE_COSINE, COLLAPSED_GAIN, DEAD_SHARE

    single = len(found.wins) == 1
    return {
        "pictures": len(found.effective_rank),
        "vectors": len(found.wins),
        "effective_rank": _spread(found.effective_rank),
        "cosine": None if single else _spread(found.cosine),
        "gain": _spread(found.gain),
        "wins": found.wins.round(4).tolist(),
        "top_wins": found.top_wins.round(4).tolist(),
        "dead": found.dead,
        "verdict": found.verdict,
        "thresholds": {
            "close_cosine": CLOSE_COSINE,
            "collapsed_gain": COLLAPSED_GAIN,
            "dead_part_of_even_share": DEAD_SHARE,
        },
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    import numpy as np

    quantiles = {
        f"p{q:02d}": float(value) for q, value in zip(_QUANTILES, np.percentile(values, _QUANTILES), strict=True)
    }
    return {name: round(value, 4) for name, value in {"mean": float(values.mean()), **quantiles}.items()}


def _words(verdict: str, close_cosine: float, collapsed_gain: float, **_others: float) -> str:
    return {
        "single": "It has a single vector: there is nothing to collapse.",
        "collapsed": "Collapsed: the vectors of a picture point the same way "
        f"(mean cosine at least {close_cosine}) and give the same scores (mean gain below {collapsed_gain}). It is a "
        "single vector in all but name.",
        "close": "Close: the vectors of a picture point nearly the same way "
        f"(mean cosine at least {close_cosine}), but what they differ in decides its tags "
        f"(mean gain at least {collapsed_gain}).",
        "diverse": "Diverse: the vectors of a picture point in different directions "
        f"(mean cosine below {close_cosine}).",
    }[verdict]


def _print(result: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"{result['vectors']} principal vectors on {counted(result['pictures'], 'picture')}")
    for heading in ("", "mean", *(f"{q} %" for q in _QUANTILES)):
        table.add_column(heading, justify="right" if heading else "left")
    for name, title in (
        ("effective_rank", "effective rank"),
        ("cosine", "cosine of two vectors"),
        ("gain", "gain by the winner"),
    ):
        if result[name] is not None:
            table.add_row(title, *(f"{value:.2f}" for value in result[name].values()))
    console.show(table)
    wins = Table()
    for heading in ("vector", "wins of all labels", "wins of the ten best"):
        wins.add_column(heading, justify="right")
    for m, (share, top_share) in enumerate(zip(result["wins"], result["top_wins"], strict=True)):
        wins.add_row(str(m), f"{share:.1%}", f"{top_share:.1%}", style="dim" if m in result["dead"] else None)
    console.show(wins)
    console.data.print(_words(result["verdict"], **result["thresholds"]), soft_wrap=True)
    if result["dead"]:
        dead = ", ".join(map(str, result["dead"]))
        console.data.print(
            f"Dead: {dead} (less than {result['thresholds']['dead_part_of_even_share']} of an even share of the wins).",
            soft_wrap=True,
        )
