"""Names that are numbers, against a plain list of names."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tagprism.datasets.compact import ImageIds

_numbers = st.sets(st.integers(0, 2**64 - 1), max_size=6)


@given(_numbers, _numbers, _numbers, st.data())
def test_equal_to_a_list(one: set[int], two: set[int], three: set[int], data: st.DataObject) -> None:
    folders = {"train/": one, "validation/": two, "test/": three}
    keys = ImageIds([(folder, np.asarray(sorted(some), np.uint64)) for folder, some in folders.items()])
    names = [f"{folder}{number:016x}.jpg" for folder, some in folders.items() for number in sorted(some)]
    assert list(keys) == names and len(keys) == len(names)
    assert [keys[place] for place in range(-len(names), len(names))] == names + names
    assert [keys.row(name) for name in names] == list(range(len(names)))
    begin, stop = (data.draw(st.one_of(st.none(), st.integers(-20, 20))) for _ in range(2))
    assert list(keys[begin:stop]) == names[begin:stop]
    assert [keys[begin:stop].row(name) for name in names[begin:stop]] == list(range(len(names[begin:stop])))


def test_what_is_no_key() -> None:
    keys = ImageIds([("train/", np.asarray([1, 255], np.uint64))])
    for name in (
        "train/00000000000000ff.png",
        "train/ff.jpg",
        "test/00000000000000ff.jpg",
        "",
        "train/0000000000000002.jpg",
    ):
        assert keys.row(name) is None and name not in keys
    assert "train/00000000000000ff.jpg" in keys
    assert 7 not in keys
