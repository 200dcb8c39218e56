"""The keywords that people gave a photo: from every place, and none of tagprism's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from tagprism.errors import PictureError
from tagprism.keywords.own import keywords_stamp, keywords_stamps, own_keywords
from tagprism.keywords.sidecar import plan
from tests.keywords.sidecars import DARKTABLE


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8), "red").save(file, xmp=DARKTABLE.encode())
    return file


def test_sidecars_of_both_names_and_the_file_are_read_and_ours_are_left_out(photo: Path) -> None:
    assert own_keywords(photo) == ("Familie", "Ostsee", "Orte")
    photo.with_suffix(".xmp").write_text(DARKTABLE.replace("Familie", "Rex").replace("Orte|", "Orte|Deutschland|"))
    change = plan(photo, "photo.jpg.xmp", ["beach", "Ostsee"], "digest")
    assert change.after is not None and "beach" in change.new.ours
    change.path.write_bytes(change.after)
    assert set(own_keywords(photo)) == {"Familie", "Ostsee", "Orte", "Rex", "Deutschland"}


def test_what_is_damaged_holds_none_and_what_is_gone_is_an_error(photo: Path) -> None:
    photo.with_suffix(".xmp").write_text("<x:xmpmeta")
    Path(f"{photo}.xmp").write_bytes(b"\xff" * 100)
    assert own_keywords(photo) == ("Familie", "Ostsee", "Orte")
    photo.write_bytes(photo.read_bytes()[:40])
    assert own_keywords(photo) == ()
    photo.unlink()
    with pytest.raises(PictureError):
        own_keywords(photo)


def test_the_stamp_changes_with_the_file_and_each_sidecar(photo: Path) -> None:
    stamps = {keywords_stamp(photo)}
    for name in ("a.xmp", "a.jpg.xmp", "a.jpg"):
        photo.with_name(name).write_bytes(b"changed")
        stamps.add(keywords_stamp(photo))
    assert len(stamps) == 4 and keywords_stamp(photo) in stamps


@pytest.mark.parametrize("beside", [None, "a.xmp", "a.XMP", "a.jpg.xmp", "a.jpg.json", "other.json", "sub/a.xmp"])
def test_stamps_of_many_are_those_of_each(photo: Path, beside: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [photo, photo.with_name("b.jpg"), photo.parent / "sub" / "c.jpg", photo.parent / "none" / "d.jpg"]
    photos[2].parent.mkdir()
    for one in photos[1:3]:
        one.write_bytes(photo.read_bytes())
    if beside:
        (photo.parent / beside).write_text("{}")
    assert list(keywords_stamps(map(str, photos))) == list(map(keywords_stamp, photos))
    looks, stat = [], os.stat
    monkeypatch.setattr(os, "stat", lambda path, **named: (looks.append(path), stat(path, **named))[1])
    list(keywords_stamps([str(photo)] * 10))
    assert (len(looks) == 10) == (beside in (None, "sub/a.xmp"))  # a re-scan does it for every picture


def test_a_photo_without_sidecars_takes_few_looks_at_the_disk(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    exists = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: (looks.append(path), exists(path))[1])
    keywords_stamp(photo)
    own_keywords(photo)
    assert 0 < len(looks) < 20  # a re-scan does it for every picture
    photo.with_suffix(".xmp").write_text(DARKTABLE.replace("Familie", "Rex"))
    photo.with_suffix(".png").write_bytes(b"")  # shares it
    assert "Rex" not in own_keywords(photo)
