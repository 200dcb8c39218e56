"""How photos-lite would do on other people's photos: COCO classes on photos with captions that it does not train on.

  python recipes/photos_lite/yardstick.py tagged:JOINED split.json recipes/photos_lite.toml [key=value ...]

Trains the recipe (with the settings given, as for `--set`) on the yardstick's two splits (split.py), and prints the mAP
of the COCO classes that a split trains on and of those that it does not, over all of its test photos; a label that no
caption gives counts as absent, which is often wrong, for all recipes alike.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tagprism.app import console
from tagprism.datasets.registry import open_dataset
from tagprism.datasets.splits import load_split
from tagprism.training.experiment import Experiment
from tagprism.training.recipe import load_recipe

data, splits, recipe, *settings = sys.argv[1:]
table, chosen = open_dataset(data), load_recipe(Path(recipe), tuple(settings))
classes = {name for at in (2, 3) for name in load_split(f"{splits}#{at}", table).unseen}
found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
for at in (2, 3):
    experiment = Experiment(
        table, load_split(f"{splits}#{at}", table), unknown="negative", progress=console.progress(False)
    )
    for row in experiment.train(chosen).labels:
        if row.label in classes and row.positives:
            found[row.unseen].append((row.average_precision["gzsl"], row.chance["gzsl"]))
for unseen, rows in found.items():
    print("never trained on" if unseen else "trained on", len(rows), *np.round(np.mean(rows, axis=0), 1))
