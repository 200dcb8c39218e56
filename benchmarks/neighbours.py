"""What `search --neighbours` gains: precision at 20 of every label, as `tagprism search` finds the pictures.

    python benchmarks/neighbours.py RUN tagged:DIR FILE#0

`docs/queries.md` has the numbers. The splits are those of `benchmarks/combining.py`: the number of neighbours was
chosen on training photos, of whose labels a quarter played the unseen ones.
"""

from __future__ import annotations

import numpy as np

from measured_run import index_of, measured_run
from tagprism.search.find import find
from tagprism.search.query import Label

FIRST = 20
NEIGHBOURS = (0, 5, 10, 20)


def main() -> None:
    tagger, measured = measured_run(__doc__)
    has = measured.targets == 1
    with index_of(measured, tagger, "float32") as collection:

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


if __name__ == "__main__":
    main()
