"""Programs that save while we write: what they saved is there, whoever wins the race."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tagprism import exchange as exchanging
from tagprism.errors import InputError
from tagprism.exchange import exchange, rescue
from tagprism.files import digest_bytes, write_text
from tagprism.rename import place_new
from tagprism.tagging.tag_file import FORMATS, TagFile
from tagprism.tagging.tags import ImageTags

needs_exchange = pytest.mark.skipif(sys.platform != "linux", reason="no exchange of two names in one step")
OLD, OURS, THEIRS, LATER = (word * 2000 for word in (b"old ", b"ours ", b"theirs ", b"later "))


def in_place(path: Path, data: bytes, pause: float = 0) -> None:
    with path.open("r+b") as file:
        time.sleep(pause)
        file.truncate(0)
        file.write(data)


def by_rename(path: Path, data: bytes, pause: float = 0) -> None:
    beside = path.with_name("another's")
    beside.write_bytes(data)
    time.sleep(pause)
    beside.replace(path)


SAVES = {"in place": in_place, "by rename": by_rename}


@needs_exchange
@pytest.mark.parametrize("kind", SAVES)
def test_no_save_is_lost_whatever_the_moment(tmp_path: Path, kind: str) -> None:
    """The file held OLD when we looked, so that the save came after that, and has to be there in the end."""
    rng, path, part = random.Random(0), tmp_path / "photo.xmp", tmp_path / ".part"
    won = 0
    for _ in range(250):
        path.write_bytes(OLD)
        before, pause = rng.random() * 0.003, rng.random() * 0.002

        def save(before: float = before, pause: float = pause) -> None:
            time.sleep(before)
            SAVES[kind](path, THEIRS, pause)

        program = threading.Thread(target=save)
        program.start()
        won += exchange(path, OURS, expected=digest_bytes(OLD), part=part)
        program.join()
        assert path.read_bytes() == THEIRS
        assert os.listdir(tmp_path) == ["photo.xmp"]  # noqa: PTH208
    assert won  # some of the saves came after ours


def before_each_exchange(monkeypatch: pytest.MonkeyPatch, *saves: Callable[[], None]) -> None:
    """Have another program act before the first exchange of the names, the second, and so on."""
    waiting, rename = list(saves), exchanging.rename_if

    def renamed(source: Path, target: Path, flag: int) -> bool:
        if waiting:
            waiting.pop(0)()
        return rename(source, target, flag)

    monkeypatch.setattr(exchanging, "rename_if", renamed)


@needs_exchange
@pytest.mark.parametrize("kind", SAVES)
def test_a_save_between_the_look_and_the_rename_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path, part = tmp_path / "photo.xmp", tmp_path / ".part"
    path.write_bytes(OLD)
    before_each_exchange(monkeypatch, lambda: SAVES[kind](path, THEIRS))
    assert not exchange(path, OURS, expected=digest_bytes(OLD), part=part)
    assert path.read_bytes() == THEIRS and not part.exists()
    path.write_bytes(OLD)
    before_each_exchange(monkeypatch, *(lambda data=data: SAVES[kind](path, data) for data in (THEIRS, LATER)))
    assert not exchange(path, OURS, expected=digest_bytes(OLD), part=part)
    assert path.read_bytes() == LATER and not part.exists()


@needs_exchange
def test_a_program_that_has_the_file_open_for_writing_is_waited_for(tmp_path: Path) -> None:
    path, part = tmp_path / "photo.xmp", tmp_path / ".part"
    path.write_bytes(OLD)
    program = threading.Thread(target=in_place, args=(path, THEIRS, 0.5))
    program.start()
    time.sleep(0.1)
    assert not exchange(path, OURS, expected=digest_bytes(OLD), part=part)
    program.join()
    assert path.read_bytes() == THEIRS


@needs_exchange
def test_a_file_that_stays_open_for_writing_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanging, "_PATIENCE", 0.05)
    path, part = tmp_path / "photo.xmp", tmp_path / ".part"
    path.write_bytes(OLD)
    with path.open("r+b") as held:
        assert not exchange(path, OURS, expected=digest_bytes(OLD), part=part)
        held.write(b"late")
    assert path.read_bytes() == b"late" + OLD[4:]


@needs_exchange
def test_a_new_file_that_is_changed_while_it_is_taken_back_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, part = tmp_path / "photo.xmp", tmp_path / ".part"
    path.write_bytes(OURS)
    rename = Path.rename

    def after_a_save(self: Path, target: Path) -> Path:
        in_place(path, THEIRS)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", after_a_save)
    assert not exchange(path, None, expected=digest_bytes(OURS), part=part)
    assert path.read_bytes() == THEIRS and not part.exists()
    monkeypatch.undo()
    assert exchange(path, None, expected=digest_bytes(THEIRS), part=part)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("there", "beside", "left"),
    [
        (OURS, THEIRS, THEIRS),  # killed when a save had come out, and was not back yet
        (OURS, OLD, OURS),
        (OLD, OURS, OLD),
        (OLD, OURS[:100], OLD),  # killed while ours was written
        (THEIRS, OURS, THEIRS),
        (None, OURS[:100], None),
    ],
)
def test_what_a_kill_left_is_cleared_away(
    tmp_path: Path, there: bytes | None, beside: bytes, left: bytes | None
) -> None:
    path, part = tmp_path / "photo.xmp", tmp_path / ".part"
    if there is not None:
        path.write_bytes(there)
    part.write_bytes(beside)
    rescue(path, part, digest_bytes(OLD), digest_bytes(OURS))
    assert (path.read_bytes() if path.exists() else None) == left and not part.exists()


def test_without_an_exchange_of_names_the_look_before_has_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanging, "rename_if", lambda *_: False)
    path, part = tmp_path / "photo.xmp", tmp_path / ".part"
    path.write_bytes(OLD)
    assert not exchange(path, OURS, expected=digest_bytes(THEIRS), part=part)
    assert exchange(path, OURS, expected=digest_bytes(OLD), part=part)
    assert path.read_bytes() == OURS and not part.exists()


def test_a_file_of_tags_never_replaces_one_that_someone_made_meanwhile(tmp_path: Path) -> None:
    out = tmp_path / "tags.jsonl"
    with TagFile(out, FORMATS["jsonl"], {}, ["a.jpg"]) as file:
        file.write(ImageTags(Path("a.jpg"), ()))
        out.write_bytes(THEIRS)
        with pytest.raises(InputError, match="made by someone else meanwhile"):
            file.finish()
    assert out.read_bytes() == THEIRS
    out.unlink()  # moved away, and the same command again
    with TagFile(out, FORMATS["jsonl"], {}, ["a.jpg"], step=1) as file:
        assert file.rows == 1
        file.finish()
    assert out.read_bytes() == b'{"path": "a.jpg", "tags": []}\n'


def test_new_results_never_replace_what_someone_made_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_bytes(THEIRS)
    with pytest.raises(InputError, match="made by someone else meanwhile"):
        write_text(path, "ours", replace=False)
    folder, part = tmp_path / "folder", tmp_path / ".part"
    folder.mkdir()
    part.mkdir()
    assert not place_new(part, folder)
    assert path.read_bytes() == THEIRS and sorted(os.listdir(tmp_path)) == [".part", "folder", "split.json"]  # noqa: PTH208
