"""Batches of pixels: complete, in order, equal to one at a time, bounded, and stopped when closed."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagprism.images import stream
from tagprism.images.decode import open_picture
from tagprism.images.preprocess import Preprocess
from tagprism.images.stream import pixel_batches

PREPROCESS = Preprocess(height=6, width=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Twenty pictures of different sizes; places 0, 3, 4 and 19 cannot be used."""
    paths = []
    for place in range(20):
        path = tmp_path / f"{place}.png"
        values = np.random.default_rng(place).integers(0, 256, (10 + place, 30 - place, 3), dtype=np.uint8)
        Image.fromarray(values).save(path)
        paths.append(path)
    paths[0].unlink()
    paths[3].write_bytes(b"")
    paths[4].write_bytes(paths[5].read_bytes()[:60])
    paths[19].write_bytes(b"not a picture")
    return paths


@pytest.mark.parametrize("threads", [1, 3, None])
@pytest.mark.parametrize("batch_size", [1, 5, 16, 100])
def test_batches_are_complete_in_order_and_equal_one_at_a_time(
    pictures: list[Path], batch_size: int, threads: int | None
) -> None:
    batches = list(pixel_batches(pictures, PREPROCESS, batch_size, threads=threads))
    good = [place for place in range(20) if place not in (0, 3, 4, 19)]
    assert [row for batch in batches for row in batch.rows] == good
    for number, batch in enumerate(batches):
        places = sorted([*batch.rows, *(row for row, _ in batch.errors)])
        assert places == list(range(number * batch_size, min(20, (number + 1) * batch_size)))
    errors = {row: error.code for batch in batches for row, error in batch.errors}
    assert errors == {0: "missing", 3: "empty", 4: "corrupt", 19: "not_an_image"}
    for batch in batches:
        assert batch.pixels.shape == (len(batch.rows), 3, 6, 8)
        for row, pixels, digest in zip(batch.rows, batch.pixels, batch.digests, strict=True):
            np.testing.assert_array_equal(pixels, PREPROCESS.apply(open_picture(pictures[row])))
            assert digest == hashlib.sha256(pictures[row].read_bytes()).hexdigest()


def test_nothing_and_only_errors(tmp_path: Path) -> None:
    assert list(pixel_batches([], PREPROCESS, 4)) == []
    (batch,) = pixel_batches([tmp_path / "a", tmp_path / "b"], PREPROCESS, 2)
    assert batch.rows == []
    assert batch.pixels.shape == (0, 3, 6, 8)
    assert [row for row, _ in batch.errors] == [0, 1]


def test_errors_do_not_wait_for_good_pictures(tmp_path: Path) -> None:
    (first, *_) = pixel_batches((tmp_path / str(number) for number in range(250)), PREPROCESS, 4)
    assert [row for row, _ in first.errors] == [0, 1, 2, 3]


def test_cap_on_pixels_is_passed_on(pictures: list[Path]) -> None:
    batches = list(pixel_batches(pictures[1:3], PREPROCESS, 4, max_pixels=320))
    assert [(row, error.code) for row, error in batches[0].errors] == [(1, "too_many_pixels")]  # 12 x 28 = 336


def decoding_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_closing_stops_the_threads_and_reads_no_further(pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    original = stream.read_bytes

    def counted(path: Path) -> bytes:
        read.append(path)
        return original(path)

    monkeypatch.setattr(stream, "read_bytes", counted)
    batches = pixel_batches(pictures[5:7] * 500, PREPROCESS, 2, threads=2)
    next(batches)
    time.sleep(0.2)
    assert 2 <= len(read) <= 2 + 4 * 2  # one batch and four pictures a thread
    batches.close()
    assert not decoding_threads()
    after = len(read)
    time.sleep(0.1)
    assert len(read) == after


def test_a_bug_is_not_hidden(pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Image.Image:
        raise RuntimeError("a bug")

    monkeypatch.setattr(stream, "open_picture", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        list(pixel_batches(pictures, PREPROCESS, 4, threads=2))
    assert not decoding_threads()
