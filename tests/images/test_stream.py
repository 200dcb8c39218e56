"""A network over many files: complete, in order, equal to one at a time, bounded, and stopped when closed."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagprism.errors import PictureError
from tagprism.images import stream
from tagprism.images.decode import open_picture
from tagprism.images.preprocess import Preprocess
from tagprism.images.stream import process_pictures

PREPROCESS = Preprocess(height=6, width=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
BAD = {0: "missing", 3: "empty", 4: "corrupt", 19: "not_an_image"}


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Twenty pictures of different sizes; those of `BAD` cannot be used."""
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


def doubled(pixels: np.ndarray) -> np.ndarray:
    """A network that is slow for some, so that threads overtake each other."""
    time.sleep(float(abs(pixels[0, 0, 0, 0])) / 100)
    return 2 * pixels


@pytest.mark.parametrize("threads", [1, 3, None])
@pytest.mark.parametrize("batch_size", [1, 5, 16, 100])
def test_results_are_complete_in_order_and_equal_one_at_a_time(
    pictures: list[Path], batch_size: int, threads: int | None
) -> None:
    results = list(process_pictures(iter(pictures), PREPROCESS, doubled, batch_size=batch_size, threads=threads))
    assert len(results) == len(pictures)
    for place, (path, one) in enumerate(zip(pictures, results, strict=True)):
        if place in BAD:
            assert isinstance(one.output, PictureError)
            assert (one.output.code, one.digest) == (BAD[place], "")
        else:
            np.testing.assert_array_equal(one.output, 2 * PREPROCESS.apply(open_picture(path)))
            assert one.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_network_never_gets_an_empty_batch(pictures: list[Path], tmp_path: Path) -> None:
    sizes: list[int] = []

    def counted(pixels: np.ndarray) -> np.ndarray:
        sizes.append(len(pixels))
        return pixels

    assert list(process_pictures([], PREPROCESS, counted)) == []
    assert len(list(process_pictures([tmp_path / "a", tmp_path / "b"], PREPROCESS, counted))) == 2
    assert sizes == []
    list(process_pictures(pictures, PREPROCESS, counted, batch_size=4, threads=1))
    assert sizes == [2, 3, 4, 4, 3]


def test_errors_do_not_wait_for_good_pictures(tmp_path: Path) -> None:
    asked = iter(range(1000))
    first = next(process_pictures((tmp_path / str(number) for number in asked), PREPROCESS, doubled, threads=1))
    assert isinstance(first.output, PictureError)
    assert next(asked) < 50


def test_cap_on_pixels_is_passed_on(pictures: list[Path]) -> None:
    results = list(process_pictures(pictures[1:3], PREPROCESS, doubled, max_pixels=320))
    assert [getattr(one.output, "code", None) for one in results] == [None, "too_many_pixels"]  # 12 x 28 = 336


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("stream")]


def test_closing_stops_the_threads_and_reads_no_further(pictures: list[Path]) -> None:
    read: list[Path] = []
    original = stream.read_bytes

    def counted(path: Path) -> bytes:
        read.append(path)
        return original(path)

    results = process_pictures(
        pictures[5:7] * 500, PREPROCESS, lambda pixels: pixels.copy(), batch_size=2, threads=2, read=counted
    )
    next(results)
    time.sleep(0.2)
    assert 2 <= len(read) <= 2 * 3 * 2  # three batches a thread
    results.close()
    assert not own_threads()
    after = len(read)
    time.sleep(0.1)
    assert len(read) == after


@pytest.mark.parametrize("broken", ["open_picture", "digest_bytes"])
def test_a_bug_is_not_hidden(pictures: list[Path], monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def raises(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(stream, broken, raises)
    with pytest.raises(RuntimeError, match="a bug"):
        list(process_pictures(pictures, PREPROCESS, doubled, threads=2))
    assert not own_threads()
