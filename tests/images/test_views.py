"""Views of a picture: which parts they are, and that each is prepared as a picture of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tagprism.errors import InputError
from tagprism.images.preprocess import Preprocess, ViewedPreprocess, cut
from tagprism.images.views import VIEWS, view_boxes

PLAIN = Preprocess(height=16, width=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
numbers = st.sampled_from(VIEWS)
sides = st.integers(1, 300)


@given(numbers, sides, sides)
def test_views_are_the_whole_picture_and_parts_inside(views: int, width: int, height: int) -> None:
    boxes = view_boxes(views, width, height)
    assert boxes[0] == (0, 0, 1, 1) and len(set(boxes)) == views
    assert all(0 <= box[0] < box[2] <= 1 + 1e-9 and 0 <= box[1] < box[3] <= 1 + 1e-9 for box in boxes)
    picture = Image.new("RGB", (width, height))
    for left, top, right, bottom in boxes:
        part = cut(picture, (left, top, right, bottom))
        assert abs(part.width - (right - left) * width) < 2 and abs(part.height - (bottom - top) * height) < 2


def test_the_parts_together_leave_no_place_out() -> None:
    tenths = (np.arange(10) + 0.5) / 10
    for views in (3, 5, 6, 10, 15):
        for size in ((300, 200), (200, 300)):
            boxes = view_boxes(views, *size)[1:]
            assert all(any(a < x < c and b < y < d for a, b, c, d in boxes) for x in tenths for y in tenths)
    assert view_boxes(3, 300, 200)[1] == (0, 0, 0.6, 1) and view_boxes(3, 200, 300)[1] == (0, 0, 1, 0.6)


@pytest.mark.parametrize("views", VIEWS)
def test_each_view_is_prepared_as_a_picture(views: int) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8))
    viewed = ViewedPreprocess(PLAIN, views)
    pixels = viewed.apply(picture)
    assert pixels.shape == viewed.shape == (3 * views, 16, 16)
    for number, box in enumerate(view_boxes(views, 70, 50)):
        assert np.array_equal(pixels[3 * number : 3 * number + 3], PLAIN.apply(cut(picture, box)))
    narrowest = min(box[2] - box[0] for box in view_boxes(views, 1, 1))
    assert viewed.draft_size[0] * narrowest >= PLAIN.draft_size[0] - 1e-6


def test_no_other_number() -> None:
    with pytest.raises(InputError, match="no 4 views"):
        ViewedPreprocess(PLAIN, 4)
