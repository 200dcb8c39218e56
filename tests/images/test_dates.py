"""When a photo was taken: every form that cameras and programs write, every place, in the order of trust."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin

from tagprism.images.metadata import read_metadata
from tagprism.images.metadata_beside import best_time, named_time, stated_time, unix_time
from tests.images.made import dng, encoded, smooth

WHEN = st.datetimes(min_value=datetime(1826, 1, 1), max_value=datetime(9999, 12, 31)).map(
    lambda t: t.replace(microsecond=0)
)
EXIF = "%Y:%m:%d %H:%M:%S"


@given(
    WHEN,
    st.sampled_from(["%Y:%m:%d", "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d"]),
    st.sampled_from([" ", "T", "  "]),
    st.sampled_from(
        ["", ".5", ".123456", "+0000", "+02:00", "-07:30", "Z", " UTC", "\0", "\0rubbish", " and more", ".25+01:00"]
    ),
    st.sampled_from(["", " ", "\0"]),
)
def test_a_time_is_read_whatever_stands_between_and_behind(
    when: datetime, day: str, sign: str, end: str, start: str
) -> None:
    text = when.strftime(day).zfill(10) + sign + when.strftime("%H:%M:%S")
    assert stated_time(start + text + end) == when.isoformat()


@given(WHEN, st.sampled_from([("%Y:%m:%d %H:%M", 16), ("%Y-%m-%dT%H:%M", 16), ("%Y-%m-%d", 10), ("%Y-%m", 7)]))
def test_what_is_missing_at_the_end_is_left_away(when: datetime, form: tuple[str, int]) -> None:
    assert stated_time(when.strftime(form[0])) == when.isoformat()[: form[1]]


@given(st.text() | st.from_regex(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", fullmatch=True))
def test_any_text_is_a_beginning_of_a_time_in_the_calendar_or_none(text: str) -> None:
    for found in (stated_time(text), named_time(text)):
        if found is not None:
            assert re.fullmatch(r"\d{4}-\d\d(-\d\d(T\d\d:\d\d(:\d\d)?)?)?", found)
            datetime.fromisoformat(found + "0001-01-01T00:00:00"[len(found) :])


@pytest.mark.parametrize(
    "text",
    [
        "0000:00:00 00:00:00",
        "    :  :     :  :  ",
        "",
        "\0" * 20,
        "1970",
        "2019:13:01 00:00:00",
        "yesterday",
        "20190504",
    ],
)
def test_zeros_blanks_and_what_is_not_in_the_calendar_are_no_time(text: str) -> None:
    assert stated_time(text) is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2019:02:31 10:00:00", "2019-02"),
        ("2019:05:04 24:00:00", "2019-05-04"),
        ("2019:05:04 10:20:60", "2019-05-04T10:20"),
    ],
)
def test_of_a_time_that_is_wrong_at_its_end_the_beginning_counts(text: str, time: str) -> None:
    assert stated_time(text) == time


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("IMG_20190504_065057.jpg", "2019-05-04T06:50:57"),
        ("PXL_20190504_065057123.MP.jpg", "2019-05-04T06:50:57"),
        ("20190504_065057(1).jpg", "2019-05-04T06:50:57"),
        ("IMG_20190504065057.jpg", "2019-05-04T06:50:57"),
        ("2019-05-04 06.50.57.jpg", "2019-05-04T06:50:57"),
        ("Screenshot_2019-05-04-06-50-57.png", "2019-05-04T06:50:57"),
        ("signal-2019-05-04-065057.jpg", "2019-05-04T06:50:57"),
        ("WhatsApp Image 2019-05-04 at 06.50.57.jpeg", "2019-05-04T06:50:57"),
        ("IMG-20190504-WA0001.jpg", "2019-05-04"),
        ("2019-05-04.jpg", "2019-05-04"),
        ("IMG_20199904_065057.jpg", None),
        ("DSC_1234.jpg", None),
        ("1556952657123.jpg", None),
        ("IMG_12019050406505712.jpg", None),
    ],
)
def test_the_name_of_a_file_says_when(name: str, time: str | None) -> None:
    assert named_time(name) == time


def test_a_clock_in_the_future_counts_only_where_nothing_else_does() -> None:
    now, ahead = datetime(2024, 1, 1), "2031-01-01T00:00:00"
    assert best_time([("clock", ahead), ("name", "2023-05-05")], now) == ("2023-05-05", "name")
    assert best_time([("clock", ahead), ("name", None)], now) == (ahead, "clock")
    east = (now + timedelta(hours=13)).isoformat()
    assert best_time([("clock", east), ("name", "2023-05-05")], now) == (east, "clock")
    assert best_time([("clock", None)], now) is None


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_of_seconds_is_a_time_or_none(seconds: float) -> None:
    found = unix_time(seconds)
    assert found is None or datetime.fromisoformat(found)


XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:exif="http://ns.adobe.com/exif/1.0/" {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>"""


