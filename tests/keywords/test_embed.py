"""Keywords inside JPEGs: what exiftool and exiv2 read there, that the picture is untouched, and the way back."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagprism.errors import MachineError, PictureError
from tagprism.images.metadata import embedded
from tagprism.keywords import embed
from tagprism.keywords.embed import plan, read_inside, write
from tagprism.keywords.journal import Journal, recorded_runs
from tagprism.keywords.undo import undo
from tests.images.test_embedded import iptc_block
from tests.keywords.sidecars import PLAIN

pytestmark = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
MODEL, WORDS = "a" * 64, ["beach", "Bär & <Tiger>", "日本 😀"]
PHOTO = Path(__file__).parents[1] / "photos" / "coffee.jpg"


@pytest.fixture(autouse=True)
def own_journals(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGPRISM_STATE", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(PHOTO, tmp_path / "photo.jpg"))


def put(*photos: Path, words: list[str] = WORDS, places: dict[str, str] | None = None) -> list[str | None]:
    """Write inside the photos as the command does; why not, for each."""
    changes = [plan(photo, words, MODEL, places) for photo in photos]
    with Journal({"embed": True}) as journal:
        outcomes = write([change for change in changes if change.is_needed], journal)
        journal.finish()
    return [getattr(error, "message", None) for error in outcomes]


def exiftool(*arguments: str | Path) -> str:
    return subprocess.run(["exiftool", *arguments], capture_output=True, text=True, check=True).stdout


def read(photo: Path) -> dict[str, list[str]]:
    (found,) = json.loads(exiftool("-j", "-G1", "-XMP:all", "-IPTC:all", "-Photoshop:all", photo))
    return {key: value if isinstance(value, list) else [value] for key, value in found.items()}


def pixels(photo: Path) -> np.ndarray:
    with Image.open(photo) as image:
        return np.asarray(image)


def test_both_places_hold_the_keywords_and_nothing_else_is_touched(photo: Path) -> None:
    before, scan = photo.read_bytes(), photo.read_bytes().index(b"\xff\xda")
    picture = pixels(photo)
    assert put(photo) == [None]
    after = photo.read_bytes()
    assert after[after.index(b"\xff\xda") :] == before[scan:]
    assert np.array_equal(pixels(photo), picture)
    found = read(photo)
    assert found["XMP-dc:Subject"] == found["IPTC:Keywords"] == WORDS
    assert found["XMP-lr:HierarchicalSubject"] == [f"tagprism|{word}" for word in WORDS]
    assert found["IPTC:CodedCharacterSet"] == ["UTF8"]
    assert "not current" not in exiftool("-validate", "-warning", "-a", photo)
    assert not plan(photo, WORDS, MODEL).is_needed
    assert read_inside(photo).still_ours == tuple(WORDS)
    (run,) = recorded_runs()
    assert run.path.stat().st_size < len(before) / 2  # the picture is not in the journal
    assert undo().restored == 1 and photo.read_bytes() == before


@pytest.mark.skipif(shutil.which("exiv2") is None, reason="exiv2 is not installed")
def test_exiv2_reads_them(photo: Path) -> None:
    put(photo, words=["beach", "dog"])
    done = subprocess.run(["exiv2", "-Pt", "-g", "Keywords", photo], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["beach", "dog"]
    done = subprocess.run(["exiv2", "-Pt", "-K", "Xmp.dc.subject", photo], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "beach, dog"


def test_a_hierarchy_inside_the_photo(photo: Path) -> None:
    put(photo, words=["kitty", "dune"], places={"kitty": "animals|cat"})
    found = read(photo)
    assert found["XMP-dc:Subject"] == found["IPTC:Keywords"] == ["cat", "dune"]
    assert found["XMP-lr:HierarchicalSubject"] == ["animals|cat", "tagprism|dune"]
    assert found["XMP-digiKam:TagsList"] == ["animals/cat", "tagprism/dune"]


def test_what_is_in_the_photo_stays(photo: Path) -> None:
    kept = ["-XMP:Rating=4", "-XMP:Title=Sea", "-IPTC:Caption-Abstract=Küste", "-IPTC:Keywords=Urlaub"]
    exiftool("-overwrite_original", "-codedcharacterset=utf8", "-EXIF:XPKeywords=Zebra", *kept, photo)
    before = photo.read_bytes()
    assert put(photo, words=["beach", "urlaub"]) == [None]
    found = read(photo)
    assert found["XMP-dc:Subject"] == found["IPTC:Keywords"] == ["Urlaub", "Zebra", "beach"]
    assert (found["XMP-xmp:Rating"], found["XMP-dc:Title"], found["IPTC:Caption-Abstract"]) == ([4], ["Sea"], ["Küste"])
    assert read_inside(photo).still_ours == ("beach",)
    assert put(photo, words=[]) == [None]
    assert "beach" not in read(photo)["IPTC:Keywords"] and "beach" not in read(photo)["XMP-dc:Subject"]
    undo()
    undo()
    assert photo.read_bytes() == before


@pytest.mark.parametrize("word", ["Müller".encode(), "Müller".encode("latin-1")])
def test_iptc_without_a_stated_charset_keeps_its_meaning(photo: Path, word: bytes) -> None:
    data = photo.read_bytes()
    photo.write_bytes(data[:2] + iptc_block(word) + data[2:])
    assert put(photo, words=["beach"]) == [None]
    assert read(photo)["IPTC:Keywords"] == ["Müller", "beach"]
    assert read(photo)["XMP-dc:Subject"] == ["Müller", "beach"]


def test_a_keyword_taken_away_in_a_photo_program_stays_away(photo: Path) -> None:
    put(photo, words=["beach", "dog"])
    exiftool("-overwrite_original", "-XMP-dc:Subject-=dog", photo)  # IPTC still has it
    put(photo, words=["beach", "dog"])
    found = read_inside(photo)
    assert (found.still_ours, found.taken_away) == (("beach",), ("dog",))
    assert embedded(photo.read_bytes()).iptc == ("beach",)


def test_what_the_sidecar_says_is_heeded(photo: Path) -> None:
    words = "<dc:subject><rdf:Bag><rdf:li>Beaches</rdf:li></rdf:Bag></dc:subject>"
    photo.with_name("photo.xmp").write_text(PLAIN % words)
    put(photo, words=["beach", "dog"])
    assert read_inside(photo).flat == ("dog",)


def test_a_long_keyword_stands_in_xmp_alone(photo: Path) -> None:
    put(photo, words=["é" * 33, "é" * 32])
    assert read(photo)["IPTC:Keywords"] == ["é" * 32]
    assert read(photo)["XMP-dc:Subject"] == ["é" * 33, "é" * 32]


def test_the_second_picture_in_a_file_is_found_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    noise.save(path, "MPO", save_all=True, append_images=[noise.resize((32, 32))])
    before = path.read_bytes()
    assert put(path) == [None]
    with Image.open(path) as image:
        image.seek(1)
        assert image.size == (32, 32)
    undo()
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["photo.png", "photo.CR2", "photo.dng", "photo.webp", "photo.tif"])
def test_only_jpegs_are_written_to(photo: Path, name: str) -> None:
    other = photo.with_name(name)
    if name.endswith(("png", "webp", "tif")):
        Image.new("RGB", (8, 8)).save(other)
    else:
        shutil.copy(photo, other)  # a JPEG by its bytes, raw by its name
    before = other.read_bytes()
    with pytest.raises(PictureError, match="inside JPEGs alone"):
        plan(other, WORDS, MODEL)
    assert other.read_bytes() == before


def test_what_cannot_be_changed_safely_is_left_alone(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = photo.read_bytes()

    def refuses(reason: str) -> None:
        with pytest.raises(PictureError, match=reason):
            plan(photo, WORDS, MODEL)

    photo.write_bytes(whole[:300])
    refuses("JPEGs alone")
    Image.new("RGB", (8, 8)).save(photo, xmp=b"<x")
    refuses("The XMP inside it is damaged")
    Image.new("RGB", (8, 8)).save(photo, xmp=(PLAIN % "<dc:x xmlns:xmpNote='y' xmpNote:HasExtendedXMP='0'/>").encode())
    refuses("several parts")
    photo.write_bytes(whole)
    photo.chmod(0o444)
    refuses("write-protected")
    photo.chmod(0o644)
    link = photo.with_name("link.jpg")
    link.symlink_to(photo)
    with pytest.raises(PictureError, match="is a link"):
        plan(link, WORDS, MODEL)
    (change,) = [plan(photo, WORDS, MODEL)]
    photo.write_bytes(whole + b"!")
    with Journal({}) as journal:
        (error,) = write([change], journal)
    assert error is not None and "changed by another program" in str(error) and photo.read_bytes() == whole + b"!"
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MachineError, match="exiftool is not installed"):
        embed.check_exiftool()


def test_a_result_that_differs_in_the_picture_is_refused(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, run = photo.read_bytes(), subprocess.run

    def damages(command: list[str], **options: object) -> object:
        done = run(command, **options)  # type: ignore[call-overload]
        out = Path(str(options["cwd"])) / "0.out.jpg"
        data = bytearray(out.read_bytes())
        data[-100] ^= 1
        out.write_bytes(data)
        return done

    monkeypatch.setattr(embed.subprocess, "run", damages)
    assert put(photo) == ["exiftool would change more than keywords in it; without --embed it gets a sidecar."]
    assert photo.read_bytes() == before


@pytest.mark.slow
def test_a_gap_between_the_parts_of_exif_is_no_reason_to_refuse(photo: Path) -> None:
    """Photoshop leaves two bytes before its thumbnail; exiftool closes the gap where it rewrites XMP as a whole."""
    thumbnail = photo.with_name("thumbnail.jpg")
    with Image.open(photo) as image:
        image.resize((16, 16)).save(thumbnail)
    small = thumbnail.read_bytes()
    entries = [(0x0103, 3, 6), (0x0201, 4, 72), (0x0202, 4, len(small))]
    first = struct.pack("<HHHIIH", 1, 0x0112, 3, 1, 1, 0)[:14] + struct.pack("<I", 26)
    second = struct.pack("<H", 3) + b"".join(struct.pack("<HHII", tag, kind, 1, its) for tag, kind, its in entries)
    tiff = struct.pack("<2sHI", b"II", 42, 8) + first + second + struct.pack("<I", 0)
    exif = b"Exif\0\0" + tiff.ljust(72, b"\0") + small
    data = photo.read_bytes()
    photo.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert _thumbnail(photo) == small and put(photo) == [None]
    assert _thumbnail(photo) == small and "beach" in read(photo)["XMP-dc:Subject"]
    undo()
    assert _thumbnail(photo) == small and list(read(photo)) == ["SourceFile"]


def _thumbnail(photo: Path) -> bytes:
    return subprocess.run(["exiftool", "-b", "-ThumbnailImage", photo], capture_output=True, check=True).stdout


@pytest.mark.slow
def test_damaged_photos_are_left_alone_or_keep_their_picture(tmp_path: Path) -> None:
    rng, whole, photos = random.Random(0), PHOTO.read_bytes(), []
    for number in range(16):
        data = bytearray(whole)
        for _ in range(3):
            data[rng.randrange(2, 700)] = rng.randrange(256)
        photos.append(tmp_path / f"{number}.jpg")
        photos[-1].write_bytes(data)
    before = {path: path.read_bytes() for path in photos}
    for path in photos:
        try:
            put(path, words=["beach"])
        except PictureError:
            assert path.read_bytes() == before[path]
    for _ in [run for run in recorded_runs() if run.undone is None]:
        undo()
    assert {path: path.read_bytes() for path in photos} == before


def test_names_and_keywords_are_never_options(tmp_path: Path) -> None:
    names = [b"-delete_original.jpg", b"new\nline.jpg", b"caf\xe9 \xff.jpg", b"#[CSTR].jpg", b"$(id) `x` %d.jpg"]
    photos = []
    for name in names:
        photos.append(tmp_path / os.fsdecode(name))
        shutil.copyfile(PHOTO, photos[-1])
    words = ["-overwrite_original", "@", "<x.xmp", "#[CSTR]a\\nb", "a=b", "a;b, c", "${filename}", "%f"]
    assert put(*photos, words=words) == [None] * len(photos)
    for path in photos:
        assert read_inside(path).flat == embedded(path.read_bytes()).iptc == tuple(words)
    assert sorted(os.listdir(os.fsencode(tmp_path))) == sorted(names)  # noqa: PTH208 (bytes)
    undo()
    assert all(path.read_bytes() == PHOTO.read_bytes() for path in photos)
