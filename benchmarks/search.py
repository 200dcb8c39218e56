"""How quickly pictures are found: the embedded index against the plain product and against faiss, on the same records.

Run: python benchmarks/search.py PHOTOS [--pictures 100000] [--million [--bare [--leave FOLDER]] [--rivals 12]]
                                 [--plot search_speed.svg] [--check] [--again FOLDER]
PHOTOS is a folder of photos, of whose records more are made (`made_records`). Queries are words of the model's
vocabulary.
All ways take turns, query by query, so that what else the machine does hurts all alike; `cpu` is processor
time, which that hurts least. Rivals:
  numpy: float32 product of all rows, maximum over a picture's rows, the product of the shared numbers, the best 100;
  numpy, copies: the same where each row ends in a copy of the shared numbers, as tagprism kept them before;
  faiss: IndexFlatIP over all rows with their copies; 7 x 100 rows hold the best 100 pictures for certain. Nothing of
  tagprism needs it: pip install faiss-cpu.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from made_records import (
    ASKED,
    CHUNK,
    LIMIT,
    QUERIES,
    Bare,
    best_places,
    fill,
    found_in,
    in_turns,
    largest_scores,
    memory,
    on_disk,
    real_records,
    recall,
    resampled,
    say,
)
from tagprism import load
from tagprism.bundle.record import Records
from tagprism.search import contract
from tagprism.search.contract import Picture, candidates
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.match import LabelLogits
from tagprism.search.query import And, Label
from tagprism.search.threshold import Search
from tagprism.tagging.tagger import Tagger

HOT = ("candidates.bin", "outlines.bin", "places.npy")  # files that every search reads
BLOCK = 50_000  # pictures that rivals beside a million hold at once: 1.4 GB
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def main() -> None:
    """Measure, print a line of JSON a result, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=100_000, help="0 leaves the comparison away")
    parser.add_argument("--rounds", type=int, default=3, help="how often each word is asked for")
    parser.add_argument("--million", action="store_true", help="also grow an index to 1,000,000 pictures")
    parser.add_argument("--rivals", type=int, default=12, help="queries of theirs beside a million; 0: try candidates")
    parser.add_argument(
        "--bare", action="store_true", help="grow it without the engine: 5 GB, searched without filters"
    )
    parser.add_argument("--leave", type=Path, help="folder that gets, or already has, files of --bare for --again")
    parser.add_argument("--again", type=Path, help="folder of files that --bare has made: ask them again")
    parser.add_argument("--most", type=int, default=1_000_000, help="pictures that it grows to")
    parser.add_argument("--check", action="store_true", help="are candidates harder to find among real pictures?")
    parser.add_argument("--records", type=Path, help="file (.npz) that keeps the real records between runs")
    parser.add_argument("--folder", type=Path, help="where the indexes are made, on a disk with 12 GB")
    parser.add_argument("--plot", type=Path, help="SVG file to draw the growth into")
    arguments = parser.parse_args()
    tagger = load()
    real = real_records(tagger, arguments.photos, arguments.records)
    names = np.random.default_rng(0).permutation(tagger.vocabulary.names)[: QUERIES + ASKED].tolist()
    queries, others = np.split(tagger.scoring_vectors(names), [QUERIES])
    say(what="machine", cpus=os.cpu_count(), python=platform.python_version(), load=os.getloadavg()[0], real=len(real))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.pictures:
            side_by_side(real, queries, others, arguments.pictures, Path(folder), arguments.rounds)
        if arguments.check:
            check(real, queries, Path(folder))
        if arguments.again:
            index: EdgeIndex = Bare(arguments.again, real.shape)
            say(what="again", **asked(index, queries, arguments.again))
            if arguments.rivals:
                together(index, tagger, arguments.rivals)
                beside_rivals(index, queries, arguments.rivals)
            else:
                by_candidates(index, queries, (100, 1000))
        if arguments.leave:
            arguments.leave.mkdir(exist_ok=True)
            index = Bare(arguments.leave, real.shape)
            begin = index.info().pictures // CHUNK * CHUNK  # of an earlier run, which may have been killed
            say(what="left", **fill(index, real, arguments.most, begin))
            index.settle(others)
        elif arguments.million:
            kind = Bare if arguments.bare else EdgeIndex
            index = kind.create(Path(folder) / "grown", real.shape)
            rows = grow(index, real, queries, others, Path(folder) / "grown", arguments.most)
            beside_rivals(index, queries, arguments.rivals)
            index.close()
            if arguments.plot:
                draw(rows, arguments.plot)


def copies_best(flat: np.ndarray, M: int, queries: np.ndarray) -> list[np.ndarray]:
    """Places of the best pictures for each query, by rows that end in copies of the shared numbers."""
    products = (flat @ queries.T).reshape(-1, M, len(queries))
    scores = products[:, 0].copy()
    for row in range(1, M):  # several times faster than max() over a short axis
        np.maximum(scores, products[:, row], out=scores)
    return [best_places(column) for column in scores.T]