def exif(**values: str) -> Image.Exif:
    found = Image.Exif()
    photo = found.get_ifd(ExifTags.IFD.Exif)
    for name, value in values.items():
        photo[ExifTags.Base[name]] = value
    return found


def test_places_are_asked_in_their_order_and_the_source_is_kept(tmp_path: Path) -> None:
    """Each place is taken away in turn, the most trusted first."""
    photo, sidecar, takeout = (
        tmp_path / f"IMG_20150101_101010.jpg{end}" for end in ("", ".xmp", ".supplemental-metadata.json")
    )
    inside = XMP.format(attributes='xmp:CreateDate="2018-01-01T10:10:10+02:00"', elements="")
    sidecar.write_text(XMP.format(attributes="", elements="<photoshop:DateCreated>2017-01-01</photoshop:DateCreated>"))
    takeout.write_text(json.dumps({"photoTakenTime": {"timestamp": "1451643010"}}))

    def found(xmp: str, **values: str) -> tuple[str | None, str]:
        photo.write_bytes(encoded(smooth(), "JPEG", exif=exif(**values), xmp=xmp.encode()))
        known = read_metadata(photo)
        return known.taken, known.taken_from

    both = {"DateTimeOriginal": "2020:01:01 10:10:10+0000", "DateTimeDigitized": "2019-01-01 10:10:10.25"}
    assert found(inside, **both) == ("2020-01-01T10:10:10", "EXIF:DateTimeOriginal")
    both["DateTimeOriginal"] = "0000:00:00 00:00:00"
    assert found(inside, **both) == ("2019-01-01T10:10:10", "EXIF:DateTimeDigitized")
    assert found(inside) == ("2018-01-01T10:10:10", "XMP-xmp:CreateDate")
    assert found("") == ("2017-01-01", "sidecar XMP-photoshop:DateCreated")
    sidecar.unlink()
    assert found("") == ("2016-01-01T10:10:10", "Google Takeout")
    takeout.unlink()
    assert found("") == ("2015-01-01T10:10:10", "file name")
    photo = photo.rename(tmp_path / "photo.jpg")
    assert found("") == (None, "")


