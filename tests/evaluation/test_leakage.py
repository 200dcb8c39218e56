"""Leaks of images and labels are found, named and refused."""

from __future__ import annotations

import time

import pytest

from tagprism.errors import InputError
from tagprism.evaluation.leakage import Leak, LeakError, check_leak, find_leak

TRAINED = frozenset({"d1", "d2"})


def test_nothing_in_common_is_no_leak() -> None:
    leak = find_leak(TRAINED, ["dog", "glass"], {"a.jpg": "d3"}, ["cat", "glasses", "news"])
    assert not leak
    assert leak == Leak(of_images=1)
    check_leak(find_leak(TRAINED, ["dog"], {"a.jpg": "d3"}, ["cat"]))


def test_images_are_known_by_their_bytes_whatever_their_name() -> None:
    assert find_leak(TRAINED, [], {"x.jpg": "d3", "other/name.jpg": "d2"}, []).images == ("other/name.jpg",)


@pytest.mark.parametrize(
    ("trained", "unseen"), [("dog", "dog"), ("dog", "Dogs"), ("ice cream", "icecream"), ("women", "woman")]
)
def test_labels_are_known_by_plural_and_spelling(trained: str, unseen: str) -> None:
    assert find_leak(frozenset(), ["cat", trained], {}, ["sea", unseen]).labels == ((unseen, trained),)


def test_labels_are_known_by_the_aliases_of_either_side() -> None:
    assert find_leak(frozenset(), ["automobile"], {}, ["car"], {"car": ["automobiles"]}).labels == (
        ("car", "automobile"),
    )
    assert find_leak(frozenset(), ["car"], {}, ["autos"], {"car": ["auto"]}).labels == (("autos", "car"),)


def test_the_error_names_the_first_ten_and_how_many_more() -> None:
    tests = {f"{i}.jpg": f"d{i % 2 + 1}" for i in range(12)} | {"clean.jpg": "d9"}
    labels = [f"thing{i}" for i in range(11)]
    with pytest.raises(LeakError) as caught:
        check_leak(find_leak(TRAINED, ["dog", *labels], tests, ["dogs", *labels]))
    assert isinstance(caught.value, InputError)
    assert caught.value.exit_code == 2
    images = ", ".join(f"{i}.jpg" for i in range(10))
    names = ", ".join(["'dogs' as 'dog'", *(f"'thing{i}'" for i in range(9))])
    assert str(caught.value) == (
        f"the model was trained on 12 of 13 test images ({images} and 2 more) "
        f"and on 12 labels called unseen ({names} and 2 more). "
        "Evaluate on the split that the run was trained with, or pass --allow-leak to get a result so marked."
    )


def test_only_what_leaked_is_mentioned() -> None:
    with pytest.raises(LeakError, match=r"^the model was trained on 1 of 1 test image \(a\.jpg\)\. Evaluate"):
        check_leak(find_leak(TRAINED, ["dog"], {"a.jpg": "d1"}, ["cat"]))
    with pytest.raises(LeakError, match=r"^the model was trained on 1 label called unseen \('dog'\)\. Evaluate"):
        check_leak(find_leak(TRAINED, ["dog"], {"a.jpg": "d3"}, ["dog"]))


@pytest.mark.slow
def test_thousands_of_labels_take_no_time() -> None:
    trained, unseen = [f"word{i} thing" for i in range(7186)], [f"other{i} thing" for i in range(400)]
    began = time.process_time()
    assert not find_leak(frozenset(), trained, {}, unseen)
    assert time.process_time() - began < 5


def test_pairs_that_a_protocol_names_are_no_leak_and_others_are() -> None:
    trained = ["car", "cars and trucks", "animals", "dog"]
    allowed = frozenset({("cars", "car"), ("animal", "animals")})
    assert not find_leak(frozenset(), trained, {}, ["cars", "animal", "cat"], None, allowed)
    assert find_leak(frozenset(), trained, {}, ["cars", "dogs"], None, allowed).labels == (("dogs", "dog"),)
    assert find_leak(frozenset(), [*trained, "Cars"], {}, ["cars"], None, allowed).labels == (("cars", "Cars"),)
    with pytest.raises(LeakError, match="'dogs' as 'dog'"):
        check_leak(find_leak(frozenset(), trained, {}, ["cars", "dogs"], None, allowed))


def test_labels_of_one_name_are_one_label_whatever_their_identifiers() -> None:
    leak = find_leak(frozenset(), ["Snowshoe (/m/0l_yv)"], {}, ["Snowshoes (/m/03c_kl)"])
    assert leak.labels == (("Snowshoes (/m/03c_kl)", "Snowshoe (/m/0l_yv)"),)
