"""The journal: every byte comes back, whatever interrupts the run or the undoing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagprism import exchange as exchanging
from tagprism.errors import InputError, MachineError, NothingToDoError
from tagprism.exchange import exchange
from tagprism.files import digest_bytes
from tagprism.keywords.journal import Journal, RecordedRun, recorded_runs
from tagprism.keywords.undo import undo

Files = dict[str, tuple[bytes, int]]


@pytest.fixture(autouse=True)
def journals(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("TAGPRISM_STATE", str(state))
    return state / "journals"


def tree(folder: Path) -> Files:
    """Name -> bytes and time of change."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())}


def change(journal: Journal, path: Path, new: bytes) -> None:
    before = path.read_bytes() if path.exists() else None
    mtime_ns = path.stat().st_mtime_ns if path.exists() else None
    (part,) = journal.record([(path, before, mtime_ns, new)])
    assert exchange(path, new, expected=None if before is None else digest_bytes(before), part=part)


def run(folder: Path, new: dict[str, bytes], *, finish: bool = True, command: str = "x") -> None:
    with Journal({"command": command}) as journal:
        for name, data in new.items():
            if not (folder / name).exists() or (folder / name).read_bytes() != data:
                change(journal, folder / name, data)
        if finish:
            journal.finish()


_contents = st.dictionaries(st.sampled_from("abcdef"), st.binary(max_size=300), max_size=6)


@given(_contents, _contents, _contents, st.booleans())
@settings(deadline=None, max_examples=20)
def test_undoing_restores_bytes_and_times(
    old: dict[str, bytes], one: dict[str, bytes], two: dict[str, bytes], same: bool
) -> None:
    with TemporaryDirectory() as state, TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAGPRISM_STATE", state)
        folder = Path(place)
        for number, (name, data) in enumerate(old.items()):
            (folder / name).write_bytes(data)
            os.utime(folder / name, ns=(number, 10**18 + number))
        before = tree(folder)
        run(folder, one, finish=not same, command="1")
        between = tree(folder)
        run(folder, two, command="1" if same else "2")
        if between != before and tree(folder) != between and not same:
            assert undo()[2] == []
            assert tree(folder) == between
        for _ in [run for run in recorded_runs() if run.undone is None]:
            assert undo()[2] == []
        assert tree(folder) == before


def test_a_run_that_changed_nothing_leaves_no_journal(tmp_path: Path) -> None:
    run(tmp_path, {})
    assert recorded_runs() == []
    with pytest.raises(NothingToDoError, match="no run to undo"):
        undo()


def test_files_changed_since_are_left_alone_and_named(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"old")
    run(tmp_path, {"a": b"1", "b": b"2", "c": b"3", "d": b"4"})
    (tmp_path / "a").write_bytes(b"edited")
    (tmp_path / "b").write_bytes(b"edited")
    (tmp_path / "c").unlink()
    recorded, done, left, removed = undo()
    assert (done, removed) == (1, 1)
    assert dict(left) == {str(tmp_path / "a"): "It was changed since.", str(tmp_path / "b"): "It was changed since."}
    assert {name: data for name, (data, _) in tree(tmp_path).items()} == {"a": b"edited", "b": b"edited"}
    assert RecordedRun.read(recorded.path).undone == 2
    (tmp_path / "b").write_bytes(b"2")
    assert undo(recorded.path.stem)[1] == 1  # called by name, it can be undone again
    assert (tmp_path / "b").read_bytes() == b"old"


def test_a_file_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    run(tmp_path, {"a": b"new"})
    (tmp_path / "a").unlink()
    assert undo()[2] == [(str(tmp_path / "a"), "It is no longer there.")]
    assert tree(tmp_path) == {}


def test_an_earlier_run_below_a_later_one_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0")
    run(tmp_path, {"a": b"1"})
    run(tmp_path, {"a": b"2"})
    later, earlier = (recorded.path.stem for recorded in recorded_runs())
    assert undo(earlier)[1:] == (0, [(str(tmp_path / "a"), "It was changed since.")], 0)
    assert undo(later)[1:] == undo(earlier)[1:] == (1, [], 0)
    assert (tmp_path / "a").read_bytes() == b"0"


def test_a_run_interrupted_before_its_last_change_is_undone(tmp_path: Path) -> None:
    with Journal({}) as journal:
        change(journal, tmp_path / "a", b"1")
        (part,) = journal.record([(tmp_path / "b", None, None, b"2")])
        part.write_bytes(b"half")  # and here the process was killed
    assert undo()[1:] == (1, [], 1)
    assert tree(tmp_path) == {}