def test_xmp_of_a_png_and_of_a_sidecar_of_its_stem(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    text = XMP.format(attributes="", elements="<exif:DateTimeOriginal>2019-08-07T06:05:04</exif:DateTimeOriginal>")
    info.add_itxt("XML:com.adobe.xmp", text)
    (tmp_path / "a.png").write_bytes(encoded(smooth(), "PNG", pnginfo=info))
    assert read_metadata(tmp_path / "a.png").taken == "2019-08-07T06:05:04"
    (tmp_path / "b.png").write_bytes(encoded(smooth(), "PNG"))
    (tmp_path / "b.XMP").write_text(text)
    known = read_metadata(tmp_path / "b.png")
    assert (known.taken, known.taken_from) == ("2019-08-07T06:05:04", "sidecar XMP-exif:DateTimeOriginal")


@pytest.mark.parametrize(
    "beside",
    [
        "a.jpg.supplemental-metadata.json",
        "a.jpg.json",
        "a(1).jpg|a.jpg.supplemental-metadata(1).json",
        "a(1).jpg|a.jpg(1).json",
        "a-edited.jpg|a.jpg.supplemental-metadata.json",
        "a_photo_with_a_name_of_many_letters.jpg|a_photo_with_a_name_of_many_letters.jpg.supple.json",
    ],
)
def test_takeout_is_found_under_all_the_names_that_it_gives(tmp_path: Path, beside: str) -> None:
    name, _, said = beside.rpartition("|")
    photo = tmp_path / (name or "a.jpg")
    photo.write_bytes(encoded(smooth(), "JPEG"))
    place = {"latitude": 47.4, "longitude": -8.5}
    (tmp_path / said).write_text(json.dumps({"photoTakenTime": {"timestamp": "1224686924"}, "geoData": place}))
    known = read_metadata(photo)
    assert (known.taken, known.taken_from, known.location) == ("2008-10-22T14:48:44", "Google Takeout", (47.4, -8.5))


BROKEN = [
    b"no json",
    b"",
    b"[]",
    b"null",
    b'{"photoTakenTime": {}}',
    b'{"photoTakenTime": {"timestamp": "soon"}}',
    b"[" * 9999,
]
BROKEN += [b'{"photoTakenTime": {"timestamp": "1e999"}, "geoData": "here"}', b"\xff\xfe\0", b'{"photoTakenTime": 5}']


@pytest.mark.parametrize("text", BROKEN)
def test_a_takeout_file_that_is_none_and_a_broken_sidecar_say_nothing(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(smooth(), "JPEG"))
    (tmp_path / "a.jpg.supplemental-metadata.json").write_bytes(text)
    (tmp_path / "a.jpg.xmp").write_bytes(text)
    known = read_metadata(tmp_path / "a.jpg")
    assert (known.taken, known.location, known.rating) == (None, None, None)


def test_entities_of_a_sidecar_are_not_followed(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    (tmp_path / "a.jpg").write_bytes(encoded(smooth(), "JPEG"))
    (tmp_path / "a.jpg.xmp").write_text(f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]><x>&l11;</x>')
    assert read_metadata(tmp_path / "a.jpg").taken is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_in_the_facts_is_that_of_the_upright_picture(tmp_path: Path, kind: str, orientation: int) -> None:
    from tagprism.images.decode import open_picture

    pytest.importorskip("pillow_heif")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = orientation
    path = tmp_path / "a.any"
    path.write_bytes(encoded(smooth(64, 32), kind, exif=turned.tobytes() if kind == "HEIF" else turned))
    known = read_metadata(path)
    assert (known.width, known.height) == open_picture(path).size == ((32, 64) if orientation > 4 else (64, 32))


def test_facts_of_a_raw_file_are_those_of_its_two_parts(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    path = tmp_path / "a.dng"
    path.write_bytes(dng(encoded(smooth(300, 200), "JPEG"), orientation=6))
    known = read_metadata(path)
    assert (known.width, known.height, known.kind) == (200, 300, "raw")
    assert (known.taken, known.camera) == ("2021-05-06T07:08:09", "Maker One")


def test_camera_rating_and_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    values = exif()
    values[ExifTags.Base.Make], values[ExifTags.Base.Model], values[ExifTags.Base.Rating] = (
        "NIKON CORPORATION\0",
        "NIKON D90",
        3,
    )
    gps = values.get_ifd(ExifTags.IFD.GPSInfo)
    gps[1], gps[2], gps[3], gps[4] = "S", (33.0, 51.0, 36.0), "E", (151.0, 12.0, 0.0)
    path.write_bytes(encoded(smooth(), "JPEG", exif=values))
    known = read_metadata(path)
    assert (known.camera, known.rating, known.kind) == ("NIKON D90", 3, "jpeg")
    assert known.location == pytest.approx((-33.86, 151.2))
    sidecar = XMP.format(
        attributes='xmp:Rating="-1" exif:GPSLatitude="47,22.5N" exif:GPSLongitude="8,30.0W"', elements=""
    )
    (tmp_path / "a.jpg.xmp").write_text(sidecar)
    assert read_metadata(path).rating == -1  # what a program wrote beside the photo is newer
    path.write_bytes(encoded(smooth(), "JPEG"))
    assert read_metadata(path).location == pytest.approx((47.375, -8.5))
    for numbers in ((0, 0, 0), (91, 0, 0)):
        gps[2] = gps[4] = numbers
        path.write_bytes(encoded(smooth(), "JPEG", exif=values))
        (tmp_path / "a.jpg.xmp").unlink(missing_ok=True)
        assert read_metadata(path).location is None
