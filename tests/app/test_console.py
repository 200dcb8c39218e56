"""What is raised becomes an exit code and a sentence."""

from __future__ import annotations

import errno
from typing import NoReturn

import pytest
import typer
from rich.table import Table

from tagprism.app import console
from tagprism.counted import counted
from tagprism.errors import DoneAlreadyError, InputError, MachineError, NothingToDoError, PictureError
from tests.app.conftest import Cli

CASES = [
    (InputError("is odd.", where="a.toml", remedy="Mend it."), 2, "error a.toml: is odd. Mend it."),
    (NothingToDoError("all done."), 3, "nothing to do: all done."),
    (DoneAlreadyError("is finished."), 0, "nothing to do: is finished."),
    (MachineError("refuses."), 6, "error refuses."),
    (PictureError("corrupt", "It is damaged.", where="[red].png"), 4, "error [red].png: It is damaged."),
    (OSError(errno.ENOSPC, "No space left on device"), 6, "the machine refused"),
    (PermissionError(errno.EACCES, "Permission denied", "x"), 6, "the machine refused"),
    (KeyboardInterrupt(), 130, "continue"),
    (typer.Abort(), 130, "continue"),
    (ZeroDivisionError("by nought"), 1, "report it"),
    (OSError(errno.EBADF, "Bad file descriptor"), 1, "report it"),
]


@pytest.mark.parametrize(("error", "code", "words"), CASES, ids=lambda case: type(case).__name__)
def test_exit_codes(error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> NoReturn:
        raise error

    assert console.run(command) == code
    written = capsys.readouterr()
    assert written.out == ""
    assert words in written.err
    assert ("Traceback" in written.err) == (code == 1)


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (4, 4), ("text", 0)])
def test_the_commands_own_exit_code(result: object, code: int) -> None:
    assert console.run(lambda: result) == code


def test_skipped_pictures_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.report_skipped([]) == 0
    assert capsys.readouterr().err == ""
    assert console.report_skipped([("a\nb [x].png", "It is damaged.")]) == 4
    assert capsys.readouterr().err == "skipped a\\nb [x].png: It is damaged.\n1 picture skipped.\n"


def test_ctrl_c_that_typer_has_caught_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run(lambda: console.INTERRUPTED) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_table_in_a_file_is_as_wide_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table("a long name " * 30, *(f"column {number}" for number in range(20)))
    table.add_row("\x1b[31mrow", *(["12.3 (+4.5 ± 6.7)"] * 20))
    monkeypatch.delenv("COLUMNS", raising=False)
    console.show(table)
    written = capsys.readouterr().out
    assert ("a long name " * 30).strip() in written and "…" not in written and "\x1b" not in written
    assert written.count("12.3 (+4.5 ± 6.7)") == 20


def test_options_after_two_dashes_are_explained(cli: Cli) -> None:
    cli("search", "photos.index", "--", "-dog", "-n", 2).refused("extra argument", "options come before it")
    assert "come before it" not in cli("search", "photos.index", "dog", "cat").err


def test_names_of_files_in_a_message_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> NoReturn:
        raise InputError("Line one.\nLine two.", where="\x1b]52;c;x\x07.png", remedy="Do it.")

    assert console.run(command) == 2
    console.say("done with \x9b31m.png")
    written = capsys.readouterr().err
    assert "\\x1b]52;c;x\\x07.png" in written and "\\x9b31m" in written
    assert "Line one.\nLine two." in written and written.replace("\n", "").isprintable()


def test_a_log_hears_of_long_work_before_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_SAY_EVERY", 0.0)
    for quiet in (False, True):
        with console.progress(quiet)("reading words", 2000) as advance:
            advance(1500)
            said = capsys.readouterr().err
        assert ("reading words: 1,500 of 2,000" in said) == (not quiet)
        capsys.readouterr()


def test_counts_agree_with_their_nouns() -> None:
    assert [counted(n, "picture") for n in (0, 1, 2484)] == ["0 pictures", "1 picture", "2,484 pictures"]
