"""How photos-lite would do on other people's photos: COCO classes on photos with captions that it does not train on.

  python recipes/photos_lite/yardstick.py tagged:JOINED split.json recipes/photos_lite.toml [key=value ...]

Trains the recipe (with the settings given, as for `--set`) on the yardstick's two splits (split.py), and prints how
many COCO classes were trained on and not, their mAP and chance, over the test photos; a label that no caption gives
counts as absent, which is often wrong, for all recipes alike. `without=corel5k/` trains without that source.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from tagprism.app import console
from tagprism.comparing.experiment import Experiment
from tagprism.comparing.methods import Method
from tagprism.datasets.registry import open_dataset
from tagprism.datasets.splits import load_split
from tagprism.training.recipe import load_recipe

data, file, recipe, *settings = sys.argv[1:]
left_out = tuple(one.partition("=")[2] for one in settings if one.startswith("without="))
chosen = load_recipe(Path(recipe), tuple(one for one in settings if not one.startswith("without=")))
table = open_dataset(data)
splits = [load_split(f"{file}#{at}", table) for at in (2, 3)]
classes = {name for split in splits for name in split.unseen}
found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
for split in splits:
    kept = tuple(key for key in split.train if not left_out or not key.startswith(left_out))
    experiment = Experiment(
        table, replace(split, train=kept), unknown="negative", progress=console.progress(quiet=False)
    )
    for row in experiment.run(Method("chosen", chosen)).per_label:
        if row.label in classes and row.positives:
            found[row.unseen].append((row.average_precision["gzsl"], row.chance["gzsl"]))
for unseen, rows in found.items():
    print("never trained on" if unseen else "trained on", len(rows), *np.round(np.mean(rows, axis=0), 1))
