"""Small foreign models of every layout, and what ours gives for pictures and phrases. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tagprism.bundle.foreign.find import read_layout
from tagprism.bundle.foreign.layout import Layout, Text
from tagprism.bundle.foreign.model import ForeignModel
from tagprism.bundle.foreign.text import TextTower
from tagprism.images.preprocess import Preprocess
from tests.small_foreign import (
    CLIP_TEXT,
    Foreign,
    make_fastembed,
    make_immich,
    make_multilingual,
    make_rclip,
    make_transformers_clip,
    make_transformers_siglip,
)

MAKERS: dict[str, Callable[[Path], Foreign]] = {
    "immich": make_immich,
    "immich-squash": partial(make_immich, resize_mode="squash", interpolation="bilinear"),
    "immich-mobileclip": partial(make_immich, text=CLIP_TEXT | {"no_causal_mask": True}),
    "immich-siglip": partial(make_immich, text={}, siglip=True, resize_mode="squash"),
    "transformers": make_transformers_clip,
    "transformers-siglip": partial(make_transformers_siglip, second=False),
    "transformers-siglip2": make_transformers_siglip,
    "fastembed-vision": make_fastembed,
    "rclip": make_rclip,
    "immich-xlm-roberta": make_multilingual,
}
PHRASES = ["dog", "new york", "two people dancing at night", "cat's whiskers!", "a birthday cake, " * 30, "car"]


def opened(folder: Path) -> Layout:
    layout = read_layout(folder)
    assert layout is not None
    return layout


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    assert np.allclose(np.linalg.norm(a, axis=1), 1, atol=1e-5)  # also of graphs that give any length
    return np.asarray((a * b).sum(axis=1))


def looked_at(layout: Layout, pictures: list[Image.Image], preprocess: Preprocess | None = None) -> np.ndarray:
    model = ForeignModel(layout)
    return model.model(np.stack([(preprocess or layout.vision.preprocess).apply(one) for one in pictures]))


def read(text: Text, phrases: list[str], dimension: int = 24) -> np.ndarray:
    return TextTower("small", text, dimension).encode(phrases)
