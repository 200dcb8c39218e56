"""What benchmarks of indexes share: records made of real ones, what queries find, how long they take. No program.

Records of real photos (photos-lite: 7 rows of 256 numbers, 402 shared numbers); more pictures are made from them: each
is a mix of two real ones, the second with a share of at most a half, and noise of a fifth of each column's deviation,
once for the shared numbers as for each row.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tagprism.bundle.record import Records, Shape
from tagprism.images.walk import find_pictures
from tagprism.progress import Progress, silent
from tagprism.search.contract import MEASURED, IndexInfo, Picture
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.kept_records import KeptRecords
from tagprism.search.record_file import RECORDS, RecordFile, Slots, StorageName
from tagprism.tagging.tagger import Tagger

LIMIT, QUERIES, CHUNK = 100, 48, 10_000
ASKED = MEASURED + 1500  # other words than those asked for are what an index settles by


def say(**values: object) -> None:
    """One result."""
    print(json.dumps(values), flush=True)


def real_records(tagger: Tagger, photos: Path, file: Path | None) -> Records:
    """Records of the photos that can be read."""
    if file is not None and file.is_file():
        kept = np.load(file)
        return Records(kept["rows"], kept["shared"])
    found = Records.joined(one for _, one, _ in tagger.records(find_pictures([photos])) if isinstance(one, Records))
    if file is not None:
        np.savez(file, rows=found.rows, shared=found.shared)
    return found


def resampled(real: Records, count: int, begin: int = 0) -> Iterator[tuple[list[Picture], Records]]:
    """Pictures and their records, chunk by chunk; a function of the place alone."""
    for start in range(begin, count, CHUNK):
        size = min(CHUNK, count - start)
        random = np.random.default_rng([7, start])
        one, other = (random.integers(0, len(real), size) for _ in range(2))
        share = random.uniform(0, 0.5, size).astype(np.float32)
        mixed = Records(*(mix(part, one, other, share, random) for part in (real.rows, real.shared)))
        tags = tuple((f"some word {place}", 0.5) for place in range(10))
        pictures = [
            Picture(1 + row, f"/photos/2024/{row // 500}/IMG_{row:07}.jpg", 4_000_000, 10**18 + row, f"{row:064x}",
                    4000, 3000, "2024-07-31T18:05:09", tags)
            for row in range(start, start + size)
        ]  # fmt: skip
        yield pictures, mixed


def mix(
    part: np.ndarray, one: np.ndarray, other: np.ndarray, share: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Real numbers of some pictures mixed with those of others, and noise."""
    share = share.reshape(-1, *(1,) * (part.ndim - 1))
    noise = random.standard_normal((len(one), *part.shape[1:]), np.float32)
    noise *= 0.2 * part.std(axis=tuple(range(part.ndim - 1)))
    mixed: np.ndarray = (1 - share) * part[one] + share * part[other] + noise
    return mixed


class Bare(EdgeIndex):
    """An index without the engine, which knows what is known of pictures: all that a search without filters needs."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.shape, self._records = shape, RecordFile(folder / RECORDS, shape, "half")
        self._opening, self._opened = threading.Lock(), KeptRecords(folder, self._records)
        self._slots = Slots(np.arange(1, self._records.size + 1))

    @classmethod
    def create(cls, folder: Path, shape: Shape, storage: StorageName = "half") -> Bare:
        folder.mkdir()
        return cls(folder, shape)

    def add(self, pictures: Sequence[Picture], records: Records) -> None:
        ids = [one.id for one in pictures]
        places = np.array(ids) - 1
        self._kept.write(places, ids, records)
        self._slots.move(ids, places, self._records.size)

    def settle(self, scoring_vectors: np.ndarray, progress: Progress = silent) -> None:
        self._kept.fit(scoring_vectors, len(self._slots), progress)

    def info(self) -> IndexInfo:
        return IndexInfo(len(self._slots), *self.shape, storage="half", exact=False, recall=float("nan"))

    def close(self) -> None:
        pass


def fill(
    index: EdgeIndex,
    real: Records,
    count: int,
    begin: int = 0,
    seen: Callable[[Records, int], None] = lambda records, first: None,
) -> dict[str, float]:
    """Insert, 1,000 at a time; pictures by the clock and by the processor. `seen` gets the records, and their place."""
    clock = cpu = 0.0
    for pictures, records in resampled(real, count, begin):
        seen(records, pictures[0].id - 1)
        for start in range(0, len(pictures), 1000):
            began, began_cpu = time.perf_counter(), time.process_time()
            index.add(pictures[start : start + 1000], records[start : start + 1000])
            clock, cpu = clock + time.perf_counter() - began, cpu + time.process_time() - began_cpu
    inserted = count - begin
    return {"inserted_per_second": round(inserted / clock), "inserted_per_cpu_second": round(inserted / cpu)}


def best_places(scores: np.ndarray) -> np.ndarray:
    """Places of the best pictures, best first."""
    best = np.argpartition(-scores, LIMIT)[:LIMIT]
    return best[np.argsort(-scores[best], kind="stable")]


def largest_scores(records: Records, queries: np.ndarray) -> np.ndarray:
    """Scores (q, n) in float32."""
    M, D, _ = records.shape
    products = (records.rows.reshape(-1, D) @ queries[:, :D].T).reshape(-1, M, len(queries))
    scores = products[:, 0].copy()
    for row in range(1, M):
        np.maximum(scores, products[:, row], out=scores)
    turned: np.ndarray = (scores + records.shared @ queries[:, D:].T).T
    return turned


def found_in(index: EdgeIndex, queries: np.ndarray, limit: int = LIMIT, *, exact: bool = False) -> list[np.ndarray]:
    """Places of the pictures that an index finds."""
    return [np.array([hit.id - 1 for hit in hits]) for hits in index.search(queries, limit, exact=exact)]


def recall(wanted: list[np.ndarray], found: list[np.ndarray]) -> dict[str, float]:
    """Share of the exact best that were found: the mean over the queries, and the worst query."""
    pairs = zip(wanted, found, strict=True)
    shares = [len(np.intersect1d(one, other)) / len(one) for one, other in pairs]
    return {"recall": round(float(np.mean(shares)), 4), "worst": round(min(shares), 4)}


def in_turns(
    ways: Mapping[str, Callable[[np.ndarray], object]], queries: np.ndarray, tags: int, rounds: int = 3
) -> dict[str, dict[str, float]]:
    """Milliseconds of each way."""
    clock: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds * QUERIES // tags):
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


def on_disk(folder: Path) -> int:
    """Bytes of a folder; the engine's files have holes."""
    return sum(512 * file.stat().st_blocks for file in folder.rglob("*") if file.is_file())


def memory() -> dict[str, float]:
    """Gigabytes of this process: its own, those of mapped files (the system can take them back), and the most ever."""
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    names = {"own_gb": "RssAnon", "mapped_gb": "RssFile", "most_gb": "VmHWM"}
    return {name: round(int(status[field].split()[0]) / 1e6, 2) for name, field in names.items()}
