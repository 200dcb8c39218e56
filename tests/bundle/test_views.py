"""Records of several views: the best row scores a label, and names and digests keep the views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tagprism
from tagprism.bundle.bundle import split_views
from tagprism.bundle.names import lasting_name, with_views
from tagprism.bundle.record import score_records
from tagprism.bundle.views import digest_of_views
from tagprism.errors import InputError
from tagprism.images.decode import open_picture
from tagprism.images.preprocess import cut
from tagprism.images.views import view_boxes

PHOTO = Path(__file__).parents[1] / "photos/coffee.jpg"


def test_a_name_keeps_its_views() -> None:
    assert split_views("hf-hub:owner/name#fp16#views=5") == ("hf-hub:owner/name#fp16", 5)
    assert split_views("hf-hub:owner/name#fp16") == ("hf-hub:owner/name#fp16", None)
    assert with_views("photos-lite#views=5", 10) == "photos-lite#views=10"
    assert with_views("photos-lite#views=5", None) == "photos-lite#views=5"
    assert lasting_name("photos-lite#views=1") == "photos-lite"
    assert lasting_name("run#views=5") == f"{Path.cwd() / 'run'}#views=5"
    assert digest_of_views("0" * 64, 1) == "0" * 64 != digest_of_views("0" * 64, 2) != digest_of_views("0" * 64, 3)
    with pytest.raises(InputError, match="no 7 views"):
        split_views("photos-lite#views=7")


def test_records_of_views_hold_the_rows_of_all() -> None:
    plain, viewed = tagprism.load(), tagprism.load("photos-lite#views=5")
    assert viewed.bundle.views == 5 and viewed.bundle.shape.vectors == 5 * plain.bundle.shape.vectors
    assert plain.bundle.digest != viewed.bundle.digest == tagprism.load(views=5).bundle.digest
    picture = open_picture(PHOTO, where="coffee")
    found = viewed.network(np.stack([viewed.preprocess.apply(picture)] * 2))
    assert found.shape == viewed.bundle.shape and np.allclose(found.rows[0], found.rows[1], atol=1e-5)
    seen = viewed.scoring_vectors_of(viewed.vocabulary.seen, viewed.embed(viewed.vocabulary.seen))[:, :257]
    scores = score_records(type(found)(found.rows, found.shared[:, :1]), seen)[0]
    assert np.allclose(scores.mean(axis=1), 0, atol=1e-3) and np.allclose(scores.std(axis=1), 1, atol=1e-3)
    cosine = []
    for number, box in enumerate(view_boxes(5, *picture.size)):
        alone = plain.network(plain.preprocess.apply(cut(picture, box))[None]).rows[0]
        rows = found.rows[0, 7 * number : 7 * number + 7]
        cosine += [(a @ b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(alone, rows, strict=True)]
    assert min(cosine) > 0.9999
