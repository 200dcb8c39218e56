"""What two words next to each other should mean in a query: one phrase, or both tags? Average precision of each.

    python benchmarks/phrases.py INDEX LABELS [--pairs 100]

INDEX is of pictures whose labels LABELS lists, a JSON object from file name to labels. A query is a pair of labels that
at least 12 pictures have both, that are words of the model's vocabulary, and that are none together; drawn with seed 0.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np

import tagprism
from tagprism.bundle.record import score_records
from tagprism.evaluation.metrics import mean_average_precision
from tagprism.search.match import log_probability

LEAST = 12  # pictures that a query must have


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--pairs", type=int, default=100)
    options = parser.parse_args()
    listed = json.loads(options.labels.read_text(encoding="utf-8"))
    with tagprism.open_index(options.index) as photos:
        pictures = list(photos.index.pictures())
        records = photos.index.records([one.id for one in pictures])
        labels = [frozenset(listed[Path(one.path).name]) for one in pictures]
        find = photos.tagger.vocabulary.find_alike
        both = Counter(pair for its in labels for pair in combinations(sorted(its), 2))
        pairs = [
            pair
            for pair, count in sorted(both.items())
            if count >= LEAST
            and None not in map(find, pair)
            and find(" ".join(pair)) is find(" ".join(pair[::-1])) is None
        ]
        drawn = np.random.default_rng(0).permutation(len(pairs))[: options.pairs]
        chosen = [pairs[place] for place in drawn]

        def logs(words: list[str]) -> np.ndarray:
            vectors = photos.tagger.scoring_vectors(words)
            return log_probability(photos.label_logits.logits(vectors, score_records(records, vectors)[0]))

        has = np.array([[set(pair) <= its for pair in chosen] for its in labels])
        joined = logs([one for one, _ in chosen]) + logs([other for _, other in chosen])
        phrase = logs([" ".join(pair) for pair in chosen])
    each = [
        [mean_average_precision(scores[:, [at]], has[:, [at]].astype(int)) for at in range(len(chosen))]
        for scores in (joined, phrase)
    ]
    gain = np.subtract(each[0], each[1])
    print(f"{len(pictures)} pictures, {len(chosen)} of {len(pairs)} pairs")
    print(f"AND {np.mean(each[0]):.1f}, phrase {np.mean(each[1]):.1f}, ", end="")
    print(f"difference {gain.mean():+.1f} +- {gain.std(ddof=1) / np.sqrt(len(gain)):.1f} mAP")


if __name__ == "__main__":
    main()
