"""How the time of every kind of work grows: processor seconds against its size, and the exponent that fits them.

Run: python benchmarks/growth.py PHOTOS [--records FILE.npz] [--most 100000] [--plot growth.svg] [--only WORD]
                                 [--kept FILE.json] [--leave INDEX]
PHOTOS is a folder of photos; more records are made from theirs as `made_records` says. The files of an index
are hard links of a few small pictures, each with a time of change of its own, so that upkeep walks real folders. Each
figure is the least of a few runs, as other work on the machine only adds to it. The exponent is the slope of a line
through the logarithms of the upper half of the sizes: there a constant cost weighs less.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from made_records import real_records, resampled
from tagprism import load, mean_average_precision, precision_recall_f1_at_k
from tagprism.bundle.record import Records, score_records
from tagprism.files import digest_bytes, write_json
from tagprism.search.catalog import Catalog
from tagprism.search.collection import Collection, open_index
from tagprism.search.contract import Picture
from tagprism.search.create import create_collection, update_lock
from tagprism.search.stored import catalog_file
from tagprism.search.upkeep import Upkeep
from tagprism.tagging.ranker import LabelRanker

SIZES = (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
IN_FOLDER = 500  # files
COPIES = (250, 500, 1000, 2000)
FORMS = {
    "one tag": "beach",
    "one tag, all records": "beach",
    "three tags": "beach AND sunset AND people",
    "NOT alone": "NOT people",
    "taken: alone": "taken:2015..",
    "path: alone": "path:photos",
    "tag and taken:": "beach AND taken:2015",
}
ROUNDS = 5
Times = dict[str, dict[int, float]]
"""Kind of work -> its size -> processor seconds."""


def main() -> None:
    """Measure, print a line of JSON a kind of work, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--records", type=Path, help="file (.npz) that keeps the real records between runs")
    parser.add_argument("--most", type=int, default=100_000, help="pictures of the largest index")
    parser.add_argument("--folder", type=Path, help="where the indexes are made: 6 kB a picture")
    parser.add_argument("--plot", type=Path, help="SVG file to draw the growth into")
    parser.add_argument("--only", choices=("index", "copies", "arrays"))
    parser.add_argument("--kept", type=Path, help="JSON file of what was measured, which a later run goes on from")
    parser.add_argument("--leave", type=Path, help="folder that gets the largest index, for benchmarks/several_tags.py")
    parser.add_argument("--shrink", type=int, default=1, help="divide all sizes by this, only to try the benchmark out")
    arguments = parser.parse_args()
    shrink = arguments.shrink
    times = kept_times(arguments.kept)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.only in (None, "arrays"):
            of_arrays(times, shrink)
        if arguments.only in (None, "copies"):
            of_copies(times, Path(folder), shrink)
            keep_times(times, arguments.kept)
        if arguments.only in (None, "index"):
            real = real_records(load(), arguments.photos, arguments.records)
            sizes = [one // shrink for one in SIZES if one <= arguments.most]
            for size in (one for one in sizes if one not in times.get("open", {})):
                of_index(times, Path(folder) / str(size), real, size, IN_FOLDER // shrink)
                if arguments.leave and size == sizes[-1]:
                    shutil.move(Path(folder) / str(size) / "photos.index", arguments.leave)
                shutil.rmtree(Path(folder) / str(size))
                keep_times(times, arguments.kept)
    keep_times(times, arguments.kept)
    for what, by_size in times.items():
        rounded = {size: float(f"{seconds:.3g}") for size, seconds in by_size.items()}
        print(json.dumps({"what": what, "exponent": round(exponent(by_size), 2), "seconds": rounded}), flush=True)
    if arguments.plot:
        draw(times, arguments.plot)


def kept_times(file: Path | None) -> Times:
    """What earlier runs have measured."""
    if file is None or not file.is_file():
        return {}
    return {what: {int(size): one for size, one in its.items()} for what, its in json.loads(file.read_text()).items()}


def keep_times(times: Times, file: Path | None) -> None:
    """Write down what was measured."""
    if file is not None:
        write_json(file, times)


def exponent(by_size: dict[int, float]) -> float:
    """Slope of the logarithms over the upper half of the sizes."""
    sizes = sorted(by_size)[len(by_size) // 2 - (len(by_size) < 4) :]
    slope, _ = np.polyfit(np.log(sizes), np.log([by_size[size] for size in sizes]), 1)
    return float(slope)


@contextmanager
def timed(times: Times, what: str, size: int) -> Iterator[None]:
    """Note the processor time of a block; of several the least."""
    began = time.process_time()
    yield
    its = times.setdefault(what, {})
    its[size] = min(its.get(size, np.inf), time.process_time() - began)


def of_index(times: Times, folder: Path, real: Records, size: int, in_folder: int) -> None:
    """An index of so many pictures, from its making to its end."""
    where = str(folder / "photos.index")
    pictures = photos(folder / "photos", size, in_folder)
    with update_lock(where), create_collection(where, "photos-lite", folders=(str(folder / "photos"),)) as collection:
        catalog = Catalog(catalog_file(where))
        for made, records in resampled(real, size):
            for start in range(0, len(made), 1000):
                some = [replace(next(pictures), id=one.id, tags=one.tags) for one in made[start : start + 1000]]
                with timed_sum(times, "index ready records", size), catalog.change([one.id for one in some]):
                    collection.index.add(some, records[start : start + 1000])
                    catalog.keep(some)
        catalog.close()
        upkeep = Upkeep(collection)
        report = upkeep.update()  # reads the keywords once
        assert not report.renewed, report
        with timed(times, "settle, nothing new", size):
            collection.settle()
        for _ in range(3):
            with timed(times, "re-scan, nothing new", size):
                report = upkeep.update()
            assert report.unchanged == size, report
        with timed(times, "one new picture", size):
            new_photo(folder / "photos" / "new.png", 0)
            upkeep.update()
        with timed(times, "delete 500", size):
            shutil.rmtree(folder / "photos" / "0")
            upkeep.update(prune=True)
        upkeep.close()
        of_queries(times, collection, size)
    for _ in range(3):
        with timed(times, "open", size):
            open_index(where).close()


def of_queries(times: Times, collection: Collection, size: int) -> None:
    """Every form of a query."""
    _ = collection.label_logits
    for what, query in FORMS.items():
        for _ in range(ROUNDS):
            with timed(times, what, size):
                results = collection.search(query, exact="all records" in what)
        assert len(results.found) == 20 or size < SIZES[0], what
    like = collection.search("beach").found[0].picture.path
    for _ in range(ROUNDS):
        with timed(times, "like a picture", size):
            collection.search(None, like=like)


@contextmanager
def timed_sum(times: Times, what: str, size: int) -> Iterator[None]:
    """Note the processor time of a block; of several the sum."""
    began = time.process_time()
    yield
    its = times.setdefault(what, {})
    its[size] = its.get(size, 0.0) + time.process_time() - began


def taken(number: int) -> datetime:
    """A time of twenty years, hardly ever the same."""
    return datetime(2005, 1, 1) + timedelta(seconds=number * 7_919_003 % (20 * 365 * 86_400))


def new_photo(path: Path, number: int) -> bytes:
    """A small picture like no other."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((64, 64)).save(path)
    return path.read_bytes()


def photos(folder: Path, count: int, in_folder: int) -> Iterator[Picture]:
    """Files in folders, made when asked for. Their names state when they were taken, as an update reads that."""
    for number in range(count):
        inside, time = folder / str(number // in_folder), taken(number)
        path = inside / f"{time:%Y%m%d_%H%M%S}_{number}.png"
        if number % in_folder == 0:
            inside.mkdir(parents=True)
            first, digest = path, digest_bytes(new_photo(path, number))
        else:
            os.link(first, path)
        status, taken_at = path.stat(), time.isoformat()
        sizes = status.st_size, status.st_mtime_ns
        yield Picture(1, str(path), *sizes, digest, 64, 64, taken=taken_at, taken_from="file name")


def of_copies(times: Times, folder: Path, shrink: int) -> None:
    """The first look at a folder of identical files."""
    for count in (one // shrink for one in COPIES):
        inside = folder / f"copies{count}"
        inside.mkdir()
        new_photo(inside / "0.png", 0)
        for number in range(1, count):
            shutil.copyfile(inside / "0.png", inside / f"{number}.png")
        where = str(folder / f"copies{count}.index")
        with update_lock(where), create_collection(where, "photos-lite", folders=(str(inside),)) as collection:
            _ = collection.tagger
            upkeep = Upkeep(collection)
            with timed(times, "identical copies", count):
                report = upkeep.update()
            assert report.added == count, report
            upkeep.close()


def of_arrays(times: Times, shrink: int) -> None:
    """What has no index: scores against M, D and labels, the best tags, and measures against pictures and labels."""
    random, tagger = np.random.default_rng(0), load()
    names, S = tagger.vocabulary.names, tagger.bundle.shape.shared

    def drawn(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, np.float32)

    def scores(count: int, M: int, D: int, L: int) -> Callable[[], object]:
        records, labels = Records(drawn(count, M, D), drawn(count, S)), drawn(L, D + S)
        return lambda: score_records(records, labels)

    def measures(count: int, L: int) -> Callable[[], object]:
        of_all, targets = drawn(count, L), np.where(random.random((count, L)) < 0.02, 1, -1)

        def both() -> None:
            mean_average_precision(of_all, targets, unknown="negative")
            precision_recall_f1_at_k(of_all, targets, 3, unknown="negative")

        return both

    def tags(L: int) -> Callable[[], object]:
        ranker, records = LabelRanker(tagger, names[:L]), Records(drawn(256, 7, 256), drawn(256, S))
        return lambda: ranker.best(records, 10, None)

    kinds: dict[str, tuple[tuple[int, ...], Callable[[int], Callable[[], object]]]] = {
        "tag, by labels": ((250, 500, 1000, 2000, 4000), tags),
        "score, by M": ((7, 14, 28, 56), lambda M: scores(256, M, 256, 1000)),
        "score, by D": ((256, 512, 1024, 2048), lambda D: scores(256, 7, D, 1000)),
        "score, by labels": ((1000, 2000, 4000, 8000), lambda L: scores(256, 7, 256, L)),
        "evaluate, by pictures": ((2000, 4000, 8000, 16_000, 32_000), lambda N: measures(N, 200)),
        "evaluate, by labels": ((100, 200, 400, 800, 1600), lambda L: measures(4000, L)),
    }
    for what, (sizes, make) in kinds.items():
        for size in (one if one < 100 else max(3, one // shrink) for one in sizes):
            work = make(size)
            work()
            for _ in range(ROUNDS):
                with timed(times, what, size):
                    work()


def draw(times: Times, file: Path) -> None:
    """Time against size, both on logarithmic axes: what an index does, what finds, and what has no index."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "tagprism"
    figure, all_axes = pyplot.subplots(1, 3, figsize=(13, 5), layout="constrained")
    finding = (*FORMS, "like a picture")
    arrays = [what for what in times if ", by " in what]
    kept = [what for what in times if what not in finding and what not in arrays]
    for axes, kinds, title in zip(all_axes, (kept, finding, arrays), ("upkeep", "search", "arrays"), strict=True):
        for what in (one for one in kinds if one in times):
            sizes, seconds = zip(*sorted(times[what].items()), strict=True)
            axes.loglog(sizes, seconds, "o-", markersize=3, label=f"{what}: {exponent(times[what]):.2f}")
        axes.set(title=title, xlabel="size", ylabel="seconds of processor time")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
