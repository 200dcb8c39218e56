"""Training from shards is training from the folder: the same bits, also continued; nothing twice or left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagprism.datasets.registry import open_data
from tagprism.datasets.shards import Blocks
from tagprism.datasets.write_shards import write_shards
from tagprism.progress import Advance
from tagprism.training import batches
from tagprism.training.batches import TrainingOrder, epoch_order
from tagprism.training.prepare import prepare
from tagprism.training.recipe import load_recipe
from tests.small_world import make_pictures, make_recipe

pytest.importorskip("pyarrow")
SETTINGS = ("training.end_to_end=true", "training.workers=0", "training.epochs=2")
PATTERNS = {"tagged": "data", "webdataset": "webdataset/*.tar", "parquet": "parquet/*.parquet"}
SMALL = 100_000  # bytes of a window here: a third of a shard


class StoppedError(Exception):
    """As if the process was killed."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in a folder and in shards of both forms, and a recipe."""
    folder = tmp_path_factory.mktemp("shards")
    make_pictures(folder / "data", copies=3)
    make_recipe(folder)
    table, _ = open_data(f"tagged:{folder}/data", f"{folder}/data/split.json")
    for form in ("webdataset", "parquet"):
        write_shards(table, folder / form, form, per_shard=7)  # type: ignore[arg-type]
    return folder


def weights(world: Path, kind: str, out: str, stop_after: int | None = None) -> bytes:
    """Train on one of the three, perhaps stopping after so many batches, and return the network's weights."""
    table, split = open_data(f"{kind}:{world}/{PATTERNS[kind]}", f"{world}/data/split.json")

    @contextmanager
    def stopping(what: str, total: int) -> Iterator[Advance]:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if what == "training" and stop_after is not None and done > stop_after:
                raise StoppedError

        yield advance

    from tagprism.training.fit import fit

    prepared = prepare(load_recipe(world / "small.toml", SETTINGS), table, split)
    network = fit(prepared, world / out, stopping).network
    return b"".join(value.numpy().tobytes() for value in network.state_dict().values())


@pytest.mark.slow
def test_shards_give_the_bits_of_the_folder_also_continued(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small windows, too, and stopped in the middle of one."""
    from tagprism.training import module

    whole = weights(world, "tagged", "folder")
    assert weights(world, "webdataset", "tars") == whole
    assert weights(world, "parquet", "files") == whole  # all of it is one window
    monkeypatch.setattr(batches, "WINDOW", SMALL)
    windows = weights(world, "parquet", "windows")
    assert windows != whole
    monkeypatch.setattr(module, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    for stop_after in (1, 4):
        with pytest.raises(StoppedError):
            weights(world, "parquet", "stopped", stop_after)
    assert weights(world, "parquet", "stopped") == windows


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(1, 7),
    st.integers(1, 3),
    st.integers(1, 60),
    st.integers(0, 5),
    st.data(),
)
def test_every_picture_once_an_epoch_in_windows_of_whole_blocks(
    pictures: list[int], batch_size: int, processes: int, window: int, seed: int, data: st.DataObject
) -> None:
    """Blocks of some pictures, ten bytes a picture; all processes together, and from any batch on."""
    of = np.repeat(np.arange(len(pictures)), pictures)
    blocks, count = Blocks(of, np.asarray(pictures, np.int64) * 10), len(of)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "WINDOW", window)
        orders = [
            TrainingOrder(count, batch_size, 2, seed, rank=rank, count=processes, blocks=blocks)
            for rank in range(processes)
        ]
        stream = [[part.rows for part in parts] for parts in zip(*orders, strict=True)]
        flat = [row for parts in stream for rows in parts for row in rows]
        for epoch in range(2):
            own = flat[epoch * count : (epoch + 1) * count]
            assert sorted(own) == list(range(count))
            assert own == epoch_order(count, seed=seed, epoch=epoch, blocks=blocks).tolist()
            seen = of[own]
            for block in range(len(pictures)):  # between a block's first and last picture lies at most its window
                places = np.flatnonzero(seen == block)
                others = set(seen[places[0] : places[-1] + 1].tolist()) - {block}
                largest = max(blocks.sizes)
                assert sum(blocks.sizes[list(others)]) <= window + 2 * largest
        first = data.draw(st.integers(0, len(stream) - 1))
        later = [
            TrainingOrder(count, batch_size, 2, seed, first, rank=rank, count=processes, blocks=blocks)
            for rank in range(processes)
        ]
        assert [[part.rows for part in parts] for parts in zip(*later, strict=True)] == stream[first:]


def test_what_fits_into_one_window_is_shuffled_like_files() -> None:
    blocks = Blocks(np.repeat(np.arange(4), 5), np.full(4, 10))
    assert (epoch_order(20, seed=1, epoch=2, blocks=blocks) == epoch_order(20, seed=1, epoch=2)).all()
