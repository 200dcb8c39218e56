"""Queries of several tags in a large index: what they take, and how many of the best pictures of all they find.

Run: OMP_NUM_THREADS=1 python benchmarks/several_tags.py INDEX [--queries 48] [--seed 0]
INDEX is an index of 50,000 pictures or more, where a search looks for candidates first. The words of the queries are
drawn from the labels of its vocabulary; the ranking of all records (`--exact`) says which pictures are the best.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tagprism.search.collection import Collection, open_index
from tagprism.search.query import And, Label, Not, Or, Query

FORMS: dict[str, Callable[[str, str, str], Query]] = {
    "one tag": lambda a, b, c: Label(a),
    "a AND b": lambda a, b, c: And((Label(a), Label(b))),
    "a AND b AND c": lambda a, b, c: And((Label(a), Label(b), Label(c))),
    "a AND NOT b": lambda a, b, c: And((Label(a), Not(Label(b)))),
    "a OR b": lambda a, b, c: Or((Label(a), Label(b))),
}


def main() -> None:
    """Measure, and print a line of JSON for each form of a query."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    with open_index(arguments.index) as collection:
        _ = collection.label_logits
        names = collection.tagger.vocabulary.names
        words = [
            [names[place] for place in random.choice(len(names), 3, replace=False)] for _ in range(arguments.queries)
        ]
        for form, make in FORMS.items():
            print(json.dumps({"form": form, **measured(collection, [make(*some) for some in words])}), flush=True)


def measured(collection: Collection, queries: list[Query]) -> dict[str, float]:
    """Median of processor milliseconds, and recall of the first 20 and 100 in the mean and at the worst."""
    spent: dict[bool, list[float]] = {False: [], True: []}
    shares: dict[int, list[float]] = {20: [], 100: []}
    for query in queries:
        ids = {}
        for exact in (False, True):
            began = time.process_time()
            collection.search(query, exact=exact)
            spent[exact].append(1000 * (time.process_time() - began))
            ids[exact] = [one.picture.id for one in collection.search(query, 100, exact=exact).found]
        for count, its in shares.items():
            its.append(len(set(ids[False][:count]) & set(ids[True][:count])) / max(1, len(ids[True][:count])))
    found = {"ms": float(np.median(spent[False])), "ms exact": float(np.median(spent[True]))}
    for count, its in shares.items():
        found |= {f"recall@{count}": float(np.mean(its)), f"worst@{count}": min(its)}
    return {name: round(value, 4) for name, value in found.items()}


if __name__ == "__main__":
    main()