def scanned(records: Records, queries: np.ndarray) -> list[np.ndarray]:
    """Places of the best pictures for each query, of all records in float32."""
    return [best_places(one) for one in largest_scores(records, queries)]


def side_by_side(real: Records, queries: np.ndarray, others: np.ndarray, count: int, folder: Path, rounds: int) -> None:
    """One-tag and three-tag queries over the same pictures, all ways in turn."""
    records = Records.joined(chunk for _, chunk in resampled(real, count))
    M = records.shape.vectors
    flat = with_copies(records)
    wanted = copies_best(flat, M, queries)
    ways: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {
        "numpy float32, copies": partial(copies_best, flat, M),
        "numpy float32": partial(scanned, records),
    }
    for storage in ("float32", "half"):
        index = EdgeIndex.create(folder / storage, records.shape, storage)
        filled = fill(index, real, count)
        began = time.perf_counter()
        index.settle(others)
        settled = round(time.perf_counter() - began, 1)
        size = round(on_disk(folder / storage) / count)
        say(what="inserted", storage=storage, pictures=count, settle_seconds=settled, bytes_each=size, **filled)
        ways[f"index {storage}, exact"] = partial(found_in, index, exact=True)
        if candidates(LIMIT, count) is not None:
            ways[f"index {storage}"] = partial(found_in, index)
    by_candidates(index, queries)
    ways["faiss flat"] = faiss_way(flat, M)
    for tags in (1, 3):
        for name, times in in_turns(ways, queries, tags, rounds).items():
            found = [one for start in range(QUERIES) for one in ways[name](queries[start : start + 1])]
            say(what="query", way=name, pictures=count, tags=tags, **times, **recall(wanted, found))


def with_copies(records: Records) -> np.ndarray:
    """All rows, each ending in a copy of its picture's shared numbers."""
    M, D, S = records.shape
    return np.concatenate([records.rows, np.repeat(records.shared[:, None], M, axis=1)], axis=2).reshape(-1, D + S)


