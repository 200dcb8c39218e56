"""Time and memory of reading Open Images' labels, 9 million rows unless told otherwise, against other ways to read.

Run `python benchmarks/open_images.py` (about half a gigabyte of disk, in a temporary folder). A made-up label file of
the official form is written: five rows per picture in a row, labels of the protocol in falling frequency, a quarter of
them negative. Each reading runs in a process of its own, so that its peak memory is its own.

- `tagprism`: `open-images:DIR`, from the file to the whole table with positive, negative and unknown labels, as if
  every picture were on disk (nobody needs 1.8 million of them for this); then also its digest and 512 targets.
- `pyarrow`: `pyarrow.csv.read_csv` with dictionaries for repeated text: the columns in memory, no table yet.
- `csv + dict`: the csv module into a dictionary of pictures, as loaders mostly do.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

PER_PICTURE = 5
HUMAN = "{part}/{part}-annotations-human-imagelabels.csv"


def main() -> None:
    """Write the file, run one process per reading, print the table."""
    parser = argparse.ArgumentParser(description="Time and memory of reading Open Images' labels.")
    parser.add_argument("--rows", type=int, default=9_000_000)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        size = make_data(Path(folder), arguments.rows)
        table = Table(title=f"{arguments.rows:,} rows, {size / 1e6:.0f} MB")
        for column in ("reading", "time", "processor time", "peak memory", "above imports"):
            table.add_column(column, justify="right")
        for name in READERS:
            row = json.loads(subprocess.check_output([sys.executable, __file__, "--measure", name, folder]))
            table.add_row(
                name,
                f"{row['seconds']:.1f} s",
                f"{row['processor']:.1f} s",
                f"{row['peak'] / 1e9:.2f} GB",
                f"{row['above'] / 1e9:.2f} GB",
            )
    console = Console()
    console.print(table)
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}, Python {platform.python_version()}")


def make_data(folder: Path, rows: int) -> int:
    """Write a label file for training and one of a hundredth of its size for testing; bytes of the first."""
    from tagprism.datasets.open_images import official_labels

    mids = np.asarray([mid for side in official_labels() for mid, _ in side], dtype=object)
    frequency = 1 / np.arange(1, len(mids) + 1)
    chances = frequency / frequency.sum()
    random = np.random.default_rng(0)
    for part, count in (("train", rows), ("test", rows // 100)):
        path = folder / HUMAN.format(part=part)
        path.parent.mkdir()
        with path.open("w") as file:
            file.write("ImageID,Source,LabelName,Confidence\n")
            for start in range(0, count, 500_000):
                size = min(500_000, count - start)
                numbers = random.integers(0, 2**64 - 1, size // PER_PICTURE + 1, dtype=np.uint64).repeat(PER_PICTURE)
                labels = mids[random.choice(len(mids), size, p=chances)]
                answers = (random.random(size) < 0.75).astype(int)
                file.writelines(
                    f"{number:016x},verification,{label},{answer}\n"
                    for number, label, answer in zip(numbers[:size].tolist(), labels, answers.tolist(), strict=True)
                )
    return (folder / HUMAN.format(part="train")).stat().st_size


def measure(name: str, folder: str) -> dict[str, float]:
    """Read in this process: seconds, processor seconds, peak bytes, and peak above what imports take."""
    read = READERS[name]()
    before = peak_memory()
    began, worked = time.perf_counter(), time.process_time()
    kept = read(Path(folder))
    seconds, processor = time.perf_counter() - began, time.process_time() - worked
    peak = peak_memory()
    assert kept is not None
    return {"seconds": seconds, "processor": processor, "peak": peak, "above": peak - before}


Reader = Callable[[Path], object]


def peak_memory() -> int:
    """Bytes, of this program alone (Linux): what `resource` says begins with the peak of the process that called it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in status if line.startswith("VmHWM")))


def tagprism_reader() -> Reader:
    from unittest.mock import patch

    from tagprism.datasets import open_images
    from tagprism.datasets.open_images_labels import ImageLabels, KnownNames

    def read(folder: Path) -> object:
        numbers: dict[str, np.ndarray] = {}
        find = ImageLabels.read

        def remember(path: Path, known: KnownNames) -> ImageLabels:
            said = find(path, known)
            numbers[path.parent.name] = said.images
            return said

        def pictures(_: Path, part: str) -> tuple[str, np.ndarray]:
            return f"{folder}/{part}", numbers[part]

        with patch.object(ImageLabels, "read", remember), patch.object(open_images, "find_pictures", pictures):
            table = open_images.open_open_images(folder, {})
        assert len(table) == sum(len(some) for some in numbers.values())
        some = min(512, len(table))
        assert table.targets(np.arange(some), table.labels).shape == (some, 7586)
        return table, table.digest

    return read


def pyarrow_reader() -> Reader:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    text = pa.dictionary(pa.int32(), pa.string())
    types = {"ImageID": pa.string(), "Source": text, "LabelName": text, "Confidence": pa.float32()}
    options = arrow_csv.ConvertOptions(column_types=types)
    return lambda folder: arrow_csv.read_csv(folder / HUMAN.format(part="train"), convert_options=options)


def csv_reader() -> Reader:
    def read(folder: Path) -> object:
        positive: defaultdict[str, list[str]] = defaultdict(list)
        negative: defaultdict[str, list[str]] = defaultdict(list)
        with (folder / HUMAN.format(part="train")).open(newline="") as file:
            for row in csv.DictReader(file):
                (positive if row["Confidence"] == "1" else negative)[row["ImageID"]].append(row["LabelName"])
        return positive, negative

    return read


READERS = {"tagprism": tagprism_reader, "pyarrow": pyarrow_reader, "csv + dict": csv_reader}

if __name__ == "__main__":
    main()
