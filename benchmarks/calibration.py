"""Which features and which map make the best probabilities of labels never trained on; no test data.

    python benchmarks/calibration.py RUN...

Every RUN keeps the pairs of its calibration folds. A map is fitted on all folds but one and judged on that one, whose
labels neither the fold's head nor the map has seen. Log loss is relative to always saying the share of positives (1.0:
nothing learnt; lower is better). `over 0.1`: mean probability and truth of the pairs at 0.1 and above.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from sklearn.isotonic import IsotonicRegression

from tagprism.evaluation.reliability import reliability
from tagprism.tagging.monotone_fit import fit_monotone

FEATURES = {"deviations": [0], "score": [1], "deviations, score": [0, 1], "deviations, score, best": [0, 1, 2]}
Fold = tuple[np.ndarray, np.ndarray]


def with_pieces(features: np.ndarray, positive: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return fit_monotone(features, positive, rising=min(2, features.shape[1]))


def logistic(features: np.ndarray, positive: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return fit_monotone(features, positive, rising=min(2, features.shape[1]), pieces=False)


def isotonic(features: np.ndarray, positive: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    first = logistic(features, positive)
    second = IsotonicRegression(out_of_bounds="clip").fit(first(features), positive)
    return lambda asked: second.predict(first(asked))


MAPS = {"logistic": logistic, "logistic + isotonic": isotonic, "logistic + straight pieces": with_pieces}


def judge(folds: list[Fold], columns: list[int], fit: Callable[..., Callable[[np.ndarray], np.ndarray]]) -> str:
    said, true = [], []
    for held in range(len(folds)):
        others = [fold for at, fold in enumerate(folds) if at != held]
        its = fit(np.concatenate([x[:, columns] for x, _ in others]), np.concatenate([y for _, y in others]))
        said.append(its(folds[held][0][:, columns]))
        true.append(folds[held][1])
    chance, truth = np.concatenate(said), np.concatenate(true)
    base = truth.mean()
    right = np.clip(np.where(truth, chance, 1 - chance), 1e-6, 1)
    loss = -np.log(right).mean() / -(base * np.log(base) + (1 - base) * np.log(1 - base))
    found = reliability(chance[None], truth[None].astype(np.int8))
    high = chance >= 0.1
    over = f"{100 * chance[high].mean():.1f} / {100 * truth[high].mean():.1f}" if high.any() else ""
    return f"{loss:.4f} | {found.ece:.3f} | {found.skill:.2f} | {over}"


def main() -> None:
    """Print a table for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    for run in parser.parse_args().runs:
        files = sorted((run / "calibration").glob("fold_*.safetensors"))
        tensors = [load_file(file) for file in files]
        folds = [(one["features"], one["positive"]) for one in tensors]
        pairs, positives = sum(len(y) for _, y in folds), sum(int(y.sum()) for _, y in folds)
        print(f"\n{run.name}: {len(folds)} folds, {pairs:,} pairs, {positives:,} positive\n")
        print("| features | map | log loss | ECE | Brier skill | over 0.1: said / true, percent |")
        print("| --- | --- | ---: | ---: | ---: | ---: |")
        for features, columns in FEATURES.items():
            for name, fit in MAPS.items():
                print(f"| {features} | {name} | {judge(folds, columns, fit)} |", flush=True)


if __name__ == "__main__":
    main()
