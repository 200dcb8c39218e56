"""How quickly pictures are found: the embedded index against the plain product and against faiss, on the same matrices.

Run: python benchmarks/search.py PHOTOS [--pictures 100000] [--million] [--plot docs/search_speed.svg]
PHOTOS is a folder of photos. Their ranking matrices (photos-lite: 7 rows of 450 numbers) are real; more pictures
are made from them: each is a mix of two real ones, the second with a share of at most a half, and noise of a fifth of
each column's deviation. Queries are words of the model's vocabulary. All ways take turns, query by query, so that what
else the machine does hurts all alike; `cpu` is processor time, which that hurts least. Rivals:
  numpy: float32 product of all rows, maximum over a picture's rows, the best 100: the floor of an exact search;
  faiss: IndexFlatIP over all rows; 7 x 100 rows hold the best 100 pictures for certain.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tagprism import load
from tagprism.images.walk import find_pictures
from tagprism.search.contract import Picture
from tagprism.search.edge_index import EdgeIndex
from tagprism.tagging.tagger import Tagger

LIMIT, QUERIES, CHUNK, ROUNDS = 100, 48, 10_000, 3
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def main() -> None:
    """Measure, print a line of JSON a result, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=100_000, help="0 leaves the comparison away")
    parser.add_argument("--million", action="store_true", help="also grow an int8 index to 1,000,000 pictures")
    parser.add_argument("--matrices", type=Path, help="file that keeps the real matrices between runs")
    parser.add_argument("--folder", type=Path, help="where the indexes are made, on a disk with 12 GB")
    parser.add_argument("--plot", type=Path, help="SVG file to draw the growth into")
    arguments = parser.parse_args()
    tagger = load()
    real = real_matrices(tagger, arguments.photos, arguments.matrices)
    names = np.random.default_rng(0).permutation(tagger.vocabulary.names)[:QUERIES].tolist()
    queries = tagger.scoring_vectors(names)
    say(what="machine", cpus=os.cpu_count(), python=platform.python_version(), load=os.getloadavg()[0], real=len(real))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.pictures:
            side_by_side(real, queries, arguments.pictures, Path(folder))
        if arguments.million:
            rows = grow(real, queries, Path(folder) / "grown")
            if arguments.plot:
                draw(rows, arguments.plot)


def say(**values: object) -> None:
    """One result."""
    print(json.dumps(values), flush=True)


def real_matrices(tagger: Tagger, photos: Path, file: Path | None) -> np.ndarray:
    """Ranking matrices (n, M, Q) of the photos that can be read."""
    if file is not None and file.is_file():
        return np.load(file)
    found = [one for _, one, _ in tagger.matrices(find_pictures([photos])) if isinstance(one, np.ndarray)]
    matrices = np.stack(found)
    if file is not None:
        np.save(file, matrices)
    return matrices


def resampled(real: np.ndarray, count: int, begin: int = 0) -> Iterator[tuple[list[Picture], np.ndarray]]:
    """Pictures and matrices (n, M, Q), chunk by chunk; a function of the place alone."""
    deviation = real.std(axis=(0, 1))
    for start in range(begin, count, CHUNK):
        size = min(CHUNK, count - start)
        random = np.random.default_rng([7, start])
        one, other = (real[random.integers(0, len(real), size)] for _ in range(2))
        share = random.uniform(0, 0.5, (size, 1, 1)).astype(np.float32)
        noise = random.standard_normal(one.shape, np.float32) * (0.2 * deviation)
        matrices = ((1 - share) * one + share * other + noise).astype(np.float32)
        tags = tuple((f"some word {place}", 0.5) for place in range(10))
        pictures = [
            Picture(1 + row, f"/photos/2024/{row // 500}/IMG_{row:07}.jpg", 4_000_000, 10**18 + row, f"{row:064x}",
                    4000, 3000, "2024-07-31T18:05:09", tags)
            for row in range(start, start + size)
        ]  # fmt: skip
        yield pictures, matrices


def fill(index: EdgeIndex, real: np.ndarray, count: int, begin: int = 0) -> dict[str, float]:
    """Insert, 1,000 at a time; seconds by the clock and of the processor for each 1,000."""
    clock = cpu = 0.0
    for pictures, matrices in resampled(real, count, begin):
        for start in range(0, len(pictures), 1000):
            began, began_cpu = time.perf_counter(), time.process_time()
            index.add(pictures[start : start + 1000], matrices[start : start + 1000])
            clock, cpu = clock + time.perf_counter() - began, cpu + time.process_time() - began_cpu
    inserted = count - begin
    return {"inserted_per_second": round(inserted / clock), "inserted_per_cpu_second": round(inserted / cpu)}


def exact_best(flat: np.ndarray, queries: np.ndarray, M: int) -> list[np.ndarray]:
    """The floor: places of the best pictures for each query."""
    products = (flat @ queries.T).reshape(-1, M, len(queries))
    scores = products[:, 0].copy()
    for row in range(1, M):  # several times faster than max() over a short axis
        np.maximum(scores, products[:, row], out=scores)
    found = []
    for column in scores.T:
        best = np.argpartition(-column, LIMIT)[:LIMIT]
        found.append(best[np.argsort(-column[best], kind="stable")])
    return found


