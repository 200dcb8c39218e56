"""What a public name says of input that is nearly right: one clear error, or the one meaning that it can have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tagprism
from tagprism import ImageTable, LabelSpace, Split, Tagger, Vocabulary
from tagprism.errors import InputError
from tagprism.labels.space_part import SpacePart

PHOTOS = Path(__file__).parents[1] / "photos"
CAT = str(PHOTOS / "chelsea.jpg")

pytestmark = pytest.mark.usefixtures("no_type_checks")


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return tagprism.load()


def three() -> ImageTable:
    return ImageTable.from_labels(
        [("coffee.jpg", ["cup"]), ("chelsea.jpg", ["cat"]), ("rocket.jpg", ["sky"])], folder=PHOTOS
    )


def vocabulary() -> Vocabulary:
    return Vocabulary(("cat", "dog"), np.eye(2, dtype=np.float32), ("seen", "unseen"))


class Letters:
    """An encoder that knows single letters and `cat`."""

    id, dimension = "letters", 4

    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        rows = [["cat", "c", "a", "t"].index(phrase) for phrase in phrases]
        return np.eye(4, dtype=np.float32)[rows]

    def knows(self, phrase: str) -> bool:
        return phrase in ("cat", "c", "a", "t")

    def nearest_known(self, phrase: str, n: int = 3) -> list[str]:
        return []


def space(seen: Any) -> LabelSpace:
    return LabelSpace.fit([SpacePart(encoder="letters")], {"letters": Letters()}, seen)


def test_one_word_is_one_label_and_never_its_letters(tagger: Tagger) -> None:
    (row,) = tagger.tag(CAT, labels="cat")
    assert [tag.label for tag in row.tags] == ["cat"]
    assert tagger.tag([CAT], labels=["cat"]) == [row]


def test_words_of_which_none_is_known_are_refused_at_once(tagger: Tagger) -> None:
    for labels in ("qwxzvbn", ["qwxzvbn", "12345"], {"qwxzvbn": ["zvbnqwx"]}):
        with pytest.raises(InputError, match=r"unknown to this model: .*`qwxzvbn`"):
            tagger.tag(CAT, labels)
    (row,) = tagger.tag(CAT, {"qwxzvbn": "cat"})
    assert [tag.label for tag in row.tags] == ["qwxzvbn"]


def test_one_path_is_one_picture(tagger: Tagger) -> None:
    for path in (CAT, Path(CAT)):
        assert [row.path for row in tagger.tag(path, labels=["cat"])] == [Path(CAT)]


@pytest.mark.parametrize(
    "call",
    [
        lambda: three().columns_of("cat"),
        lambda: three().targets([0], "cat"),
        lambda: three().rows_of("chelsea.jpg"),
        lambda: ImageTable.from_labels([(CAT, "cat")]),
        lambda: ImageTable.from_labels([(CAT, ["cat"], "dog")]),
        lambda: Split(seen="cat", unseen=["sky"], train=["coffee.jpg"], test=["rocket.jpg"]),
        lambda: Split(seen=["cat"], unseen=["sky"], train="coffee.jpg", test=["rocket.jpg"]),
        lambda: tagprism.draw_split(three(), unseen="cat"),
        lambda: Vocabulary("cat", np.eye(3, dtype=np.float32), ("seen",) * 3),  # type: ignore[arg-type]
        lambda: vocabulary().select("cat"),
        lambda: vocabulary().roles_of("cat"),
        lambda: space("cat"),
        lambda: space(["cat", "c"]).embed("cat"),
    ],
)
def test_a_text_where_a_list_is_meant_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(
        InputError, match=r"a list of (strings|labels), found '(cat|dog|chelsea.jpg|coffee.jpg)'"
    ) as caught:
        call()
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("pictures", "says"),
    [
        ([], "there is no picture"),
        (
            [("chelsea.jpg", ["cat"]), ("chelsea.jpg", ["dog"])],
            r"pictures\[1\]: 'chelsea.jpg' is named twice. Keep one",
        ),
        ([("chelsea.jpg", ["cat"]), (CAT, ["cat"])], r"is named twice, also as 'chelsea.jpg'"),
        ([("chelsea.jpg", ["cat"]), ("./chelsea.jpg", ["cat"])], "is named twice"),
        ([("chelsea.jpg", None)], "expected a list of labels, found None"),
        ([("chelsea.jpg", 3)], "expected a list of labels, found 3"),
        ([("chelsea.jpg", [1])], "a label must be words, found 1"),
        ([("chelsea.jpg", [" "])], "a label must be words"),
        ([("chelsea.jpg", ["cat"], ["cat"])], "both positive and negative: 'cat'"),
        ([("chelsea.jpg", ["cat", "Cat"])], "'Cat' and 'cat' are the same label"),
        (["chelsea.jpg"], r"pictures\[0\]: expected a file and its labels, found 'chelsea.jpg'"),
        ([("chelsea.jpg",)], "expected a file and its labels"),
        ([("chelsea.jpg", ["cat"], ["dog"], ["sea"])], "expected a file and its labels"),
        ([(3, ["cat"])], "a file must be a path, found 3"),
        (
            [("lost.jpg", ["cat"]), ("chelsea.jpg", [])],
            "none of the pictures can be used: 'lost.jpg: missing', 'chelsea",
        ),
    ],
)
def test_wrong_pictures_of_a_table(pictures: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        ImageTable.from_labels(pictures, folder=PHOTOS)
    assert caught.value.remedy


def test_unlisted_is_one_of_two_words() -> None:
    with pytest.raises(InputError, match="unlisted must be 'negative' or 'unknown', not 'absent'"):
        ImageTable.from_labels([(CAT, ["cat"])], unlisted="absent")  # type: ignore[arg-type]


def test_any_collection_of_labels_and_any_kind_of_path() -> None:
    pictures = [
        (PHOTOS / "coffee.jpg", {"cup": 1}.keys()),
        (CAT, ("cat",), {"cup"}),
        ("lost.jpg", ["fox"]),
        ("rocket.jpg", []),
    ]
    table = ImageTable.from_labels(pictures, unlisted="unknown")
    assert table.keys == ((PHOTOS / "coffee.jpg").as_posix(), Path(CAT).as_posix())
    assert [path.is_file() for path in table.files] == [True, True]
    assert table.labels == ("cat", "cup", "fox")
    assert table.targets([0, 1], table.labels).tolist() == [[-1, 1, -1], [1, 0, -1]]
    assert [(one.key, one.code) for one in table.skipped] == [("lost.jpg", "missing"), ("rocket.jpg", "no_labels")]


def test_a_split_takes_paths_and_lists_and_is_checked() -> None:
    files = [PHOTOS / name for name in ("coffee.jpg", "chelsea.jpg", "lost.jpg")]
    table = ImageTable.from_labels(zip(files, [["cup"], ["cat"], ["sky"]], strict=True))
    split = Split(seen=["cup"], unseen={"cat"}, train=files[:1], test=files[1:2])
    split.check(table)
    assert (split.name, split.val, split.unseen, split.test) == ("split", (), ("cat",), (files[1].as_posix(),))
    with pytest.raises(InputError, match=r"'test' names unknown pictures \(1 of them skipped by the table.*lost.jpg"):
        Split(seen=["cup"], unseen=["cat"], train=files[:1], test=files[1:]).check(table)
    with pytest.raises(InputError, match=r"on both sides .*: 'cup / cup'"):
        Split(seen=["cup"], unseen=["cup"], train=files[:1], test=files[1:2]).check(table)
    with pytest.raises(InputError, match="'seen' names unknown labels: 'fox'"):
        Split(seen=["fox"], unseen=["cat"], train=files[:1], test=files[1:2]).check(table)
    with pytest.raises(InputError, match="`test` must be strings, found 3"):
        Split(seen=["cup"], unseen=["cat"], train=files[:1], test=[3])  # type: ignore[list-item]
    with pytest.raises(InputError, match="`val` must be a list of strings, found None"):
        Split(seen=["cup"], unseen=["cat"], train=files[:1], test=[], val=None)  # type: ignore[arg-type]
