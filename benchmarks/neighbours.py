"""What `search --neighbours` gains: precision at 20 of every label, as `tagprism search` finds the pictures.

    python benchmarks/neighbours.py RUN tagged:DIR FILE#0

`docs/queries.md` has the numbers. The splits are those of `benchmarks/combining.py`: the number of neighbours was
chosen on training photos, of whose labels a quarter played the unseen ones.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from tagprism.datasets.registry import open_data
from tagprism.evaluation.evaluate import evaluate
from tagprism.search.collection import Collection
from tagprism.search.contract import Picture
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.find import find
from tagprism.search.query import Label
from tagprism.search.stored import Settings
from tagprism.tagging.tagger import load

FIRST = 20
NEIGHBOURS = (0, 5, 10, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("split", nargs="?")
    arguments = parser.parse_args()
    tagger = load(arguments.run)
    table, chosen = open_data(arguments.data, arguments.split)
    measured = evaluate(tagger, table, chosen)
    assert measured.records is not None
    has, shape = measured.targets == 1, measured.records.shape
    with tempfile.TemporaryDirectory() as folder:
        index = EdgeIndex.create(Path(folder), shape, "float32")
        pictures = [Picture(row + 1, str(path), 1, 1, f"{row:064x}", 1, 1) for row, path in enumerate(measured.files)]
        index.add(pictures, measured.records)
        settings = Settings(model=arguments.run, digest=tagger.bundle.digest, **shape._asdict())
        collection = Collection(folder, settings, index)

        def precision(label: int, neighbours: int) -> float:
            found = find(collection, Label(measured.names[label]), FIRST, neighbours=neighbours).found
            return 100 * float(np.mean(has[[one.picture.id - 1 for one in found], label]))

        print("| P@20 | labels | " + " | ".join(map(str, NEIGHBOURS)) + " |")
        print("| --- |" + " ---: |" * (1 + len(NEIGHBOURS)))
        for title, side in (("unseen", measured.unseen), ("seen", ~measured.unseen)):
            labels = np.flatnonzero(side & has.any(axis=0)).tolist()
            values = np.array([[precision(label, k) for k in NEIGHBOURS] for label in labels])
            gains = values - values[:, :1]
            errors = gains.std(axis=0) / len(labels) ** 0.5
            cells = [
                f"{mean:.1f} ({gain:+.1f} ± {error:.1f})"
                for mean, gain, error in zip(values.mean(axis=0), gains.mean(axis=0), errors, strict=True)
            ]
            print(f"| {title} | {len(labels)} | " + " | ".join(cells) + " |")
        index.close()


if __name__ == "__main__":
    main()
