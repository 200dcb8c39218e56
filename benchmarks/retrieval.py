"""How good finding is: average precision and precision at 20 of every unseen label, from the index itself.

    python benchmarks/retrieval.py RUN tagged:DIR FILE#0
    python benchmarks/retrieval.py RUN openclipart

Test pictures go into an index of each storage, every unseen label is searched for as `tagprism search` does, and the
ranking that comes back is held against the evaluator's of the same records.
"""

from __future__ import annotations

import numpy as np

from measured_run import index_of, measured_run
from tagprism.evaluation.evaluate import Result
from tagprism.evaluation.ranking import average_precision_of_ranks, expected_average_precision, mean_of_known
from tagprism.search.find import find
from tagprism.search.query import Label
from tagprism.search.record_file import StorageName
from tagprism.tagging.tagger import Tagger

FIRST = 20
STORAGES: tuple[StorageName, ...] = ("float32", "half")


def main() -> None:
    tagger, measured = measured_run(__doc__)
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


def ranked(storage: StorageName, tagger: Tagger, measured: Result, labels: np.ndarray) -> dict[int, np.ndarray]:
    """Rows of all pictures in the order of the index, for each label."""
    with index_of(measured, tagger, storage) as collection:
        collection.index.settle(tagger.scoring_vectors(tagger.vocabulary.seen[:50]))
        every = len(measured.files)
        found = {label: find(collection, Label(measured.names[label]), every).found for label in labels.tolist()}
    return {label: np.array([one.picture.id - 1 for one in its]) for label, its in found.items()}


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
