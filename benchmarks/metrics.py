"""Time and memory of the evaluation (GZSL and ZSL together) at the size of NUS-WIDE.

107,859 images x 1006 labels x M=7, D=300. Run `python benchmarks/metrics.py`; it needs about a gigabyte of disk for the
synthetic records, in a temporary folder. Each row runs in a process of its own, so that its peak memory is its own;
the records are memory-mapped as they would be from a run, and the peak counts the mapped pages.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

IMAGES, LABELS, UNSEEN, M, D = 107_859, 1006, 81, 7, 300
POSITIVES = 5.0  # per image: of these about one picture in 150 has none, so the two image sets differ


def main() -> None:
    """Make the data, run one process per row, print the table."""
    parser = argparse.ArgumentParser(description="Time and memory of the evaluation.")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    table = Table(title=f"GZSL and ZSL evaluation of {arguments.images:,} images x {LABELS} labels x M={M}, D={D}")
    for column in ("records", "file", "GZSL and ZSL", "processor time", "peak memory"):
        table.add_column(column, justify="right")
    for dtype in ("float32", "float16"):
        with tempfile.TemporaryDirectory() as folder:
            make_data(Path(folder), arguments.images, dtype)
            row = json.loads(subprocess.check_output([sys.executable, __file__, "--measure", folder]))
            size = sum((Path(folder) / name).stat().st_size for name in ("rows.npy", "shared.npy"))
        table.add_row(
            dtype,
            f"{size / 1e9:.2f} GB",
            f"{row['seconds']:.1f} s",
            f"{row['processor']:.1f} s",
            f"{row['peak'] / 1e9:.2f} GB",
        )
    console = Console()
    console.print(table)
    console.print(f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")


def make_data(folder: Path, images: int, dtype: str) -> None:
    """Write random records, label vectors and targets, in chunks so that little memory is needed."""
    generator = np.random.default_rng(0)
    for name, shape in (("rows", (images, M, D)), ("shared", (images, 1))):
        part = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
        for start in range(0, images, 4096):
            stop = min(start + 4096, images)
            part[start:stop] = generator.standard_normal((stop - start, *shape[1:]), np.float32)
        part.flush()
    np.save(folder / "vectors.npy", generator.standard_normal((LABELS, D), np.float32) / np.float32(D**0.5))
    frequency = 1 / np.arange(1, LABELS + 1)  # a few labels are common and many are rare, as with people's tags
    chances = np.minimum(POSITIVES * frequency / frequency.sum(), 0.9)[generator.permutation(LABELS)]
    targets = np.lib.format.open_memmap(folder / "targets.npy", "w+", np.int8, (images, LABELS))
    for start in range(0, images, 4096):
        stop = min(start + 4096, images)
        targets[start:stop] = generator.random((stop - start, LABELS), np.float32) < chances
    targets.flush()


def measure(folder: Path) -> dict[str, float]:
    """Evaluate both tasks in this process: seconds, processor seconds, peak bytes."""
    from tagprism.bundle.record import Records
    from tagprism.evaluation.streaming import evaluate_records

    records = Records(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("rows", "shared")))
    targets = np.load(folder / "targets.npy")
    vectors = np.load(folder / "vectors.npy")
    unseen = np.arange(LABELS) >= LABELS - UNSEEN
    began, worked = time.perf_counter(), time.process_time()
    evaluate_records(records, [f"label {i}" for i in range(LABELS)], vectors, unseen, targets)
    seconds, processor = time.perf_counter() - began, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "processor": processor, "peak": peak}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
