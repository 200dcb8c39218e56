"""Word lists: aliases, comments, line ends, encodings, separators, doubles, and what is refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagprism.errors import InputError
from tagprism.labels.phrase_list import read_phrases, spellings


@pytest.fixture
def remarks() -> list[str]:
    return []


def listed(tmp_path: Path, data: bytes, remarks: list[str], *, as_written: bool = False) -> dict[str, tuple[str, ...]]:
    (tmp_path / "words.txt").write_bytes(data)
    return read_phrases(tmp_path / "words.txt", remarks.append, as_written=as_written)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_phrase_a_line_with_aliases_after_tabs(tmp_path: Path, end: bytes, remarks: list[str]) -> None:
    lines = (b"\xef\xbb\xbfsofa\tcouch\t settee ", b"", b"# seats", b"#chair", b"  city   skyline\t\t", b"caf\xc3\xa9")
    for as_written in (False, True):
        labels = listed(tmp_path, end.join(lines), remarks, as_written=as_written)
        assert labels == {"sofa": ("couch", "settee"), "city skyline": (), "caf\u00e9": ()} and remarks == []
        assert spellings(labels) == ["sofa", "couch", "settee", "city skyline", "caf\u00e9"]


WORDS = ["dog", "café", "sea turtle", "犬", "Straße"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_unicode_text_is_read(tmp_path: Path, encoding: str, remarks: list[str]) -> None:
    words = listed(tmp_path, "\r\n".join(WORDS).encode(encoding), remarks)
    assert list(words) == WORDS and remarks == []


def test_latin_1_is_read_and_said(tmp_path: Path, remarks: list[str]) -> None:
    assert list(listed(tmp_path, "hund\ncafé\n".encode("latin-1"), remarks)) == ["hund", "café"]
    assert len(remarks) == 1 and "line 2 is not UTF-8" in remarks[0] and "`café`" in remarks[0]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("dog, cat,beach;sea", {"dog": (), "cat": (), "beach": (), "sea": ()}),
        ('"polar bear","ice cream"', {"polar bear": (), "ice cream": ()}),
        ("animals|cat\nplaces > beach", {"cat": (), "beach": ()}),
        (
            "Animals\n\tcat\n\t\t{kitty}\n\t{puss}\n[Places]\n\tbeach",
            {"Animals": (), "cat": ("kitty", "puss"), "beach": ()},
        ),
        ("dog,\ncat,\n", {"dog": (), "cat": ()}),
    ],
)
def test_lists_as_programs_write_them(
    tmp_path: Path, text: str, labels: dict[str, tuple[str, ...]], remarks: list[str]
) -> None:
    assert listed(tmp_path, text.encode(), remarks) == labels and remarks == []
    (tmp_path / "words.txt").write_text(text)
    as_written = read_phrases(tmp_path / "words.txt", remarks.append, as_written=True)
    assert len(as_written) == len(text.strip().split("\n"))


def test_marks_of_a_list_are_left_out_and_said(tmp_path: Path, remarks: list[str]) -> None:
    text = 'sea\n- car\n * dog\n• horse\n1. cow\tox\n12) cat\n"- quoted"\n101 dalmatians\n-40 degrees\n2.5 l\n'
    labels = listed(tmp_path, text.encode(), remarks)
    assert list(labels)[:6] == ["sea", "car", "dog", "horse", "cow", "cat"] and labels["cow"] == ("ox",)
    assert list(labels)[6:] == ["- quoted", "101 dalmatians", "-40 degrees", "2.5 l"]
    assert len(remarks) == 1
    assert remarks[0].endswith("list marks left out at the beginning of 5 lines, the first `- car` (line 2).")
    assert "- car" in listed(tmp_path, text.encode(), remarks, as_written=True) and len(remarks) == 1


def test_punctuation_around_a_word_makes_no_other_one(tmp_path: Path, remarks: list[str]) -> None:
    assert list(listed(tmp_path, b"dog\nDogs!\n*dog*\nC++\nC\n!!!\n", remarks)) == ["dog", "C++", "C", "!!!"]
    assert "given twice and kept once: `Dogs!` (line 2, as `dog` in line 1), `*dog*` (line 3" in remarks[0]


def test_doubles_are_kept_once_and_said(tmp_path: Path, remarks: list[str]) -> None:
    text = b"cat\tcats\nDog\nCATS\nBeaches\nbeach\nsofa\tdogs\nnews\n-\n"
    assert list(listed(tmp_path, text, remarks)) == ["cat", "Dog", "Beaches", "sofa", "news"]
    assert "`CATS` (line 3, as `cat` in line 1), `beach` (line 5, as `Beaches` in line 4)" in remarks[0]
    assert "`dogs` (line 6, as `Dog` in line 2)." in remarks[0]
    assert remarks[1].endswith("left out, as it is no word: `-` (line 8).")
    assert list(listed(tmp_path, b"cat\n" + 10_000 * b"x", remarks)) == ["cat"]
    assert remarks[2].endswith(f"left out, as it is longer than 200 characters: `{40 * 'x'}...` (line 2).")
    assert list(listed(tmp_path, b"cat\ncats\n", remarks, as_written=True)) == ["cat", "cats"]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"#beach\n#sea\n", "no word in it.*start with `#` are comments"),
        (b"", "no word in it"),
        (b"-\n", "no word in it"),
        (b"cat\n\x81\x8d\n", r"no text in UTF-8 \(line 2\)\. Save it as UTF-8"),
        (b"\xff\xfec\0\0\xd8", r"is not UTF-16-LE, as it begins \(line 1\)"),
    ],
)
def test_what_is_refused(tmp_path: Path, data: bytes, complaint: str, remarks: list[str]) -> None:
    with pytest.raises(InputError, match=complaint):
        listed(tmp_path, data, remarks)
    with pytest.raises(InputError, match="cannot be read"):
        read_phrases(tmp_path / "none.txt", remarks.append)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_words_or_one_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "words.txt"
    path.write_bytes(data)
    try:
        labels = read_phrases(path, lambda said: None)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert labels and all(word.strip() == word != "" for word in spellings(labels))


@pytest.mark.slow
def test_a_hundred_thousand_words(tmp_path: Path, remarks: list[str]) -> None:
    started = time.process_time()
    labels = listed(tmp_path, "".join(f"word {n}\talias {n}\n" for n in range(100_000)).encode(), remarks)
    assert len(labels) == 100_000 and labels["word 99999"] == ("alias 99999",) and remarks == []
    assert time.process_time() - started < 60
