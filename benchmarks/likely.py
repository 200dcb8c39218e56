"""From which match on a search should call a picture likely: precision, recall and F1 of what is shown, by the cut.

    python benchmarks/likely.py MODEL DIR [--pictures 700]

DIR is a folder `tagged:DIR`. Labels with at least 8 pictures among those drawn (seed 0) are each a query.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tagprism.bundle.record import Records, score_records
from tagprism.datasets.registry import open_dataset
from tagprism.errors import PictureError
from tagprism.search.match import LabelLogits, log_probability
from tagprism.tagging.tagger import load

LEAST = 8  # pictures that a query must have
CUTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=700)
    options = parser.parse_args()
    tagger = load(options.model)
    table = open_dataset(f"tagged:{options.folder}")
    count = min(options.pictures, len(table))
    rows = sorted(np.random.default_rng(0).choice(len(table), count, replace=False).tolist())
    kept, records = [], []
    for place, outcome, _ in tagger.records([table.files[row] for row in rows]):
        if not isinstance(outcome, PictureError):
            kept.append(rows[place])
            records.append(outcome)
    has = table.targets(kept, table.labels) == 1
    columns = np.flatnonzero(has.sum(axis=0) >= LEAST)
    has, names = has[:, columns], [table.labels[column] for column in columns]
    vectors = tagger.scoring_vectors(names)
    scores, _ = score_records(Records.joined(records), vectors)
    assert tagger.calibration is not None, "a model without probabilities has no likely pictures"
    logits = LabelLogits(tagger.calibration.background, tagger.bundle.config.standardised)
    matches = np.exp(log_probability(logits.logits(vectors, scores)))
    print(f"{len(kept)} pictures, {len(names)} labels, {has.sum(axis=0).mean():.1f} pictures a label\n")
    print(
        "| cut | shown a query | precision | recall | mean F1 | queries with nothing |\n|---|---:|---:|---:|---:|---:|"
    )
    for cut in CUTS:
        shown = matches >= cut
        right, all_shown, all_true = (shown & has).sum(axis=0), shown.sum(axis=0), has.sum(axis=0)
        f1 = (2 * right / (all_shown + all_true)).mean()
        precision, recall = right.sum() / max(all_shown.sum(), 1), right.sum() / all_true.sum()
        nothing = (all_shown == 0).mean()
        print(f"| {cut} | {all_shown.mean():.1f} | {precision:.3f} | {recall:.3f} | {f1:.3f} | {nothing:.3f} |")


if __name__ == "__main__":
    main()
