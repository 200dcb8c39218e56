"""What is done with found pictures: copies, links, groups of duplicates, albums; nothing is replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tagprism.errors import InputError, PictureError
from tagprism.files import digest_file
from tagprism.search.album import Album
from tagprism.search.contract import Picture
from tagprism.search.copies import copy_or_link
from tagprism.search.duplicates import duplicates
from tagprism.search.match import log_probability
from tagprism.search.similar import Likeness

PHOTOS = Path(__file__).parents[1] / "photos"


def test_copies_replace_nothing_and_a_second_run_adds_nothing(tmp_path: Path) -> None:
    one, other, gone = tmp_path / "a/x.jpg", tmp_path / "b/x.jpg", tmp_path / "b/gone.jpg"
    for file, data in ((one, b"one"), (other, b"two"), (tmp_path / "into/x.jpg", b"mine")):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    into = tmp_path / "into"
    for is_new in (True, False):
        rows = list(copy_or_link([one, other, gone], into, "copy"))
        assert [(row.target, row.new) for row in rows[:2]] == [
            (into / "x (2).jpg", is_new),
            (into / "x (3).jpg", is_new),
        ]
        assert isinstance(rows[2].target, PictureError) and not rows[2].new
    held = {file.name: file.read_bytes() for file in into.iterdir()}
    assert held == {"x.jpg": b"mine", "x (2).jpg": b"one", "x (3).jpg": b"two"}
    assert (into / "x (2).jpg").stat().st_mtime_ns == one.stat().st_mtime_ns


def test_links_replace_nothing_and_a_second_run_adds_nothing(tmp_path: Path) -> None:
    one, other = tmp_path / "a/x.jpg", tmp_path / "b/x.jpg"
    for file in (one, other):
        file.parent.mkdir()
        file.write_bytes(b"same")
    into = tmp_path / "new/into"
    for is_new in (True, False):
        rows = list(copy_or_link([one, other], into, "link"))
        assert [(row.target, row.new) for row in rows] == [(into / "x.jpg", is_new), (into / "x (2).jpg", is_new)]
    assert [(into / name).readlink() for name in ("x.jpg", "x (2).jpg")] == [one, other]
    with pytest.raises(InputError, match="cannot be written"):
        list(copy_or_link([one], one, "link"))


def test_copies_and_near_copies_are_one_group(tmp_path: Path) -> None:
    files = [PHOTOS / name for name in ("rocket.jpg", "chelsea.jpg", "coffee.jpg")]
    with Image.open(PHOTOS / "chelsea.jpg") as image:
        image.resize((image.width // 2, image.height // 2)).save(tmp_path / "half.png")
        image.save(tmp_path / "again.jpg", quality=40)
    (tmp_path / "copy.jpg").write_bytes((PHOTOS / "rocket.jpg").read_bytes())
    files += [tmp_path / name for name in ("half.png", "again.jpg", "copy.jpg")]
    pictures = []
    for number, file in enumerate(files, start=1):
        with Image.open(file) as image:
            pictures.append(Picture(number, str(file), 1, 1, digest_file(file), *image.size))
    for _ in range(2):  # the second time from what was kept
        groups = [[Path(one.path).name for one in its] for its in duplicates(pictures)]
        assert len(groups) == 2
        assert set(groups[0]) == {"rocket.jpg", "copy.jpg"}
        assert set(groups[1]) == {"chelsea.jpg", "again.jpg", "half.png"} and groups[1][-1] == "half.png"
    assert duplicates([]) == []
    lost = [Picture(1, "/gone/a.jpg", 1, 1, "a" * 64, 9, 9), Picture(2, "/gone/b.jpg", 1, 1, "a" * 64, 9, 9)]
    assert [len(its) for its in duplicates(lost)] == [2]


def test_an_album_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "a.album"
    album = Album.of("cat NOT dog", None, ["/a/x.jpg", "/a/\udcff.jpg"])
    file.write_text(album.model_dump_json())
    assert Album.read(file) == album and album.pictures[1] == "/a/\\xff.jpg"
    for text in ("[]", "{", '{"tagprism_album": 2}', '{"query": 3}'):
        file.write_text(text)
        with pytest.raises(InputError):
            Album.read(file)


@given(st.lists(st.lists(st.floats(-30, 30), min_size=3, max_size=3), min_size=2, max_size=8))
def test_likeness_keeps_the_order_and_leaves_1_to_copies(rows: list[list[float]]) -> None:
    logits, weights = np.array(rows), np.array([0.4, 0.6, 1.0])
    raw = log_probability(logits) @ weights
    matches = Likeness(np.zeros((3, 2), np.float32), weights, own=float(raw[0])).log_match(logits)
    assert (matches <= np.log(0.9905)).all() or (np.exp(matches) <= 0.9905).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(matches[order]) >= -1e-12).all()
    assert np.exp(matches[0]) > 0.94
