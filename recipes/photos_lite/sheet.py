"""Draw docs/photos_lite.jpg: the photographs inside scikit-image and scikit-learn and what photos-lite says of them.

  python recipes/photos_lite/sheet.py SKIMAGE/data SKLEARN/datasets/images docs/photos_lite.jpg

Every photograph that the two wheels bring and whose licence lets it be shown, whatever the tags are. The licences, as
both packages state them, are in docs/photos_lite.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import tagprism

NAMES = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "rocket.jpg", "clock_motion.png",
    "grass.png", "gravel.png", "brick.png", "text.png", "china.jpg", "flower.jpg",
)  # fmt: skip
TAGS, COLUMNS, WIDTH, HEIGHT, LINE = 6, 5, 240, 170, 19

found = [path for name in NAMES for folder in sys.argv[1:-1] if (path := Path(folder) / name).is_file()]
rows = -(-len(found) // COLUMNS)
tall = HEIGHT + (TAGS + 1) * LINE
sheet = Image.new("RGB", (COLUMNS * WIDTH, rows * tall), "white")
draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
tagger = tagprism.load("photos-lite")
for at, (path, tagged) in enumerate(zip(found, tagger.tag(found, top_k=TAGS), strict=True)):
    left, top = at % COLUMNS * WIDTH, at // COLUMNS * tall
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((WIDTH - 10, HEIGHT - 8))
    sheet.paste(small, (left + (WIDTH - small.width) // 2, top + (HEIGHT - small.height) // 2))
    for line, tag in enumerate(tagged.tags):
        sure = (tag.probability or 0) >= 0.5
        text = f"{tag.probability:.2f}  {tag.label}"
        draw.text((left + 8, top + HEIGHT + line * LINE), text, fill="black" if sure else "#888888", font=font)
    print(path.name, *(f"{tag.label} {tag.probability:.2f}" for tag in tagged.tags), sep=" | ")
sheet.save(sys.argv[-1], quality=80, optimize=True)