def test_the_same_run_goes_on_with_its_journal_and_another_does_not(tmp_path: Path) -> None:
    with Journal({"command": "x"}) as journal:
        change(journal, tmp_path / "a", b"1")
        journal.record([(tmp_path / "b", None, None, b"2")])[0].write_bytes(b"half")
    run(tmp_path, {"b": b"2"})
    assert len(recorded_runs()) == 1 and recorded_runs()[0].finished
    assert sorted(tree(tmp_path)) == ["a", "b"]
    run(tmp_path, {"c": b"3"})
    assert len(recorded_runs()) == 2


def test_what_a_killed_run_left_beside_a_file_is_removed_by_the_next_one(tmp_path: Path) -> None:
    with Journal({"command": "x"}) as journal:
        journal.record([(tmp_path / "b", None, None, b"2")])[0].write_bytes(b"half")
    run(tmp_path, {"c": b"3"}, command="another")
    assert sorted(tree(tmp_path)) == ["c"]


def test_a_line_that_was_cut_off_counts_for_nothing(tmp_path: Path, journals: Path) -> None:
    run(tmp_path, {"a": b"1"}, finish=False)
    (path,) = journals.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"path": "/et')
    run(tmp_path, {"b": b"2"})
    assert len(recorded_runs()[0].lines) == 2
    path.write_bytes(path.read_bytes() + b'{"undo')
    assert undo()[1] == 2
    assert recorded_runs()[0].undone == 0


def test_a_journal_in_use_is_not_undone(tmp_path: Path) -> None:
    with Journal({}) as journal:
        change(journal, tmp_path / "a", b"1")
        with pytest.raises(MachineError, match="in use"):
            undo()
        with Journal({}) as second:  # the same command at the same time
            change(second, tmp_path / "b", b"2")
    assert len(recorded_runs()) == 2


@pytest.mark.parametrize("data", [b"", b"no journal\n", b'{"format": 1}\n', b"\xff\n", b"[]\n"])
def test_what_is_no_journal_is_an_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(data)
    if data == b"":
        assert undo(str(path))[1:] == (0, [], 0)  # a run that was killed at once
    else:
        with pytest.raises(InputError, match="not a journal"):
            undo(str(path))


def test_a_newer_or_damaged_or_missing_journal_is_an_error(tmp_path: Path, journals: Path) -> None:
    run(tmp_path, {"a": b"1"})
    (path,) = journals.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"after"', b'"before"'))
    with pytest.raises(InputError, match="damaged line"):
        undo()
    path.write_bytes(whole.replace(b'"format": 2', b'"format": 3'))
    with pytest.raises(InputError, match="journal format 3"):
        undo()
    with pytest.raises(InputError, match="no journal `x`"):
        undo("x")


def test_a_journal_is_for_its_owner_alone(tmp_path: Path, journals: Path) -> None:
    run(tmp_path, {"a": b"1"})
    (path,) = journals.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_lost_when_the_machine_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    with Journal({}) as journal:
        (part,) = journal.record([(path, b"old", 1, b"new")])
        monkeypatch.setattr(exchanging.os, "fsync", no_space)
        with pytest.raises(MachineError, match="No space left"):
            exchange(path, b"new", expected=digest_bytes(b"old"), part=part)
        with pytest.raises(MachineError, match="No space left"):
            journal.record([(path, b"old", 1, b"new")])
        monkeypatch.undo()
    assert {name: data for name, (data, _) in tree(tmp_path).items()} == {"a": b"old"}


def test_without_hard_links_no_file_is_replaced_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    path, part = tmp_path / "a", tmp_path / "part"
    assert exchange(path, b"new", expected=None, part=part)
    assert not exchange(path, b"other", expected=None, part=part)
    assert {name: data for name, (data, _) in tree(tmp_path).items()} == {"a": b"new"}


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """On a real file system of 64 kB, where this may be made."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        (disk / "a").write_bytes(b"old" * 10_000)
        with Journal({}) as journal:
            (part,) = journal.record([(disk / "a", b"old" * 10_000, 1, b"new" * 20_000)])
            with pytest.raises(MachineError, match="No space left"):
                exchange(disk / "a", b"new" * 20_000, expected=digest_bytes(b"old" * 10_000), part=part)
        assert {name: data for name, (data, _) in tree(disk).items()} == {"a": b"old" * 10_000}
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(MachineError, match="Read-only"):
            exchange(disk / "a", b"x", expected=digest_bytes(b"old" * 10_000), part=part)
    finally:
        subprocess.run(["umount", disk], check=True)
