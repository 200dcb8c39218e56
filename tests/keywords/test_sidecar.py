"""Sidecars beside photos: their names, what is refused, and what photo programs read in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tagprism.errors import PictureError
from tagprism.keywords import sidecar
from tagprism.keywords.journal import Journal
from tagprism.keywords.merge import Keywords
from tagprism.keywords.own import own_keywords
from tagprism.keywords.sidecar import plan, read_keywords, sidecar_path, write
from tagprism.keywords.undo import undo
from tests.keywords.sidecars import DARKTABLE, PLAIN, REFUSED, SIDECARS

MODEL = "a" * 64
WORDS = ["beach", "Bär & <Tiger>", "日本 😀"]
needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
needs_exiv2 = pytest.mark.skipif(shutil.which("exiv2") is None, reason="exiv2 is not installed")


@pytest.fixture(autouse=True)
def own_journals(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGPRISM_STATE", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (8, 8)).save(path)
    return path


def put(photo: Path, words: list[str], naming: sidecar.Naming | None = "photo.jpg.xmp", model: str = MODEL) -> Path:
    """Write the sidecar as the command does."""
    change = plan(photo, naming, words, model)
    if change.is_needed:
        with Journal({}) as journal:
            assert write([change], journal) == [None]
            journal.finish()
    return change.path


def exiftool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["exiftool", *arguments], capture_output=True, text=True, check=True)


def read_by_exiftool(path: Path) -> dict[str, list[str]]:
    (found,) = json.loads(exiftool("-j", "-struct", "-XMP-dc:all", "-XMP-lr:all", "-XMP-tagprism:all", path).stdout)
    return {key: value if isinstance(value, list) else [value] for key, value in found.items()}


def read_by_exiv2(path: Path, key: str) -> list[str]:
    done = subprocess.run(["exiv2", "-Pt", "-K", key, path], capture_output=True, text=True, check=False)
    return done.stdout.rstrip("\n").split(", ") if done.stdout.strip() else []


def test_the_photo_is_not_touched_and_no_keyword_makes_no_sidecar(photo: Path) -> None:
    before = photo.read_bytes(), photo.stat().st_mtime_ns
    assert not plan(photo, "photo.jpg.xmp", [], MODEL).is_needed
    put(photo, WORDS)
    assert (photo.read_bytes(), photo.stat().st_mtime_ns) == before
    assert sorted(path.name for path in photo.parent.iterdir()) == ["photo.jpg", "photo.jpg.xmp"]


def test_both_names(photo: Path) -> None:
    assert put(photo, WORDS).name == "photo.jpg.xmp"
    assert put(photo, WORDS, "photo.xmp").name == "photo.xmp"
    assert read_keywords(photo, "photo.xmp").still_ours == tuple(WORDS)


def test_an_ending_in_capitals_is_found(photo: Path) -> None:
    (photo.parent / "photo.jpg.XMP").write_text(DARKTABLE)
    assert put(photo, WORDS).name == "photo.jpg.XMP"
    assert read_keywords(photo, "photo.jpg.xmp").yours == ("Familie", "Ostsee", "Orte")


@pytest.mark.parametrize("other", ["photo.png", "photo.WEBP", "photo.TIF"])
def test_two_pictures_do_not_share_a_sidecar(photo: Path, other: str) -> None:
    photo.with_name(other).write_bytes(b"")
    with pytest.raises(PictureError, match=f"{other}; --sidecar photo.jpg.xmp"):
        sidecar_path(photo, "photo.xmp")
    assert sidecar_path(photo, "photo.jpg.xmp").name == "photo.jpg.xmp"


def test_a_raw_file_of_the_same_name_shows_the_same_scene(photo: Path) -> None:
    photo.with_name("photo.CR2").write_bytes(b"raw")
    assert put(photo, WORDS, "photo.xmp").name == "photo.xmp"


@pytest.mark.parametrize("other", ["photo.JPG", "photo.Jpg", "photo.jpg.png"])
def test_a_name_that_differs_in_capitals_or_is_longer_is_another_picture(photo: Path, other: str) -> None:
    shutil.copy(photo, photo.with_name(other))
    if photo.samefile(photo.with_name(other)) or len(list(photo.parent.iterdir())) == 1:
        pytest.skip("capitals make no difference on this disk")
    for one, name in ((photo, other), (photo.with_name(other), "photo.jpg")):
        if other == "photo.jpg.png" and one == photo:
            continue  # `photo.xmp` is its own
        with pytest.raises(PictureError, match=f"share its sidecar with {name}"):
            sidecar_path(one, "photo.xmp")
        assert sidecar_path(one, None).name == f"{one.name}.xmp"


def test_the_form_that_is_there_is_followed(photo: Path) -> None:
    photo.with_name("photo.xmp").write_text(DARKTABLE)
    assert put(photo, WORDS, None).name == "photo.xmp"
    assert read_keywords(photo, None).yours == ("Familie", "Ostsee", "Orte")
    photo.with_name("photo.jpg.xmp").write_text(PLAIN % "")
    assert put(photo, WORDS, None).name == "photo.jpg.xmp"  # as programs that know both
    assert sidecar_path(photo.with_name("new.jpg"), None).name == "new.jpg.xmp"


@pytest.mark.parametrize(
    ("there", "naming", "made"),
    [("photo.xmp", "photo.jpg.xmp", "photo.jpg.xmp"), ("photo.jpg.xmp", "photo.xmp", "photo.xmp")],
)
def test_a_new_sidecar_begins_as_a_copy_of_one_of_the_other_form(
    photo: Path, there: str, naming: sidecar.Naming, made: str
) -> None:
    words = "<dc:subject><rdf:Bag><rdf:li>Strand</rdf:li></rdf:Bag></dc:subject>"
    Image.new("RGB", (8, 8)).save(photo, xmp=(PLAIN % words).encode())
    photo.with_name(there).write_text(DARKTABLE)
    assert not plan(photo, naming, ["strand"], MODEL).is_needed
    assert put(photo, ["beach", "ostsee"], naming).name == made
    text, keywords = photo.with_name(made).read_text(), read_keywords(photo, naming)
    assert 'xmp:Rating="3"' in text and 'darktable:operation="exposure"' in text
    assert keywords.flat == ("Familie", "Ostsee", "Strand", "beach") and keywords.still_ours == ("beach",)
    assert photo.with_name(there).read_text() == DARKTABLE
    undo()
    assert not photo.with_name(made).exists()


def test_a_sidecar_that_pictures_share_is_copied_for_each(photo: Path) -> None:
    shutil.copy(photo, photo.with_name("photo.png"))
    photo.with_name("photo.xmp").write_text(DARKTABLE)
    for one in (photo, photo.with_name("photo.png")):
        assert put(one, ["beach"], None).name == f"{one.name}.xmp"
        assert read_keywords(one, None).flat == ("Familie", "Ostsee", "beach")


def test_a_write_protected_sidecar_of_the_other_form_is_copied(photo: Path) -> None:
    photo.with_name("photo.xmp").write_text(DARKTABLE)
    photo.with_name("photo.xmp").chmod(0o444)
    assert put(photo, ["beach"], None).name == "photo.jpg.xmp"
    assert read_keywords(photo, None).flat == ("Familie", "Ostsee", "beach")


def test_a_damaged_sidecar_of_the_other_form_is_said(photo: Path) -> None:
    photo.with_name("photo.xmp").write_text("<x")
    with pytest.raises(PictureError, match=r"sidecar photo\.xmp is damaged"):
        plan(photo, "photo.jpg.xmp", WORDS, MODEL)


def test_a_sidecar_of_100_megabytes_is_refused_unread(photo: Path) -> None:
    with photo.with_name("photo.jpg.xmp").open("wb") as file:
        file.write(DARKTABLE.encode())
        file.truncate(100 * 2**20)
    for naming in ("photo.jpg.xmp", "photo.xmp", None):
        with pytest.raises(PictureError, match=r"photo\.jpg\.xmp has 100 MiB; at most 64 MiB are read"):
            plan(photo, naming, WORDS, MODEL)
    assert own_keywords(photo) == ()


def test_other_names_of_a_sidecar_keep_what_they_had(photo: Path) -> None:
    path, backup = photo.with_name("photo.jpg.xmp"), photo.with_name("backup")
    path.write_text(DARKTABLE)
    backup.hardlink_to(path)
    assert plan(photo, None, WORDS, MODEL).linked
    put(photo, WORDS)
    assert backup.read_text() == DARKTABLE and not plan(photo, None, ["dune"], MODEL).linked


def test_own_keywords_are_those_of_the_file_and_its_sidecars_without_ours(photo: Path) -> None:
    words = "<dc:subject><rdf:Bag><rdf:li>Strand</rdf:li></rdf:Bag></dc:subject>"
    microsoft = (
        '<M:LastKeywordXMP xmlns:M="http://ns.microsoft.com/photo/1.0/"><rdf:Bag><rdf:li>Orte/Kiel</rdf:li></rdf:Bag>'
        "</M:LastKeywordXMP>"
    )
    Image.new("RGB", (8, 8)).save(photo, xmp=(PLAIN % (words + microsoft)).encode())
    photo.with_name("photo.xmp").write_text(DARKTABLE)
    put(photo, ["beach", "dog"])
    assert set(own_keywords(photo)) == {"Familie", "Ostsee", "Orte", "Strand", "Kiel"}


def test_mode_and_attributes_stay(photo: Path) -> None:
    path = photo.with_name("photo.jpg.xmp")
    path.write_text(DARKTABLE)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12346)
    put(photo, WORDS)
    status = path.stat()
    assert status.st_mode & 0o777 == 0o640
    if os.geteuid() == 0:
        assert (status.st_uid, status.st_gid) == (12345, 12346)


def test_a_new_sidecar_has_the_mode_that_the_umask_asks_for(photo: Path) -> None:
    old = os.umask(0o027)
    try:
        assert put(photo, WORDS).stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(old)


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_sidecar_is_left_alone(photo: Path, name: str) -> None:
    data, reason = REFUSED[name]
    path = photo.with_name("photo.jpg.xmp")
    path.write_bytes(data)
    with pytest.raises(PictureError, match=reason) as caught:
        plan(photo, "photo.jpg.xmp", WORDS, MODEL)
    assert caught.value.code == "sidecar" and path.read_bytes() == data


def test_what_is_no_plain_file_is_left_alone(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photo.with_name("photo.jpg.xmp")

    def refuses(reason: str) -> None:
        with pytest.raises(PictureError, match=reason):
            plan(photo, "photo.jpg.xmp", WORDS, MODEL)

    target = photo.with_name("elsewhere")
    target.write_text(DARKTABLE)
    path.symlink_to(target)
    refuses("is a link")
    path.unlink()
    path.symlink_to("nowhere")
    refuses("is a link")
    path.unlink()
    path.mkdir()
    refuses("is not a file")
    path.rmdir()
    os.mkfifo(path)
    refuses("is not a file")
    path.unlink()
    path.write_text(DARKTABLE)
    path.chmod(0o444)
    refuses("is write-protected")
    path.chmod(0o644)
    monkeypatch.setattr(sidecar, "MAX_BYTES", 1000)
    refuses("MiB")
    long = photo.with_name("x" * 249 + ".jpg")
    long.write_bytes(photo.read_bytes())
    with pytest.raises(PictureError, match="name too long"):
        plan(long, "photo.jpg.xmp", WORDS, MODEL)


def test_a_photo_that_is_gone_gets_no_sidecar(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="no such file"):
        plan(tmp_path / "gone.jpg", "photo.jpg.xmp", WORDS, MODEL)
    assert list(tmp_path.iterdir()) == []


def test_a_keyword_that_xml_cannot_hold_is_said(photo: Path) -> None:
    with pytest.raises(PictureError, match=r"'a\\x01b' has a character"):
        plan(photo, "photo.jpg.xmp", ["a\x01b"], MODEL)


def test_a_sidecar_that_another_program_changes_meanwhile_is_left_alone(photo: Path) -> None:
    path = photo.with_name("photo.jpg.xmp")
    new = plan(photo, "photo.jpg.xmp", WORDS, MODEL)
    path.write_text(DARKTABLE)
    changed = plan(photo, "photo.jpg.xmp", WORDS, MODEL)
    path.write_text(PLAIN % "")
    for change in (new, changed):
        with Journal({}) as journal:
            (error,) = write([change], journal)
        assert isinstance(error, PictureError) and "changed by another program" in error.message
    assert path.read_text() == PLAIN % ""
    assert sorted(one.name for one in photo.parent.iterdir()) == ["photo.jpg", "photo.jpg.xmp"]


def test_a_new_sidecar_starts_with_the_keywords_inside_the_photo(tmp_path: Path) -> None:
    words = "<dc:subject><rdf:Bag><rdf:li>Familie</rdf:li><rdf:li>Strand</rdf:li></rdf:Bag></dc:subject>"
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (8, 8)).save(path, xmp=(PLAIN % words).encode())
    assert not plan(path, "photo.jpg.xmp", ["strand"], MODEL).is_needed  # they have it
    put(path, ["strand", "sea"])
    keywords = read_keywords(path, "photo.jpg.xmp")
    assert keywords.flat == ("Familie", "Strand", "sea") and keywords.still_ours == ("sea",)


def test_damaged_metadata_inside_the_photo_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (8, 8)).save(path, xmp=b"<x")
    put(path, ["sea"])
    assert read_keywords(path, "photo.jpg.xmp").flat == ("sea",)


@needs_exiftool
def test_iptc_keywords_inside_the_photo_are_kept(photo: Path) -> None:
    exiftool("-codedcharacterset=utf8", "-IPTC:Keywords=Küste", "-IPTC:Keywords=Familie", "-overwrite_original", photo)
    put(photo, ["sea"])
    assert read_keywords(photo, "photo.jpg.xmp").yours == ("Küste", "Familie")


@needs_exiftool
def test_exiftool_reads_a_new_sidecar(photo: Path) -> None:
    path = put(photo, WORDS)
    found = read_by_exiftool(path)
    assert found["Subject"] == found["Keywords"] == WORDS
    assert found["HierarchicalSubject"] == [f"tagprism|{word}" for word in WORDS]
    assert found["Model"] == [MODEL]
    assert "Warning" not in exiftool("-validate", "-warning", "-a", path).stdout.replace("Validate", "")


@needs_exiv2
def test_exiv2_reads_a_new_sidecar(photo: Path) -> None:
    path = put(photo, WORDS)
    assert read_by_exiv2(path, "Xmp.dc.subject") == WORDS
    assert read_by_exiv2(path, "Xmp.lr.hierarchicalSubject") == [f"tagprism|{word}" for word in WORDS]
    assert read_by_exiv2(path, "Xmp.tagprism.keywords") == WORDS


# Files that they do not read as XMP says, also as they were.
EXIFTOOL_DIFFERS = {"a default namespace", "dc as the default namespace", "latin-1", "several descriptions"}
EXIV2_DIFFERS = {
    *("utf-16", "utf-16 without a mark", "latin-1"),
    *("no x:xmpmeta", "several descriptions", "a closed description", "no description", "an empty RDF"),
    *("another prefix", "a default namespace", "dc means something else", "qualified words", "a qualified list"),
}


@needs_exiftool
@pytest.mark.parametrize("name", sorted(SIDECARS.keys() - EXIFTOOL_DIFFERS))
def test_exiftool_reads_both_kinds_of_keywords_in_a_merged_sidecar(photo: Path, name: str) -> None:
    data, words = SIDECARS[name]
    path = photo.with_name("photo.jpg.xmp")
    path.write_bytes(data)
    put(photo, ["beach", "dog"])
    found = read_by_exiftool(path)
    assert sorted(found["Subject"]) == sorted([*words, "beach", "dog"])
    assert {"tagprism|beach", "tagprism|dog"} <= set(found["HierarchicalSubject"])


@needs_exiv2
@pytest.mark.parametrize("name", sorted(SIDECARS.keys() - EXIV2_DIFFERS))
def test_exiv2_reads_both_kinds_of_keywords_in_a_merged_sidecar(photo: Path, name: str) -> None:
    data, words = SIDECARS[name]
    path = photo.with_name("photo.jpg.xmp")
    path.write_bytes(data)
    put(photo, ["beach", "dog"])
    assert sorted(read_by_exiv2(path, "Xmp.dc.subject")) == sorted([*words, "beach", "dog"])


@needs_exiftool
def test_after_exiftool_has_rewritten_a_sidecar_the_marks_are_still_there(photo: Path) -> None:
    path = put(photo, ["beach", "dog"])
    exiftool("-overwrite_original", "-XMP-dc:Subject-=dog", "-XMP-dc:Subject+=Familie", "-XMP:Rating=4", path)
    put(photo, ["beach", "dog", "sea"])
    keywords = read_keywords(photo, "photo.jpg.xmp")
    assert (keywords.yours, keywords.still_ours, keywords.taken_away) == (("Familie",), ("beach", "sea"), ("dog",))
    assert read_by_exiftool(path)["HierarchicalSubject"] == ["tagprism|beach", "Familie", "tagprism|sea"]


@needs_exiv2
def test_after_exiv2_has_rewritten_a_sidecar_the_marks_are_still_there(photo: Path) -> None:
    path = put(photo, ["beach", "dog"])
    edits = ["set Xmp.xmp.Rating 4", "del Xmp.dc.subject", "add Xmp.dc.subject XmpBag beach"]
    edits.append("set Xmp.dc.subject XmpBag Familie")
    subprocess.run(["exiv2", *(f"-M{edit}" for edit in edits), path], check=True, capture_output=True)
    put(photo, ["beach", "dog", "sea"])
    keywords = read_keywords(photo, "photo.jpg.xmp")
    assert (keywords.yours, keywords.still_ours, keywords.taken_away) == (("Familie",), ("beach", "sea"), ("dog",))


@needs_exiftool
def test_a_sidecar_that_exiftool_made_is_added_to(photo: Path) -> None:
    path = photo.with_name("photo.jpg.xmp")
    exiftool("-XMP-dc:Subject=Familie", "-XMP-lr:HierarchicalSubject=Orte|Ostsee", "-XMP:Title=x", "-o", path, photo)
    before = path.read_bytes()
    put(photo, WORDS)
    found = read_by_exiftool(path)
    assert found["Subject"] == ["Familie", *WORDS]
    assert found["HierarchicalSubject"] == ["Orte|Ostsee", *(f"tagprism|{word}" for word in WORDS)]
    undo()
    assert path.read_bytes() == before


def test_without_a_sidecar_there_are_no_keywords(photo: Path) -> None:
    assert read_keywords(photo, "photo.jpg.xmp") == Keywords()
