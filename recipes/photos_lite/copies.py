"""Write small copies of caption photos, which train beside them.

  python recipes/photos_lite/copies.py tagged:SOURCE INTO

INTO becomes a folder like SOURCE, and is called `small_` and the name of SOURCE. Nearly all caption photos show a
person and are sharp; Corel-5k's have 192 x 128 pixels and seldom show one. A head that sees no copies takes a sharp
photo for one with a person.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from names import SMALL, used
from PIL import Image

from tagprism.app import console
from tagprism.datasets.registry import open_dataset
from tagprism.files import replaced_whole
from tagprism.images.decode import open_picture

LONG, SHORT, QUALITY = 192, 128, 90  # pixels, as in Corel-5k

source, into = sys.argv[1], Path(sys.argv[2])
table, name = open_dataset(source), into.name.removeprefix(SMALL)
(into / "images").mkdir(parents=True, exist_ok=True)
labels = {}
photos = [key.removeprefix(f"{name}/") for key in used(f"{name}/{key}" for key in table.keys)]
for row in table.rows_of(photos):
    key, picture = table.keys[int(row)], open_picture(Path(table.files[int(row)]))
    size = (LONG, SHORT) if picture.width >= picture.height else (SHORT, LONG)
    with replaced_whole(into / "images" / key) as beside:
        picture.resize(size, Image.Resampling.LANCZOS).save(beside, "JPEG", quality=QUALITY)
    labels[key] = [table.labels[int(at)] for at in table.positive[int(row)]]
with replaced_whole(into / "labels.json") as beside:
    beside.write_text(json.dumps(labels, indent=1), encoding="utf-8")
console.say(f"{len(labels)} photos in {into}")