def side_by_side(real: np.ndarray, queries: np.ndarray, count: int, folder: Path) -> None:
    """One-tag and three-tag queries over the same pictures, all ways in turn."""
    import faiss

    matrices = np.concatenate([chunk for _, chunk in resampled(real, count)])
    _, M, Q = matrices.shape
    flat = matrices.reshape(-1, Q)
    wanted = exact_best(flat, queries, M)
    ways: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {
        "numpy float32": lambda some: exact_best(flat, some, M)
    }
    for storage in ("float32", "float16", "int8"):
        index = EdgeIndex.create(folder / storage, (M, Q), storage)
        filled = fill(index, real, count)
        began = time.perf_counter()
        index.settle(queries[:16])
        settled = round(time.perf_counter() - began, 1)
        say(what="inserted", storage=storage, pictures=count, settle_seconds=settled, **filled)
        ways[f"edge {storage}"] = lambda some, index=index: [
            np.array([hit.id - 1 for hit in hits]) for hits in index.search(some, LIMIT)
        ]
    rows = faiss.IndexFlatIP(Q)
    rows.add(flat)

    def by_faiss(some: np.ndarray) -> list[np.ndarray]:
        _, places = rows.search(some, M * LIMIT)
        return [np.array(list(dict.fromkeys((found // M).tolist()))[:LIMIT]) for found in places]

    ways["faiss flat"] = by_faiss
    for tags in (1, 3):
        for name, times in in_turns(ways, queries, tags).items():
            found = [one for start in range(QUERIES) for one in ways[name](queries[start : start + 1])]
            say(what="query", way=name, pictures=count, tags=tags, **times, recall=recall(wanted, found))


def in_turns(
    ways: dict[str, Callable[[np.ndarray], object]], queries: np.ndarray, tags: int
) -> dict[str, dict[str, float]]:
    """Milliseconds of each way."""
    clock: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS * QUERIES // tags):
        some = queries[np.arange(turn * tags, (turn + 1) * tags) % QUERIES]
        for name, way in ways.items():
            began, began_cpu = time.perf_counter(), time.process_time()
            way(some)
            clock[name].append(1000 * (time.perf_counter() - began))
            cpu[name].append(1000 * (time.process_time() - began_cpu))
    return {
        name: {
            "p50_ms": round(float(np.median(clock[name])), 1),
            "p99_ms": round(float(np.percentile(clock[name], 99)), 1),
            "least_ms": round(min(clock[name]), 1),
            "cpu_p50_ms": round(float(np.median(cpu[name])), 1),
        }
        for name in ways
    }


def recall(wanted: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Mean share of the exact best that were found."""
    pairs = zip(wanted, found, strict=True)
    return round(float(np.mean([len(np.intersect1d(one, other)) / len(one) for one, other in pairs])), 4)


def grow(real: np.ndarray, queries: np.ndarray, folder: Path) -> list[dict[str, float]]:
    """An int8 index of more and more pictures, against the exact best of what was added."""
    _, M, Q = real.shape
    index = EdgeIndex.create(folder, (M, Q), "int8")
    best_scores = np.full((len(queries), LIMIT), -np.inf, np.float32)
    best_places = np.full((len(queries), LIMIT), -1)
    rows, begin = [], 0
    for size in SIZES:
        filled = fill(index, real, size, begin)
        for pictures, matrices in resampled(real, size, begin):
            scores = (matrices.reshape(-1, Q) @ queries.T).reshape(-1, M, len(queries)).max(1).T
            scores = np.concatenate([best_scores, scores], 1)
            places = np.concatenate([best_places, np.tile([one.id - 1 for one in pictures], (len(queries), 1))], 1)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :LIMIT]
            best_scores, best_places = np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)
        begin = size
        index.settle(queries[:16])
        found: list[np.ndarray] = []

        def search(some: np.ndarray, found: list[np.ndarray] = found) -> None:
            found.append(np.array([hit.id - 1 for hit in index.search(some, LIMIT)[0]]))

        times = in_turns({"int8": search}, queries, 1)["int8"]
        disk = sum(512 * file.stat().st_blocks for file in folder.rglob("*") if file.is_file())
        row = {
            "pictures": size,
            **times,
            "recall": recall(list(best_places), found[: len(queries)]),
            "recall_stated": round(index.info().recall, 4),
            "resident_gb": round(resident() / 1e9, 2),
            "most_resident_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
            "disk_gb": round(disk / 1e9, 2),
            **filled,
        }
        say(what="grown", storage="int8", **row)
        rows.append(row)
    index.close()
    return rows


def resident() -> int:
    """Bytes of this process in memory, with the files that it maps."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def draw(rows: list[dict[str, float]], file: Path) -> None:
    """Time of a query against the number of pictures, both on logarithmic axes."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "tagprism"
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    sizes = [row["pictures"] for row in rows]
    for name, label in (("p99_ms", "p99"), ("p50_ms", "p50"), ("cpu_p50_ms", "processor time")):
        axes.loglog(sizes, [row[name] for row in rows], "o-", label=label)
    axes.axhline(150, color="grey", linestyle="--", label="150 ms")
    axes.set(xlabel="pictures (7 x 257 numbers each)", ylabel="milliseconds a query, int8 and rescoring")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
