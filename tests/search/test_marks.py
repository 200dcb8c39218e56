"""Marks: what a person said of tags is kept, found in any spelling, and shared by processes."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagprism.errors import InputError, MachineError
from tagprism.labels.phrases import LONGEST, normalise_phrase
from tagprism.search.marks import Marks, kept_marks, open_marks
from tests.command_line import python

A, B = "a" * 64, "b" * 64
LABELS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    normalise_phrase
)


def test_a_mark_is_kept_and_found_in_any_spelling(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks.sqlite")
    marks.put(A, "  Night   Sky ", True)
    marks.put(A, "people", False)
    marks.put(B, "people", True)
    marks.close()
    again = Marks(tmp_path / "marks.sqlite")
    assert again.said() == {
        A: {"night sky": ("Night Sky", True), "people": ("people", False)},
        B: {"people": ("people", True)},
    }
    assert again.of_picture(A) == {"Night Sky": True, "people": False} and again.of_picture("c" * 64) == {}
    again.put(A, "NIGHT_SKY", None)
    again.put(A, "People", True)
    assert again.of_picture(A) == {"People": True} and "night sky" not in again.said()[A]
    again.close()


@settings(max_examples=40, deadline=None)
@given(said=st.lists(st.tuples(st.sampled_from((A, B)), LABELS, st.sampled_from((True, False, None))), max_size=12))
@pytest.mark.slow
def test_the_last_word_counts(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str, bool | None]]
) -> None:
    marks = Marks(tmp_path_factory.mktemp("marks") / "marks.sqlite")
    plain: dict[tuple[str, str], bool] = {}
    for digest, label, added in said:
        marks.put(digest, label, added)
        if added is None:
            plain.pop((digest, normalise_phrase(label)), None)
        else:
            plain[digest, normalise_phrase(label)] = added
    kept = {(digest, phrase): added for digest, its in marks.said().items() for phrase, (_, added) in its.items()}
    assert kept == plain
    marks.close()


@pytest.mark.parametrize("label", ["", " ", "a\0b", "\u200b", "--", "x" * (LONGEST + 1)])
def test_what_is_no_label(tmp_path: Path, label: str) -> None:
    marks = Marks(tmp_path / "marks.sqlite")
    with pytest.raises(InputError, match="no label"):
        marks.put(A, label, True)
    marks.close()


@pytest.mark.slow
def test_another_process_sees_them_at_once(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks.sqlite")
    marks.put(A, "beach", True)
    code = "import sys; from tagprism.search.marks import Marks; m = Marks(__import__('pathlib').Path(sys.argv[1]));"
    done = python(f"{code} print(m.said()); m.put('{B}', 'sea', False); m.close()", tmp_path / "marks.sqlite")
    assert done.stdout.decode() == f"{{'{A}': {{'beach': ('beach', True)}}}}\n", done.stderr
    assert marks.of_picture(B) == {"sea": False}
    marks.close()


def test_they_lie_beside_the_index_or_for_a_server_with_this_user(tmp_path: Path) -> None:
    beside, apart = open_marks(str(tmp_path)), open_marks("qdrant+http://127.0.0.1:6333/photos")
    assert (tmp_path / "marks.sqlite").is_file()
    assert list((Path(os.environ["TAGPRISM_STATE"]) / "marks").glob("*.sqlite"))
    beside.close()
    apart.close()


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "marks.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(MachineError, match=r"marks\.sqlite"):
        Marks(tmp_path / "marks.sqlite")


def test_a_file_in_use_waits_for_nobody_who_only_reads(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks.sqlite")
    marks.put(A, "beach", True)
    other = sqlite3.connect(tmp_path / "marks.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert marks.of_picture(A) == {"beach": True}
    other.execute("ROLLBACK")
    other.close()
    marks.close()


def test_they_are_read_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept_marks(str(tmp_path)) == {} and not list(tmp_path.iterdir())
    marks = open_marks(str(tmp_path))
    marks.put(A, "beach", True)
    assert (tmp_path / "marks.sqlite-wal").stat().st_size  # as a process that was killed leaves it
    assert kept_marks(str(tmp_path)) == {A: {"beach": ("beach", True)}}
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, **how: opened.append(file) or connect(file, **how))
    assert kept_marks(str(tmp_path)) == {A: {"beach": ("beach", True)}}
    assert opened and all(tmp_path not in Path(file).parents for file in opened)
    marks.close()
