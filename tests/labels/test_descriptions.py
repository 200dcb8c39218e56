"""Labels described by sentences: what a file may hold, and what stands for a label then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagprism.errors import InputError
from tagprism.labels.descriptions import read_descriptions
from tagprism.labels.encoders.word_table import WordTable
from tagprism.labels.label_space import LabelSpace
from tagprism.labels.space_part import SpacePart
from tests.labels.test_label_space import FakeSentences, MakeTable, unit

SENTENCES = {
    "cat": ("a pet that purrs", "it has whiskers"),
    "Polar Bear": ("white, on the ice",),
    "sea": ("salt water",),
}


@pytest.fixture
def table(make_table: MakeTable) -> WordTable:
    return make_table({"cat": [3, 1, 0], "sea": [0, 4, 1], "bear": [1, 1, -1]})


def written(folder: Path, value: Any) -> Path:
    path = folder / "described.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_a_file_is_read_in_the_order_of_the_labels(tmp_path: Path) -> None:
    path = written(tmp_path, {"Sea": "salt water", "polar_bear": ["white", "white"], "more": ["unused"]})
    assert read_descriptions(path, ["polar bear", "sea"]) == {"polar bear": ("white",), "sea": ("salt water",)}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"cat": ["a pet"]}, r"described\.json: has no description of `dog`, `sea`\. Describe every label"),
        ({"cat": []}, r"`cat` has no sentences"),
        ({"cat": ["a pet", 3]}, r"`cat` has no sentences, or something else among them"),
        ({"cat": ["  "]}, r"`cat` has no sentences"),
        ({"cat": "a pet", "Cat": "another"}, r"`Cat` is described twice"),
        (["cat"], r"is no object of labels\. Write one object"),
        ("{", r"is not JSON"),
        ("[" * 100_000, r"is not JSON"),
    ],
)
def test_what_is_no_description_of_all_labels_is_refused(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_descriptions(written(tmp_path, value), ["cat", "dog", "sea"])


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\)"):
        read_descriptions(tmp_path / "none.json", ["cat"])


@pytest.mark.parametrize("centre", [False, True])
def test_a_label_is_the_mean_of_its_sentences_or_has_a_vector_for_each(table: WordTable, centre: bool) -> None:
    fake, names = FakeSentences(), ["cat", "polar bear", "sea"]
    parts = [SpacePart(encoder="fake", template="a {}", centre=centre), SpacePart(encoder="tiny", centre=centre)]
    space = LabelSpace.fit(parts, {"fake": fake, "tiny": table}, names, descriptions=SENTENCES)
    own = [unit(fake.encode(list(SENTENCES[name])).mean(axis=0)) for name in SENTENCES]
    middle, words = np.mean(own, axis=0) * centre, table.encode(names)
    words_middle = words.mean(axis=0) * centre
    texts = [(0, text) for text in SENTENCES["cat"]] + [(1, SENTENCES["Polar Bear"][0]), (2, "salt water")]
    together, apart = (space.embed(names, SENTENCES, apart=apart) for apart in (False, True))
    for row in range(3):
        wanted = unit(np.concatenate([unit(own[row] - middle), unit(words[row] - words_middle)]))
        np.testing.assert_allclose(together.vectors[row], wanted, atol=1e-6)
    assert together.owners.tolist() == [0, 1, 2] and apart.owners.tolist() == [0, 0, 1, 2]
    for vector, (owner, text) in zip(apart.vectors, texts, strict=True):
        sentence = unit(fake.encode([text])[0] - middle)
        np.testing.assert_allclose(
            vector, unit(np.concatenate([sentence, unit(words[owner] - words_middle)])), atol=1e-6
        )


def test_a_phrase_without_sentences_keeps_its_template(table: WordTable) -> None:
    space = LabelSpace.fit([SpacePart(encoder="fake", template="a {}")], {"fake": FakeSentences()}, ["cat", "sea"])
    found = space.embed(["cat", "wolf"], SENTENCES, apart=True)
    assert found.owners.tolist() == [0, 0, 1]
    np.testing.assert_allclose(found.vectors[2], FakeSentences().encode(["a wolf"])[0], atol=1e-6)


def test_several_templates_are_averaged_and_kept(tmp_path: Path) -> None:
    fake, ensemble = FakeSentences(), ("a photo of {}", "{} outdoors")
    part = SpacePart(encoder="fake", template=ensemble)
    space = LabelSpace.fit([part], {"fake": fake}, ["cat", "sea"])
    wanted = unit(fake.encode(["a photo of wolf", "wolf outdoors"]).mean(axis=0))
    np.testing.assert_allclose(space.embed(["wolf"]).vectors[0], wanted, atol=1e-6)
    space.save(tmp_path)
    loaded = LabelSpace.load(tmp_path, {"fake": fake})
    assert loaded.parts == (part,) and loaded.digest == space.digest
    np.testing.assert_array_equal(loaded.embed(["wolf"]).vectors, space.embed(["wolf"]).vectors)
