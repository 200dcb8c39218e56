"""What further views of a picture give and cost: mAP, Brier skill, time, and where the winner was, for each number.

    python benchmarks/views.py MODEL DIR [--pictures 600] [--views 1 2 3 5 6]

DIR is a folder `tagged:DIR`. What is not listed counts as absent, which is often wrong of captions, for all rows alike.
Pictures that the model was trained on are left out, then so many are drawn (seed 0). Labels with at least 8 of them
are measured. Time is processor time of one thread, from file to record.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from tagprism.bundle.record import Records, score_records
from tagprism.datasets.registry import open_dataset
from tagprism.datasets.table import ImageTable
from tagprism.evaluation.metrics import mean_average_precision
from tagprism.evaluation.reliability import reliability
from tagprism.files import digest_file
from tagprism.images.decode import open_picture
from tagprism.images.picture_file import PictureFile
from tagprism.images.views import VIEWS
from tagprism.tagging.tagger import Tagger, load

LEAST, DRAWS = 8, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--views", type=int, nargs="+", choices=VIEWS, default=list(VIEWS))
    options = parser.parse_args()
    table = open_dataset(f"tagged:{options.folder}")
    plain = load(options.model)
    rows = drawn(table, plain.bundle.trained_images, options.pictures)
    has = table.targets(rows, table.labels) == 1
    names = [name for name, count in zip(table.labels, has.sum(axis=0), strict=True) if count >= LEAST]
    names = [name for name in names if name not in plain.unknown(names)]
    targets = (table.targets(rows, names) == 1).astype(np.int8)
    print(f"{len(rows)} pictures, {len(names)} labels, {targets.sum(axis=1).mean():.1f} of them a picture\n")
    print("| views | mAP | over 1 view | Brier skill | best label found by a part | ms a picture |")
    print("|---:|---:|---:|---:|---:|---:|")
    before: np.ndarray | None = None
    for views in [1, *(one for one in options.views if one != 1)]:
        tagger = load(options.model, views=views)
        records, spent = looked_at(tagger, [table.files[row] for row in rows])
        scores, winners = score_records(records, tagger.scoring_vectors(names))
        before = scores if before is None else before
        gain, error = difference(scores, before, targets)
        of_part = winners // (records.shape.vectors // views) > 0
        won = np.take_along_axis(of_part, scores.argmax(axis=1)[:, None], axis=1).mean()
        over = "" if views == 1 else f"{gain:+.1f} +- {error:.1f}"
        print(
            f"| {views} | {mean_average_precision(scores, targets):.1f} | {over} "
            f"| {skill(tagger, names, records, scores, targets)} | {won:.0%} | {1000 * spent:.0f} |",
            flush=True,
        )


def drawn(table: ImageTable, trained: frozenset[str], count: int) -> list[int]:
    """Rows of pictures that the model was not trained on."""
    order = np.random.default_rng(0).permutation(len(table)).tolist()
    found: list[int] = []
    for row in order:
        if len(found) < count and digest_file(table.files[row]) not in trained:
            found.append(row)
    return sorted(found)


def looked_at(tagger: Tagger, files: list[PictureFile]) -> tuple[Records, float]:
    """Records, and the processor seconds of a picture."""
    prepare, start, found = tagger.preprocess, time.process_time(), []
    for file in files:
        picture = open_picture(file, draft_size=prepare.draft_size, where=str(file))
        found.append(tagger.network(prepare.apply(picture)[None]))
    return Records.joined(found), (time.process_time() - start) / len(files)


def difference(scores: np.ndarray, before: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Gain in mAP, and its standard error over draws of the pictures with replacement (seed 0)."""
    random, gains = np.random.default_rng(0), []
    for _ in range(DRAWS):
        rows = random.integers(0, len(targets), len(targets))
        gains.append(
            mean_average_precision(scores[rows], targets[rows]) - mean_average_precision(before[rows], targets[rows])
        )
    whole = mean_average_precision(scores, targets) - mean_average_precision(before, targets)
    return float(whole), float(np.std(gains))


def skill(tagger: Tagger, names: list[str], records: Records, scores: np.ndarray, targets: np.ndarray) -> str:
    """How much of the variance of being there the probabilities explain, percent; '-' without probabilities."""
    if tagger.calibration is None:
        return "-"
    calibrated = tagger.calibration.of_labels(names, tagger.embed(names), tagger.vocabulary)
    return f"{reliability(calibrated.probabilities(records, scores), targets).skill:.1f}"


if __name__ == "__main__":
    main()
