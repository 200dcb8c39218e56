"""Vocabulary: names, vectors, roles and aliases hold together, on disk too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tagprism.errors import InputError
from tagprism.files import write_tensors
from tagprism.labels.phrases import normalise_phrase
from tagprism.labels.vocabulary import Vocabulary


def vocabulary(**changes: Any) -> Vocabulary:
    values = {
        "names": ("Polar Bear", "sea", "dog"),
        "vectors": np.arange(6, dtype=np.float32).reshape(3, 2),
        "roles": ("seen", "unseen", "seen"),
        "aliases": {"Polar Bear": ("ice_bear", "Ursus maritimus"), "sea": ("ocean",)},
    }
    return Vocabulary(**(values | changes))


def test_a_label_is_found_by_name_and_alias_in_any_spelling() -> None:
    words = vocabulary()
    assert [words.index(name) for name in ("polar_bear", "ICE BEAR", "ursus  maritimus", "Ocean", "dog")] == [
        0,
        0,
        0,
        1,
        2,
    ]
    assert (words.seen, words.unseen, words.names_of("other")) == (("Polar Bear", "dog"), ("sea",), ())
    assert words.dimension == 2


@pytest.mark.parametrize("name", ["dog!!!", "Dogs.", "dog?", "*dog*", "<dog>", "\u201cdogs\u201d", "(dog),"])
def test_punctuation_around_a_name_makes_no_other_one(name: str) -> None:
    assert vocabulary().find_alike(name) == 2


@pytest.mark.parametrize("name", ["dog+", "dog#", ".dog", "d.o.g", "!!!", "", "dog (hot"])
def test_what_may_belong_to_a_name_is_no_punctuation_around_it(name: str) -> None:
    assert vocabulary().find_alike(name) is None


def test_an_unknown_name_is_an_error_with_the_nearest_names() -> None:
    with pytest.raises(InputError, match=r"^`polr beer` is not in the vocabulary\. Nearest names: Polar Bear, "):
        vocabulary().index("polr beer")


def test_nearest_names_come_once_and_by_alias_too() -> None:
    assert vocabulary().nearest_names("oceans", 1) == ["sea"]
    assert sorted(vocabulary().nearest_names("x", 10)) == ["Polar Bear", "dog", "sea"]


def test_select_keeps_order_roles_and_aliases() -> None:
    chosen = vocabulary().select(["dog", "ice bear"])
    assert chosen.names == ("dog", "Polar Bear")
    assert chosen.roles == ("seen", "seen")
    assert chosen.aliases == {"Polar Bear": ("ice_bear", "Ursus maritimus")}
    np.testing.assert_array_equal(chosen.vectors, [[4, 5], [0, 1]])
    with pytest.raises(InputError, match="is given twice"):
        vocabulary().select(["sea", "ocean"])


def test_vectors_are_a_copy_that_cannot_be_written() -> None:
    vectors = np.ones((3, 2), dtype=np.float32)
    words = vocabulary(vectors=vectors)
    vectors[0, 0] = 9
    assert words.vectors[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        words.vectors[0, 0] = 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ("a", "b")}, "2 names, 3 vectors and 3 roles do not fit together"),
        ({"roles": ("seen", "seen")}, "3 names, 3 vectors and 2 roles do not fit together"),
        ({"vectors": np.array([[0, 0], [np.nan, 0], [0, 0]], np.float32)}, "vector of `sea` holds NaN or infinity"),
        ({"vectors": np.array([[0, 0], [0, 0], [np.inf, 0]], np.float32)}, "vector of `dog` holds NaN or infinity"),
        ({"names": ("Polar Bear", "sea", "SEA")}, "`sea` is given twice: for `sea` and for `SEA`"),
        ({"aliases": {"dog": ("Sea",)}}, "`sea` is given twice: for `sea` and for `dog`"),
        ({"aliases": {"cat": ("kitty",)}}, "aliases are given for `cat`, which is not a name"),
        ({"names": ("Polar Bear", "_", "dog"), "aliases": {}}, r"spelling of name 2 \(`_`\) is empty"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        vocabulary(**changes)


def test_an_alias_may_repeat_its_own_name() -> None:
    assert vocabulary(aliases={"dog": ("Dog", "dogs")}).index("dogs") == 2


@given(
    st.dictionaries(
        st.text(max_size=8).filter(normalise_phrase), st.sampled_from(["seen", "unseen", "other"]), max_size=6
    )
)
def test_saving_and_loading_gives_the_same(tmp_path_factory: pytest.TempPathFactory, roles: dict[str, Any]) -> None:
    roles = {
        name: role for name, role in roles.items() if [*map(normalise_phrase, roles)].count(normalise_phrase(name)) == 1
    }
    vectors = np.random.default_rng(0).normal(size=(len(roles), 3)).astype(np.float32)
    words = Vocabulary(tuple(roles), vectors, tuple(roles.values()))
    path = tmp_path_factory.mktemp("vocabulary") / "v.safetensors"
    words.save(path)
    again = Vocabulary.load(path)
    assert (again.names, again.roles, again.aliases) == (words.names, words.roles, words.aliases)
    np.testing.assert_array_equal(again.vectors, words.vectors)
    assert again.digest == words.digest
    first = path.read_bytes()
    again.save(path)
    assert path.read_bytes() == first


def test_the_digest_tells_every_change() -> None:
    vectors = vocabulary().vectors.copy()
    vectors[2, 1] += 1e-6
    others = [
        vocabulary(names=("Polar Bear", "sea", "dogs")),
        vocabulary(roles=("seen", "unseen", "other")),
        vocabulary(aliases={}),
        vocabulary(vectors=vectors),
    ]
    assert len({vocabulary().digest, *(other.digest for other in others)}) == 5
    assert vocabulary().digest == vocabulary().digest


def test_files_that_are_no_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    with pytest.raises(InputError, match=r"v\.safetensors: there is no such file"):
        Vocabulary.load(path)
    path.write_bytes(b"not at all")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        Vocabulary.load(path)
    save_file({"vectors": np.zeros((1, 1), np.float32)}, path)
    with pytest.raises(InputError, match="not a tagprism vocabulary file"):
        Vocabulary.load(path)
    save_file({"vectors": np.zeros((1, 1), np.float32)}, path, {"tagprism": "{"})
    with pytest.raises(InputError, match="header is not JSON"):
        Vocabulary.load(path)
    write_tensors(path, "words", 1, {}, {})
    with pytest.raises(InputError, match="not a tagprism vocabulary file"):
        Vocabulary.load(path)
    write_tensors(path, "vocabulary", 99, {}, {})
    with pytest.raises(InputError, match=r"vocabulary format 99 is newer than this program reads \(2\)\. Update"):
        Vocabulary.load(path)
    write_tensors(path, "vocabulary", 1, {"names": [], "roles": []}, {})
    with pytest.raises(InputError, match="the vocabulary lacks 'aliases'"):
        Vocabulary.load(path)


def test_an_unknown_role_in_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    header = {"names": ["a"], "roles": ["new"], "aliases": {}}
    write_tensors(path, "vocabulary", 1, header, {"vectors": np.zeros((1, 1), np.float32)})
    with pytest.raises(InputError, match="unknown role `new`; known are seen, unseen, other"):
        Vocabulary.load(path)


def test_a_label_may_have_several_vectors(tmp_path: Path) -> None:
    several = {"dog": np.array([[1, 0], [0, 1], [1, 1]], np.float32), "sea": np.array([[5, 5], [6, 6]], np.float32)}
    words = vocabulary(several=several)
    vectors, groups = words.scored()
    assert vectors.tolist() == [[0, 1], [5, 5], [6, 6], [1, 0], [0, 1], [1, 1]]
    assert groups is not None and groups.tolist() == [[0, 0, 0], [1, 2, 1], [3, 4, 5]]
    assert vocabulary().scored()[1] is None and words.scored(["Polar Bear"])[1] is None
    words.save(tmp_path / "words.safetensors")
    loaded = Vocabulary.load(tmp_path / "words.safetensors")
    assert loaded.digest == words.digest != vocabulary().digest
    np.testing.assert_array_equal(loaded.scored(["sea", "dog"])[0], [[5, 5], [6, 6], [1, 0], [0, 1], [1, 1]])
    chosen = loaded.select(["dog"])
    assert list(chosen.several) == ["dog"] and chosen.scored()[0].shape == (3, 2)


@pytest.mark.usefixtures("no_type_checks")
@pytest.mark.parametrize(
    "several", [{"cat": np.eye(2)}, {"dog": np.ones((2, 3))}, {"dog": np.full((2, 2), np.nan)}, {"dog": np.ones(2)}]
)
def test_several_vectors_that_do_not_fit_are_refused(several: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"the vectors of the sentences of `(cat|dog)` do not fit"):
        vocabulary(several={name: its.astype(np.float32) for name, its in several.items()})
