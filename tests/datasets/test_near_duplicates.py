"""Near-duplicates: names, looks and groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tagprism.datasets.near_duplicates import SIDE, drawing_name, group, look_alikes, thumbnail


@pytest.mark.parametrize(
    ("key", "author", "name"),
    [
        ("food/apple_01.png", "", "apple"),
        ("food/apple_2.png", "", "apple"),
        ("apple.png", "", "apple"),
        ("apple_bw_01.png", "", "apple"),
        ("apple_01_black.png", "", "apple"),
        ("balloon-green.png", "", "balloon"),
        ("dino_architetto_francesc_05.png", "Architetto Francesco Rollandin", "dino"),
        ("electric_guitar_andrea__01r.png", "Andrea Something", "electric_guitar"),
        ("little_tan_suitcase_jona_.png", "Jonadab the Unsightly One", "little_tan_suitcase"),
        ("glace_01_bw_jean-victor__01.png", "Jean-Victor Balin", "glace"),
        ("pantyhose_rollandin_fra3.png", "Rollandin Francesco", "pantyhose"),
        ("lemon_slice_ganson.png", "", "lemon_slice"),
        ("smiley001.png", "", "smiley001"),  # three digits count the drawings of a series
        ("blueman_205_01.png", "", "blueman_205"),
        ("two_cats_tess_brady_01.png", "Someone Else", "two_cats_tess_brady"),
        ("black.png", "", "black"),
        ("01.png", "", "01"),
        ("orange_01.png", "", "orange"),
        ("jane_doe_01.png", "Jane Doe", "jane_doe"),
        ("Apple_01.PNG", "", "apple"),
    ],
)
def test_drawing_name(key: str, author: str, name: str) -> None:
    assert drawing_name(key, [author] if author else []) == name


@given(st.text("ab_-. 019", min_size=1, max_size=12), st.lists(st.text("ab ", max_size=4), max_size=2))
def test_name_is_never_empty_and_stays_when_taken_again(stem: str, authors: list[str]) -> None:
    name = drawing_name(f"{stem}.png", authors)
    assert name
    assert drawing_name(f"{name}.png", authors) == name


def drawing(shift: int = 0, width: int = 200, fill: str = "red") -> Image.Image:
    image = Image.new("RGB", (width, 100), "white")
    ImageDraw.Draw(image).ellipse((20 + shift, 20, 90 + shift, 80), fill=fill)
    return image


def alike(*images: Image.Image) -> list[tuple[int, int]]:
    return look_alikes(np.stack([thumbnail(image) for image in images]), [image.size for image in images])


def test_look_alikes_are_the_same_drawing_at_another_size_or_slightly_changed() -> None:
    assert thumbnail(drawing()).shape == (SIDE, SIDE, 3)
    changed = drawing()
    changed.paste((0, 0, 255), (50, 50, 54, 54))
    assert alike(drawing(), drawing().resize((400, 200)), changed) == [(0, 1), (0, 2), (1, 2)]


def test_other_place_colour_or_shape_is_another_drawing() -> None:
    assert alike(drawing(), drawing(60), drawing(fill="blue"), drawing().resize((100, 100))) == []


def test_blank_pictures_are_like_none() -> None:
    assert alike(Image.new("RGB", (9, 9), "white"), Image.new("RGB", (9, 9), "white")) == []


@given(st.integers(0, 12), st.data())
def test_groups_are_the_connected_components(count: int, data: st.DataObject) -> None:
    places = st.integers(0, max(0, count - 1))
    pairs = data.draw(st.lists(st.tuples(places, places), max_size=10)) if count else []
    marks = data.draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))
    together = np.eye(count, dtype=bool) | np.equal.outer(np.asarray(marks), np.asarray(marks))
    for one, other in pairs:
        together[one, other] = together[other, one] = True
    for _ in range(count):
        together = together @ together
    assert group(count, same=[marks], pairs=pairs) == [int(row.argmax()) for row in together]
