"""The bundle in the package, and the word list it is made with."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

import tagprism
from tagprism.bundle.bundle import Bundle, find_bundle
from tagprism.bundle.config import VOCABULARY
from tagprism.errors import InputError
from tagprism.labels.phrase_list import read_phrases
from tagprism.labels.vocabulary import Vocabulary
from tests.app.conftest import Cli

ROOT = Path(__file__).parents[2]
OFFENSIVE = ("bitch", "negro", "nude", "whore", "gypsy", "rape", "slave", "slut", "porn")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load(find_bundle("photos-lite") / VOCABULARY)


def test_it_is_small_and_whole(vocabulary: Vocabulary) -> None:
    folder = find_bundle("photos-lite")
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 30e6
    bundle = Bundle(folder)
    assert bundle.config.name == "photos-lite" and bundle.config.calibration is not None
    assert str(ROOT) not in (folder / "config.json").read_text() and "/work" not in (folder / "README.md").read_text()
    assert len(vocabulary.names) >= 10_000 and set(bundle.config.seen) == set(vocabulary.seen)


def test_its_words_cover_the_known_lists(vocabulary: Vocabulary, shared: Path) -> None:
    info = pytest.importorskip("timm.data.imagenet_info").ImageNetInfo()
    protocols = shared / "data/protocols"
    words = json.loads((protocols / "coco/split_48_17.json").read_text())["categories"]
    words += (protocols / "nus_wide/Concepts81.txt").read_text().split()
    words += [info.index_to_description(index).split(",")[0] for index in range(1000)]
    corel = json.loads((shared / "data/corel5k/labels.json").read_text())
    words += {word for labels in corel.values() for word in labels}
    assert [word for word in words if vocabulary.find(word) is None] == []


def test_another_package_of_photographs_is_no_folder_of_fewer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nobody = runpy.run_path(str(ROOT / "recipes/photos_lite/nobody.py"))
    monkeypatch.setitem(nobody["main"].__globals__, "unpack_packages", lambda *_, **__: None)
    monkeypatch.setattr(sys, "argv", ["nobody.py", str(tmp_path / "photos")])
    with pytest.raises(InputError, match="gcompris-qt-data: is another version: of the 217 photographs 0 are"):
        nobody["main"]()
    assert not list(tmp_path.iterdir())


def test_the_word_list_is_in_the_bundle_and_holds_no_offence(vocabulary: Vocabulary) -> None:
    words = read_phrases(ROOT / "recipes/photos_lite/vocabulary.txt", print, as_written=True)
    assert all(vocabulary.find(word) is not None for word in words)
    assert [word for word in OFFENSIVE if vocabulary.find(word) is not None] == []


def test_a_person_is_where_a_man_or_a_woman_is_and_a_page_of_text_or_galaxies_get_no_tag(tmp_path: Path) -> None:
    page = Image.new("RGB", (800, 1100), "white")
    for top in range(40, 1060, 30):
        ImageDraw.Draw(page).text((60, top), "What is written here is no photograph of anything. " * 2, fill="black")
    page.save(tmp_path / "page.png")
    tagger = tagprism.load()
    photos = sorted((ROOT / "tests/photos").glob("*.[jp]*g"))
    for row in tagger.tag(photos, ["person", "man", "woman", "child", "cup"], top_k=None):
        found = {tag.label: tag.probability for tag in row.tags}
        assert found["person"] >= max(found["man"], found["woman"], found["child"]), row.path
    galaxies, cat = ROOT / "tests/photos/hubble_deep_field.jpg", ROOT / "tests/photos/chelsea.jpg"
    page_row, galaxies_row, cat_row = tagger.tag(
        [tmp_path / "page.png", galaxies, cat], top_k=None, min_probability=0.5
    )
    assert page_row.error is None and page_row.tags == () and galaxies_row.tags == ()
    assert "cat" in [tag.label for tag in cat_row.tags]


@pytest.mark.slow
def test_a_photo_gets_few_tags(shared: Path) -> None:
    labels = json.loads((shared / "data/corel5k/labels.json").read_text())
    pictures = [shared / "data/corel5k/images" / key for key in sorted(labels)[::20]]  # 250
    tagger = tagprism.load()
    rows = tagger.tag(pictures, top_k=None, min_probability=0.5)
    assert all(len(row.tags) <= 10 for row in rows)
    known = {label for its in labels.values() for label in its}  # `grey fox` may be right, but no photo can list it
    given = [tag.label in labels[row.path.name] for row in rows for tag in row.tags if tag.label in known]
    assert len(given) >= 5 and sum(given) / len(given) > 0.5


def test_no_picture_is_likely_for_a_word_that_nobody_knows(cli: Cli, tmp_path: Path) -> None:
    cli("index", ROOT / "tests/photos/hubble_deep_field.jpg", "--into", tmp_path / "i")
    found = cli("search", tmp_path / "i", "xyzzy", "--all")  # by its vector, which is noise, it would be
    assert "`xyzzy` is unknown" in found.err and "none is likely" in found.out
    assert "none is likely" in cli("search", tmp_path / "i", "night AND xyzzy", "--all").out
