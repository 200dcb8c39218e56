"""A small made-up world: pictures of coloured shapes, their labels, word vectors and a recipe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 220), "yellow": (230, 220, 40)}
SHAPES = ("circle", "square", "triangle", "cross")
LABELS = (*COLOURS, *SHAPES)
UNSEEN = ("yellow", "cross")

RECIPE = """
name = "small"
seed = 3
[labels]
parts = [{{ encoder = "file:{words}", centre = true }}]
[model]
backbone = "test_efficientnet.r160_in1k"
weights = "random"
image_size = 64
vectors = 3
[augment]
crop_scale = 0.5
flip = 0.5
rand_augment = true
cutout = 0.3
[training]
epochs = 3
batch_size = 8
validation = 0.25
"""


def draw(path: Path, colour: str, shape: str, seed: int) -> None:
    """One shape at a random place on grey noise."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(90, 160, (72, 96, 3), dtype=np.uint8))
    pen, (x, y), size = ImageDraw.Draw(image), random.integers(8, 40, 2).tolist(), int(random.integers(18, 30))
    box, fill = (x, y, x + size, y + size), COLOURS[colour]
    if shape == "circle":
        pen.ellipse(box, fill=fill)
    elif shape == "square":
        pen.rectangle(box, fill=fill)
    elif shape == "triangle":
        pen.polygon([(x, y + size), (x + size, y + size), (x + size // 2, y)], fill=fill)
    else:
        pen.rectangle((x, y + size // 3, x + size, y + 2 * size // 3), fill=fill)
        pen.rectangle((x + size // 3, y, x + 2 * size // 3, y + size), fill=fill)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def make_pictures(folder: Path, copies: int = 4) -> Path:
    """`tagged:` folder of every colour with every shape, `copies` times, and `split.json` with two unseen labels."""
    labels = {}
    for number in range(copies):
        for colour in COLOURS:
            for shape in SHAPES:
                key = f"{number}/{colour}_{shape}.png"
                draw(folder / "images" / key, colour, shape, seed=len(labels))
                labels[key] = [colour, shape]
    keys = list(labels)
    train = [key for place, key in enumerate(keys) if place % 3]
    split = {
        "seen": [label for label in LABELS if label not in UNSEEN],
        "unseen": list(UNSEEN),
        "train": train,
        "test": [key for key in keys if key not in set(train)],
    }
    (folder / "labels.json").write_text(json.dumps(labels))
    (folder / "split.json").write_text(json.dumps(split))
    return folder


def make_words(path: Path) -> Path:
    """Word vectors in GloVe's text format, for the labels and some more."""
    random = np.random.default_rng(0)
    words = (*LABELS, "orange", "star", "circles")
    lines = (f"{word} {' '.join(f'{value:.4f}' for value in random.standard_normal(12))}" for word in words)
    path.write_text("\n".join(lines) + "\n")
    return path


def make_recipe(folder: Path) -> Path:
    """A recipe over `make_words` with a tiny random backbone."""
    words = make_words(folder / "words.txt")
    recipe = folder / "small.toml"
    recipe.write_text(RECIPE.format(words=words.as_posix()))
    return recipe


@dataclass(frozen=True)
class World:
    """A data set, a recipe and the place of a run trained on split 0.

    Args:
        folder: holds all of it.
    """

    folder: Path

    @property
    def data(self) -> Path:
        """The `tagged:` folder."""
        return self.folder / "data"

    @property
    def recipe(self) -> Path:
        """The recipe."""
        return self.folder / "small.toml"

    @property
    def words(self) -> Path:
        """The word vectors."""
        return self.folder / "words.txt"

    @property
    def run(self) -> Path:
        """The trained run."""
        return self.folder / "run"

    def on(self, number: int = 0, data: Path | None = None) -> tuple[str, ...]:
        """Arguments that name the data and one of the two splits."""
        data = data or self.data
        return "--data", f"tagged:{data}", "--split", f"{data}/splits.json#{number}"

    def train_arguments(self, out: Path | None = None, data: Path | None = None) -> tuple[str, ...]:
        """Arguments that train the recipe on split 0."""
        return "train", str(self.recipe), *self.on(0, data), "--out", str(out or self.run)

    def pictures(self) -> list[Path]:
        """All pictures, sorted."""
        return sorted((self.data / "images").rglob("*.png"))


def make_world(folder: Path) -> World:
    """Pictures, words, a recipe and `splits.json` of two splits; no run yet."""
    data = make_pictures(folder / "data")
    make_recipe(folder)
    first = json.loads((data / "split.json").read_text())
    unseen = ["green", "square"]
    other = {
        "seen": [label for label in LABELS if label not in unseen],
        "unseen": unseen,
        "train": first["test"],
        "test": first["train"],
    }
    (data / "splits.json").write_text(json.dumps([first, other]))
    return World(folder)
