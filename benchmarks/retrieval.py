"""How good finding is: average precision and precision at 20 of every unseen label, from the index itself.

    python benchmarks/retrieval.py RUN tagged:DIR FILE#0
    python benchmarks/retrieval.py RUN openclipart

Test pictures go into an index of each storage, every unseen label is searched for as `tagprism search` does, and the
ranking that comes back is held against the evaluator's of the same records.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from tagprism.datasets.registry import open_data
from tagprism.evaluation.evaluate import Result, evaluate
from tagprism.evaluation.ranking import average_precision_of_ranks, expected_average_precision, mean_of_known
from tagprism.search.collection import Collection
from tagprism.search.contract import Picture
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.find import find
from tagprism.search.query import Label
from tagprism.search.stored import Settings
from tagprism.tagging.tagger import Tagger, load

FIRST = 20
STORAGES = ("float32", "half")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("split", nargs="?")
    arguments = parser.parse_args()
    tagger = load(arguments.run)
    table, chosen = open_data(arguments.data, arguments.split)
    measured = evaluate(tagger, table, chosen)
    labels, has = measured.unseen.nonzero()[0], measured.targets == 1
    labelled = has[:, labels].any(axis=1)
    rankings = {storage: ranked(storage, tagger, measured, labels) for storage in STORAGES}
    print(f"{len(labels)} unseen labels, {len(has):,} test pictures, {labelled.sum():,} of them labelled\n")
    print("| index | mAP, labelled | mAP, all | P@20 | largest difference of an AP from the evaluator's |")
    print("| --- | ---: | ---: | ---: | ---: |")
    expected = np.array([measured.evaluation.per_label[label].average_precision["zsl"] for label in labels])
    for storage, orders in rankings.items():
        within = [average_precision(has[order[labelled[order]], label]) for label, order in orders.items()]
        overall = [average_precision(has[order, label]) for label, order in orders.items()]
        first = [100 * has[order[:FIRST], label].mean() for label, order in orders.items()]
        off = np.nanmax(np.abs(np.array(within) - expected))
        print(
            f"| {storage} | {np.nanmean(within):.2f} | {np.nanmean(overall):.2f} | {np.mean(first):.2f} | {off:.2g} |"
        )
    zsl = measured.evaluation.zsl
    targets = measured.targets[:, labels]
    chance = mean_of_known(expected_average_precision((targets >= 0).sum(axis=0), (targets == 1).sum(axis=0)))
    print(f"| the evaluator | {zsl.labelled.mean_ap:.2f} | {zsl.all_images.mean_ap:.2f} | | |")
    best = [100 * min(FIRST, has[:, label].sum()) / FIRST for label in labels]
    base = 100 * has[:, labels].mean()
    print(f"| chance | {zsl.labelled.chance_ap:.2f} | {chance:.2f} | {base:.2f} | |")
    print(f"| ceiling | 100 | 100 | {np.mean(best):.2f} | |")
    per_label(measured, rankings["half"], has)


def ranked(storage: str, tagger: Tagger, measured: Result, labels: np.ndarray) -> dict[int, np.ndarray]:
    """Rows of all pictures in the order of the index, for each label."""
    assert measured.records is not None
    N, shape = len(measured.records), measured.records.shape
    with tempfile.TemporaryDirectory() as folder:
        index = EdgeIndex.create(Path(folder), shape, storage)
        pictures = [Picture(row + 1, str(path), 1, 1, f"{row:064x}", 1, 1) for row, path in enumerate(measured.files)]
        index.add(pictures, measured.records)
        index.settle(tagger.scoring_vectors(tagger.vocabulary.seen[:50]))
        settings = Settings(model=str(tagger.bundle.path), digest=tagger.bundle.digest, **shape._asdict())
        collection = Collection(folder, settings, index)
        found = {
            label: np.array([one.picture.id - 1 for one in find(collection, Label(measured.names[label]), N).found])
            for label in labels.tolist()
        }
        index.close()
    return found


def average_precision(hit: np.ndarray) -> float:
    """In percent; NaN without a positive."""
    return 100 * average_precision_of_ranks(np.flatnonzero(hit) + 1)


def per_label(measured: Result, orders: dict[int, np.ndarray], has: np.ndarray) -> None:
    """The labels from best to worst."""
    rows = [
        (average_precision(has[order, label]), measured.names[label], int(has[:, label].sum()), order)
        for label, order in orders.items()
        if has[:, label].any()
    ]
    print("\n| unseen label | pictures | AP, all | P@20 |\n| --- | ---: | ---: | ---: |")
    for precision, name, count, order in sorted(rows, key=lambda row: -row[0]):
        first = 100 * has[order[:FIRST], measured.names.index(name)].mean()
        print(f"| {name} | {count} | {precision:.1f} | {first:.0f} |")


if __name__ == "__main__":
    main()
