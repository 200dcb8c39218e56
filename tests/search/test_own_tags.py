"""What people tagged: keywords of files and sidecars, marks of the page; found, shown apart, above the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagprism.errors import InputError
from tagprism.search.collection import Collection
from tagprism.search.create import create_collection
from tagprism.search.find import find
from tagprism.search.marks import kept_marks, open_marks
from tagprism.search.upkeep import Upkeep
from tests.keywords.sidecars import DARKTABLE
from tests.small_world import World, draw


@pytest.fixture
def collection(world: World, tmp_path: Path) -> Iterator[Collection]:
    """Four pictures: keywords in one, in the sidecar of another, none in the rest."""
    folder = tmp_path / "photos"
    for number, shape in enumerate(("circle", "square", "cross", "triangle")):
        draw(folder / f"{shape}.png", "blue", shape, number)
    with Image.open(folder / "circle.png") as image:
        image.convert("RGB").save(folder / "circle.jpg", xmp=DARKTABLE.replace("Familie", "Rex the corgi").encode())
    (folder / "circle.png").unlink()
    (folder / "square.xmp").write_text(DARKTABLE.replace("Familie", "red"))
    (tmp_path / "index").mkdir()
    made = create_collection(str(tmp_path / "index"), str(world.run), folders=(str(folder),))
    update(made)
    yield made
    made.close()


def update(collection: Collection) -> None:
    upkeep = Upkeep(collection)
    upkeep.update()
    upkeep.close()


def found(collection: Collection, query: str) -> list[tuple[str, float, tuple[str, ...]]]:
    results = find(collection, query, marks=kept_marks(collection.where))
    return [(Path(one.picture.path).name, one.score, one.own) for one in results.found]


REX, RED = ("Rex the corgi", "Ostsee", "Orte"), ("red", "Ostsee", "Orte")


def test_keywords_are_found_in_any_spelling_and_are_certain(collection: Collection) -> None:
    assert found(collection, "Rex the corgi") == [("circle.jpg", 1.0, REX)]  # no encoder knows these words
    assert found(collection, 'tag:"rex  THE_corgi"') == [("circle.jpg", 1.0, REX)]
    assert sorted(found(collection, "tag:ostsees")) == [("circle.jpg", 1.0, REX), ("square.png", 1.0, RED)]
    assert [one[0] for one in found(collection, "tag:Orte NOT tag:red")] == ["circle.jpg"]
    assert len(found(collection, "NOT tag:Ostsee")) == 2 and found(collection, "tag:nobody") == []
    first, *others = find(collection, "red").found
    assert first.picture.path.endswith("square.png") and first.score == 1.0 and first.likely
    assert first.tags[0].probability == 1.0 and all(one.score < 1 for one in others) and len(others) == 3
    assert find(collection, "red tag:Ostsee").found[0].picture.path == first.picture.path
    assert len(find(collection, "red tag:Ostsee").found) == 2
    assert len(find(collection, "cross OR tag:Ostsee").found) == 4


def test_a_word_that_nobody_knows_is_still_an_error(collection: Collection) -> None:
    with pytest.raises(InputError, match="frobnicated"):
        find(collection, '"Rex the corgi" OR "frobnicated quux"')
    assert found(collection, 'cross OR "Rex the corgi"')[0][0] == "circle.jpg"


def test_the_page_has_the_last_word(collection: Collection) -> None:
    pictures = {Path(one.path).stem: one for one in collection.index.pictures()}
    marks = open_marks(collection.where)
    marks.put(pictures["square"].digest, "Ostsee", False)
    marks.put([pictures["cross"].digest, pictures["triangle"].digest], "Rex", True)
    marks.close()
    assert found(collection, "tag:Ostsee") == [("circle.jpg", 1.0, REX)]
    assert sorted(found(collection, "rex")) == [("cross.png", 1.0, ("Rex",)), ("triangle.png", 1.0, ("Rex",))]
    assert [one[2] for one in found(collection, "tag:red")] == [("red", "Orte")]


def test_an_update_reads_changed_keywords_alone(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, read = Path(collection.folders[0]), []
    from tagprism.search import keyword_table

    own = keyword_table.own_keywords
    monkeypatch.setattr(keyword_table, "own_keywords", lambda photo: read.append(photo.name) or own(photo))
    update(collection)
    assert read == []
    (folder / "cross.png.xmp").write_text(DARKTABLE.replace("Familie", "Oma"))
    (folder / "square.xmp").unlink()
    (folder / "circle.jpg").unlink()
    update(collection)
    assert sorted(read) == ["cross.png", "square.png"]
    assert found(collection, "tag:Oma") == [("cross.png", 1.0, ("Oma", "Ostsee", "Orte"))]
    assert found(collection, "tag:red") == found(collection, "tag:Rex") == []


def test_an_update_reads_what_sidecars_say_now(collection: Collection) -> None:
    folder = Path(collection.folders[0])
    records = {one.path: collection.index.records([one.id]).rows for one in collection.index.pictures()}
    said = 'xmp:Rating="5" xmp:CreateDate="2019-05-04T06:50:57" exif:GPSLatitude="47,24N" exif:GPSLongitude="8,30E"'
    spaces = 'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
    sidecar = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f"<rdf:Description {spaces} {said}/></rdf:RDF></x:xmpmeta>"
    )
    (folder / "cross.png.xmp").write_text(sidecar)
    upkeep = Upkeep(collection)
    report = upkeep.update()
    assert (report.renewed, report.unchanged) == (1, 3)
    for query in ("rating:5", "taken:2019-05-04", "gps:47.3,8.4..47.5,8.7"):
        assert [one[0] for one in found(collection, query)] == ["cross.png"], query
    (folder / "cross.png.xmp").write_text(sidecar.replace('Rating="5"', 'Rating="2"'))
    report = upkeep.follow([str(folder / "cross.png.xmp")])
    assert (report.renewed, report.removed) == (1, 0)
    assert found(collection, "rating:5") == [] and [one[0] for one in found(collection, "rating:2")] == ["cross.png"]
    (folder / "cross.png.xmp").unlink()
    takeout = folder / "cross.png.supplemental-metadata.json"
    takeout.write_text('{"photoTakenTime": {"timestamp": "1500000000"}}')
    report = upkeep.follow([str(takeout), str(folder / "cross.png.xmp")])
    assert (report.renewed, report.changed, report.removed) == (1, 0, 0) and upkeep.update().renewed == 0
    upkeep.close()
    assert found(collection, "rating:2") == [] and [one[0] for one in found(collection, "taken:2017")] == ["cross.png"]
    for one in collection.index.pictures():
        np.testing.assert_array_equal(collection.index.records([one.id]).rows, records[one.path])


def test_an_index_without_keywords_is_searched_and_renewed(collection: Collection) -> None:
    (Path(collection.where) / "catalog.sqlite").unlink()
    assert found(collection, "tag:red") == []
    assert len(found(collection, "red")) == 4
    update(collection)
    assert [one[0] for one in found(collection, "tag:red")] == ["square.png"]