def faiss_way(flat: np.ndarray, M: int) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Search in faiss: so many rows hold the best pictures for certain."""
    import faiss

    rows = faiss.IndexFlatIP(flat.shape[1])
    rows.add(flat)

    def search(some: np.ndarray) -> list[np.ndarray]:
        _, places = rows.search(some, M * LIMIT)
        return [np.array(list(dict.fromkeys((found // M).tolist()))[:LIMIT]) for found in places]

    return search


def by_candidates(index: EdgeIndex, queries: np.ndarray, limits: Sequence[int] = (20, 100, 500, 1000)) -> None:
    """What the first stage finds by the number of candidates, of what all records give."""
    usual = contract._CANDIDATES
    for limit in limits:
        wanted = found_in(index, queries, limit, exact=True)
        for count in (1000, 2000, 4000, 8000, 16_000):
            contract._CANDIDATES = count, 1
            say(what="candidates", first=limit, count=count, **recall(wanted, found_in(index, queries, limit)))
    contract._CANDIDATES = usual


def grow(
    index: EdgeIndex, real: Records, queries: np.ndarray, others: np.ndarray, folder: Path, most: int
) -> list[dict[str, float]]:
    """An index of more and more pictures, against the exact best of what was added."""
    best_scores = np.full((len(queries), LIMIT), -np.inf, np.float32)
    best = np.full((len(queries), LIMIT), -1)

    def note_best(records: Records, first: int) -> None:
        nonlocal best_scores, best
        scores = np.concatenate([best_scores, largest_scores(records, queries)], 1)
        places = np.concatenate([best, np.tile(np.arange(first, first + len(records)), (len(queries), 1))], 1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :LIMIT]
        best_scores, best = np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)

    rows, begin = [], 0
    for size in (one for one in SIZES if one <= most):
        filled = fill(index, real, size, begin, note_best)
        begin = size
        began = time.process_time()
        index.settle(others)
        settled = round(time.process_time() - began, 1)
        found, stated = found_in(index, queries), index.info().recall
        assert stated is not None, "settling has measured it"
        row = {
            **recall(list(best), found),
            **asked(index, queries, folder),
            "recall_stated": round(stated, 4),
            "settle_cpu_seconds": settled,
            **filled,
        }
        say(what="grown", storage="half", engine=not isinstance(index, Bare), **row)
        rows.append(row)
    by_candidates(index, queries, (100, 1000))
    return rows


def asked(index: EdgeIndex, queries: np.ndarray, folder: Path) -> dict[str, float]:
    """Time, memory and disk of an index whose files have been read before."""
    found_in(index, queries)
    times, of_three = (in_turns({"half": partial(found_in, index)}, queries, tags, 1)["half"] for tags in (1, 3))
    return {
        "pictures": index.info().pictures,
        **times,
        "cpu_p50_of_three_ms": of_three["cpu_p50_ms"],
        **memory(),
        "hot_gb": round(sum(file.stat().st_size for name in HOT for file in folder.rglob(name)) / 1e9, 2),
        "disk_gb": round(on_disk(folder) / 1e9, 2),
    }


def check(real: Records, queries: np.ndarray, folder: Path) -> None:
    """Candidates among real pictures and among as many made of half of them: which is harder?

    They are few, so a share of them is looked at that is larger than in a large index, for the first 100.
    """
    half = np.random.default_rng(1).permutation(len(real))[: len(real) // 2]
    made = Records.joined(chunk for _, chunk in resampled(Records(real.rows[half], real.shared[half]), len(real)))
    for name, records in (("real", real), ("made", made)):
        index = Bare.create(folder / name, records.shape)
        index.add([Picture(1 + row, str(row), 1, 1, "", 1, 1) for row in range(len(records))], records)
        wanted = scanned(records, queries)
        stage, every = index._kept.first, np.arange(len(records))
        stage.make_outlines(queries)
        for share in (25, 12, 6):
            count = len(records) // share
            some = stage.likely(queries, every, count)
            say(what="check", records=name, pictures=len(records), candidates=count, **recall(wanted, list(some)))
        for share in (12, 6, 3):
            count = len(records) // share
            assert stage._outline is not None, "it was made"
            rough = stage._outline.scores(stage._asked(queries))
            found = [np.argpartition(one, -count)[-count:] for one in rough]
            say(what="check", records=name, pictures=len(records), by_outline=count, **recall(wanted, found))


def beside_rivals(index: EdgeIndex, queries: np.ndarray, count: int) -> None:
    """The whole index and rivals that scan all of it, some queries in turn, one tag and three.

    In float32 a million pictures take 9 and 18 GB. So the rivals get the records of one block after the other, whose
    times add up, as a scan's do; the index is asked the same beside each block.
    """
    total = index.info().pictures
    spent: dict[tuple[str, int], np.ndarray] = {}
    best: dict[int, list[tuple[float, int]]] = {}
    for start in range(0, total, BLOCK):
        records = index._records.read(np.arange(start, min(start + BLOCK, total)))
        ways: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {
            "index half": partial(found_in, index),
            "numpy float32": partial(scanned, records),
            "faiss flat": faiss_way(with_copies(records), records.shape.vectors),
        }
        for tags in (1, 3):
            groups = [queries[at : at + tags] for at in range(0, count, tags)]
            for name, way in ways.items():
                its = spent.setdefault((name, tags), np.zeros((0, len(groups))))
                spent[name, tags] = np.concatenate([its, [[cpu_ms(way, some) for some in groups]]])
        for at, scores in enumerate(largest_scores(records, queries[:count])):
            new = [(float(scores[place]), start + int(place)) for place in best_places(scores)]
            best[at] = sorted([*best.get(at, []), *new], reverse=True)[:LIMIT]
    wanted = [np.array([place for _, place in best[at]]) for at in range(count)]
    say(what="beside, found", queries=count, **recall(wanted, found_in(index, queries[:count])))
    for (name, tags), times in spent.items():
        its = times if name == "index half" else times.sum(axis=0)
        say(what="beside", way=name, pictures=total, tags=tags, cpu_p50_ms=round(float(np.median(its)), 1))


def cpu_ms(way: Callable[[np.ndarray], object], some: np.ndarray) -> float:
    """Milliseconds of processor time."""
    began = time.process_time()
    way(some)
    return 1000 * (time.process_time() - began)


def together(index: EdgeIndex, tagger: Tagger, count: int) -> None:
    """What `a AND b AND c` finds of the first 20 and 100 of all records, by candidates for all three together.

    Words are drawn from the vocabulary, as by `benchmarks/several_tags.py`, which needs a whole index.
    """
    random, logits = np.random.default_rng(0), LabelLogits.of(tagger, index)
    names, spent = tagger.vocabulary.names, []
    wanted: dict[int, list[np.ndarray]] = {20: [], 100: []}
    found: dict[int, list[np.ndarray]] = {20: [], 100: []}
    for _ in range(count):
        words = tuple(names[place] for place in random.choice(len(names), 3, replace=False))
        search = Search(
            index, None, And(tuple(map(Label, words))), words, tagger.scoring_vectors(words), None, logits, {}, {}, None
        )
        began = time.process_time()
        search.best(20)
        spent.append(1000 * (time.process_time() - began))
        ids = replace(search, exact=True).best(100).ids
        for limit in wanted:
            wanted[limit].append(ids[:limit])
            found[limit].append(search.best(limit).ids)
    for limit in wanted:
        its = {"first": limit, **recall(wanted[limit], found[limit])}
        say(what="a AND b AND c", queries=count, cpu_p50_ms=round(float(np.median(spent)), 1), **its)


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
    axes.axhline(60, color="grey", linestyle="--", label="60 ms")
    axes.set(xlabel="pictures (7 x 256 and 402 numbers each)", ylabel="milliseconds a query")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
