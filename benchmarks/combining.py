"""How label scores are best combined for AND, NOT and OR, and which likeness of pictures is best.

    python benchmarks/combining.py split tagged:DIR FILE#0 > choose.json
    tagprism train recipes/corel5k.toml --data tagged:DIR --split choose.json --out CHOOSE
    python benchmarks/combining.py measure CHOOSE tagged:DIR choose.json
    python benchmarks/combining.py measure RUN tagged:DIR FILE#0

`split` makes a split of the training part alone: a quarter of the seen labels play the unseen ones, three tenths of the
training photos the test photos. What `search/match.py` and `search/similar.py` do was chosen there; RUN and its own
test photos only confirm it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
from collections.abc import Callable

import numpy as np

from tagprism.bundle.record import Records, max_similarity_numpy, score_records
from tagprism.datasets.registry import open_data
from tagprism.evaluation.evaluate import evaluate
from tagprism.evaluation.ranking import average_precision_of_ranks
from tagprism.search.match import LabelLogits, is_likely, log_match, log_probability, ranks_of
from tagprism.search.parse import parse
from tagprism.search.query import Label, Leaf
from tagprism.search.similar import Example, likeness
from tagprism.tagging.tagger import Tagger, load

MOST = 400  # queries of a kind, drawn at random
BACKGROUND = 256
Pair = tuple[int, int]
Rule = Callable[[np.ndarray, np.ndarray, str], np.ndarray]


def split(data: str, spec: str) -> None:
    _, outer = open_data(data, spec)
    seen, train = sorted(outer.seen), sorted(outer.train)
    generator = random.Random(0)
    generator.shuffle(seen)
    generator.shuffle(train)
    few, some = len(seen) // 4, len(train) * 3 // 10
    parts = {"seen": seen[few:], "unseen": seen[:few], "train": train[some:], "test": train[:some]}
    json.dump({name: sorted(its) for name, its in parts.items()}, sys.stdout)


def measure(run: str, data: str, spec: str, least: int) -> None:
    tagger = load(run)
    table, chosen = open_data(data, spec)
    measured = evaluate(tagger, table, chosen)
    generator = np.random.default_rng(0)
    some = min(BACKGROUND, len(chosen.train))
    keys = [chosen.train[i] for i in sorted(generator.choice(len(chosen.train), some, replace=False))]
    files = [table.files[int(row)] for row in table.rows_of(keys)]
    background = Records.joined(outcome for _, outcome, _ in tagger.records(files) if isinstance(outcome, Records))
    label_logits = LabelLogits(background, standardised=True)
    vectors = tagger.scoring_vectors(measured.names)
    assert measured.records is not None
    scores = score_records(measured.records, vectors)[0].astype(float)
    has = measured.targets == 1
    for title, labels in (("unseen labels", np.flatnonzero(measured.unseen)), ("all labels", np.arange(len(vectors)))):
        combine(title, queries_of(labels, has, least), scores, has, label_logits, vectors)
    compare_likeness(tagger, measured.records, has, label_logits, scores, measured.unseen, vectors)


def combine(
    title: str,
    pairs: dict[str, list[Pair]],
    scores: np.ndarray,
    has: np.ndarray,
    label_logits: LabelLogits,
    vectors: np.ndarray,
) -> None:
    known = score_records(label_logits.background, vectors)[0].astype(float)
    z = (scores - known.mean(axis=0)) / known.std(axis=0)
    own = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    rules: dict[str, tuple[np.ndarray, Rule]] = {
        "sum of scores": (scores, added),
        "least of scores": (scores, fuzzy),
        "sum of z": (z, added),
        "least of z": (z, fuzzy),
        "product, chance from z, no prior": (z, product),
        "product, z - 2": (z - 2, product),
        "product, z - 4": (z - 4, product),
        "product, score - 4": (scores - 4, product),
        "product, 0.5 z + score - 5 (ours)": (label_logits.logits(vectors, scores), product),
        "the same, likely ones first": (label_logits.logits(vectors, scores), likely_first),
        "the same, z over the ranked pictures": (0.5 * own + scores - 5, product),
        "product, 0.5 z + score - 3": (0.5 * z + scores - 3, product),
        "least, 0.5 z + score - 5": (label_logits.logits(vectors, scores), fuzzy),
    }
    print(f"\n{title}: {', '.join(f'{len(its)} {kind}' for kind, its in pairs.items())}\n")
    print("| percent | " + " | ".join(f"{kind} mAP | P@20" for kind in pairs) + " |")
    print("| --- |" + " ---: |" * 2 * len(pairs))
    for name, (values, rule) in rules.items():
        cells = [f"{value:.1f}" for kind, its in pairs.items() for value in quality(values, has, kind, its, rule)]
        print(f"| {name} | {' | '.join(cells)} |")


def queries_of(labels: np.ndarray, has: np.ndarray, least: int) -> dict[str, list[Pair]]:
    both = {(a, b): int((has[:, a] & has[:, b]).sum()) for a, b in itertools.combinations(labels.tolist(), 2)}
    count = has.sum(axis=0)
    found = {
        "AND": [pair for pair, together in both.items() if together >= least],
        "NOT": [
            (a, b)
            for pair, together in both.items()
            for a, b in (pair, pair[::-1])
            if together >= least and count[a] - together >= least
        ],
        "OR": [(a, b) for a, b in both if min(count[a], count[b]) >= least],
    }
    return {kind: random.Random(0).sample(its, min(MOST, len(its))) for kind, its in found.items()}


def quality(values: np.ndarray, has: np.ndarray, kind: str, pairs: list[Pair], rule: Rule) -> tuple[float, float]:
    precisions, firsts = [], []
    for a, b in pairs:
        wanted = {"AND": has[:, a] & has[:, b], "NOT": has[:, a] & ~has[:, b], "OR": has[:, a] | has[:, b]}[kind]
        hit = wanted[np.argsort(-rule(values[:, a], values[:, b], kind), kind="stable")]
        precisions.append(average_precision_of_ranks(np.flatnonzero(hit) + 1))
        firsts.append(hit[:20].mean())
    return 100 * float(np.mean(precisions)), 100 * float(np.mean(firsts))


def added(a: np.ndarray, b: np.ndarray, kind: str) -> np.ndarray:
    return a - b if kind == "NOT" else a + b


def fuzzy(a: np.ndarray, b: np.ndarray, kind: str) -> np.ndarray:
    return {"AND": np.minimum(a, b), "NOT": np.minimum(a, -b), "OR": np.maximum(a, b)}[kind]


def product(a: np.ndarray, b: np.ndarray, kind: str) -> np.ndarray:
    if kind == "OR":
        return -(log_probability(-a) + log_probability(-b))
    return log_probability(a) + log_probability(-b if kind == "NOT" else b)


def likely_first(a: np.ndarray, b: np.ndarray, kind: str) -> np.ndarray:
    query = parse("a NOT b" if kind == "NOT" else f"a {kind} b")
    logits: dict[Leaf, np.ndarray] = {Label("a"): a, Label("b"): b}
    return ranks_of(log_match(query, logits), is_likely(query, logits))


def compare_likeness(
    tagger: Tagger,
    records: Records,
    has: np.ndarray,
    label_logits: LabelLogits,
    scores: np.ndarray,
    unseen: np.ndarray,
    vectors: np.ndarray,
) -> None:
    rows = records.rows
    unit = rows / np.linalg.norm(rows, axis=2, keepdims=True)
    shared = label_logits.background.rows.mean(axis=(0, 1))
    apart = rows - shared
    apart_unit = apart / np.linalg.norm(apart, axis=2, keepdims=True)
    seen = ~unseen
    logits = label_logits.logits(vectors[seen], scores[:, seen])
    logs, chances = log_probability(logits), np.exp(log_probability(logits))

    def by_rows(own: np.ndarray, others: np.ndarray) -> np.ndarray:
        return max_similarity_numpy(others, own)[0].mean(axis=1)

    def by_labels(i: int, count: int) -> np.ndarray:
        best = np.argsort(-chances[i])[:count]
        return logs[:, best] @ (chances[i, best] / chances[i, best].sum())

    def ours(i: int, part: slice) -> np.ndarray:
        its = likeness(Example(records[i : i + 1]), tagger, label_logits)
        logits = label_logits.logits(its.scoring_vectors[part], score_records(records, its.scoring_vectors[part])[0])
        return log_probability(logits) @ its.weights[part]

    ways: dict[str, Callable[[int], np.ndarray]] = {
        "mean over its rows of the max product": lambda i: by_rows(rows[i], rows),
        "the same, rows as unit vectors": lambda i: by_rows(unit[i], unit),
        "the same, less the mean row": lambda i: by_rows(apart_unit[i], apart_unit),
        "its direction as a label": lambda i: ours(i, slice(5, 6)),
        "its 5 best trained labels": lambda i: by_labels(i, 5),
        "its 20 best trained labels": lambda i: by_labels(i, 20),
        "5 best labels and direction (ours)": lambda i: ours(i, slice(None)),
    }
    labelled = np.flatnonzero(has.any(axis=1))
    asked = np.random.default_rng(0).choice(labelled, min(MOST, len(labelled)), replace=False)
    print(f"\nlikeness, {len(asked)} photos asked\n")
    print("| percent | labels shared by the 10 nearest | itself first | itself in 10 |\n| --- | ---: | ---: | ---: |")
    for name, way in ways.items():
        share, place = [], []
        for i in asked.tolist():
            values = way(i)
            place.append(int((values > values[i]).sum()))
            values[i] = -np.inf
            near = np.argsort(-values, kind="stable")[:10]
            share.append((has[near] & has[i]).sum(axis=1).mean() / has[i].sum())
        first, in_ten = (100 * (np.array(place) < count).mean() for count in (1, 10))
        print(f"| {name} | {100 * np.mean(share):.1f} | {first:.0f} | {in_ten:.0f} |", flush=True)


def main() -> None:
    """Make the split, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    splitting, measuring = commands.add_parser("split"), commands.add_parser("measure")
    splitting.set_defaults(command=split)
    measuring.set_defaults(command=measure)
    measuring.add_argument("run")
    measuring.add_argument("--least", type=int, default=5, help="pictures that a query must have")
    for command in (splitting, measuring):
        command.add_argument("data")
        command.add_argument("spec", metavar="split")
    arguments = vars(parser.parse_args())
    arguments.pop("command")(**arguments)


if __name__ == "__main__":
    main()
