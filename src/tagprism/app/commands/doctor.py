"""`tagprism doctor`: what is installed, what is cached, what this machine can do."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator

import onnxruntime
from rich.markup import escape
from rich.table import Table

from tagprism.app import console
from tagprism.datasets.openclipart_source import find_openclipart
from tagprism.errors import TagprismError
from tagprism.files import cache_dir
from tagprism.provenance import made_with

_EXTRAS = {"train": ("torch", "torchvision", "timm", "lightning", "onnxscript", "transformers")}


def doctor() -> int:
    """Print the findings; the exit code is 6 when the cache cannot be used."""
    table = Table(show_header=False)
    fine = True
    for name, value, good in _findings():
        fine &= good
        table.add_row(escape(name), escape(value), "[green]ok[/]" if good else "[red]no[/]")
    console.data.print(table)
    return console.OK if fine else console.REFUSED


def _findings() -> Iterator[tuple[str, str, bool]]:
    made = made_with()
    for name, version in made["versions"].items():
        yield name, version, True
    yield "platform", f"{made['platform']}, {made['cores']} cores", True
    yield "commit", made["commit"] or "installed package", True
    yield "ONNX Runtime", ", ".join(onnxruntime.get_available_providers()), True
    for extra, modules in _EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        note = f'not installed: {", ".join(missing)}; pip install "tagprism[{extra}]"' if missing else "installed"
        yield f"extra [{extra}]", note, True
    try:
        path = cache_dir()
        free = shutil.disk_usage(path).free / 1e9
        used = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e9
        yield "cache", f"{path}: {used:.2f} GB used, {free:.0f} GB free", free > 1
        clipart = find_openclipart()
        yield "Open Clip Art", str(clipart) if clipart else "not here; `tagprism data fetch openclipart`", True
    except TagprismError as error:
        yield "cache", str(error), False
