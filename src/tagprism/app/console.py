"""The terminal: progress bars and talk on stderr, data on stdout, errors as sentences and exit codes.

This is the one door to it. Names of files, words of a bundle and settings of a recipe come from strangers, and on their
way out their control characters become escapes, so that none can command the terminal. Nothing else in the package may
print (ruff: `T20` and `banned-api`).
"""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import logging
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tagprism.counted import counted
from tagprism.device import DeviceWarning, device_in_use
from tagprism.errors import InputError, MachineError, NothingToDoError, TagprismError
from tagprism.files import REFUSALS
from tagprism.progress import Advance
from tagprism.progress import Progress as ProgressProtocol

_SAY_EVERY = 30.0  # seconds
_WIDE = 10_000  # columns: more than any table has
OK, BUG, UNUSABLE, SKIPPED, REFUSED, INTERRUPTED = 0, 1, 2, 4, 6, 130
# typer brings click under its own roof in some versions; this is the base of all that a command line can get wrong.
_ClickException: type[typer.BadParameter] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


class _Door(Console):
    """A console on which no text is a command: none of it is markup, and its control characters become escapes."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """What is shown, piece by piece; the lines of a text stay lines."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else Segment(_plain(piece.text), piece.style)


class Shown(str):
    """Text that has come through the door: the control sequences in it are our own styles."""


talk = _Door(stderr=True, highlight=False, emoji=False, markup=False, soft_wrap=True)
data = _Door(highlight=False, emoji=False, markup=False)


class Interrupted(TagprismError):  # noqa: N818 (a person's wish is no error)
    """Ctrl-C, with what a command says about how to go on."""

    exit_code = INTERRUPTED


def progress(quiet: bool) -> ProgressProtocol:
    """Progress bars on stderr; nothing when quiet."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    @contextmanager
    def bars(what: str, total: int) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description:<20}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        # On a terminal rows and bars share the screen, and rich keeps them apart; rows for a file never go through it.
        with Progress(*columns, console=talk, redirect_stdout=sys.stdout.isatty(), disable=quiet) as shown:
            task, said = shown.add_task(what, total=total), monotonic()

            def advance(count: int) -> None:
                nonlocal said
                shown.advance(task, count)
                if not talk.is_terminal and monotonic() - said > _SAY_EVERY:  # a log has no bars before the end
                    said = monotonic()
                    say(f"{what}: {shown.tasks[0].completed:,.0f} of {total:,}", quiet=quiet)

            yield advance

    return bars


def say(text: str, *, quiet: bool = False) -> None:
    """A line of talk on stderr."""
    if not quiet:
        talk.print(_plain(text))  # here already, as rich leaves some control characters out


def warn(text: str) -> None:
    """A line on stderr that --quiet does not silence, where there is something to say."""
    if text:
        say(text)


def write(text: str) -> None:
    """Data on stdout: to a program to the byte, to a terminal without what could command it."""
    sys.stdout.write(text if isinstance(text, Shown) or not on_terminal() else _plain(text))


def write_bytes(data: bytes) -> None:
    """A document on stdout, as `write`."""
    if on_terminal():
        write(data.decode(errors="surrogateescape"))
    else:
        flush()
        sys.stdout.buffer.write(data)


def write_json(value: object) -> None:
    """A value as JSON on stdout; ASCII, so that any file name survives."""
    write(json.dumps(value, indent=2) + "\n")


def show(table: Table) -> None:
    """A table on stdout; in a file or a pipe, which have no width, as wide as it is, so that nothing is cut."""
    wide = not (on_terminal() or "COLUMNS" in os.environ)
    (_Door(highlight=False, emoji=False, markup=False, width=_WIDE) if wide else data).print(table)


def flush() -> None:
    """Let whoever reads stdout through a pipe have what was written."""
    sys.stdout.flush()


def on_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def shown(lines: Iterable[Text]) -> Shown:
    """Styled lines as text for `write`, as this terminal shows them."""
    with data.capture() as captured:
        for line in lines:
            data.print(line, soft_wrap=True)
    return Shown(captured.get())


def printable(text: str) -> str:
    """One line for a terminal: control characters, line ends too, and bytes that are no text become escapes."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _plain(text: str) -> str:
    """Text of several lines and columns for a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def say_skipped(name: str, reason: str) -> None:
    """A line about a picture that was skipped."""
    talk.print(Text.assemble(("skipped", "yellow"), f" {printable(name)}: {printable(reason)}"))


def say_not_read(counts: Mapping[str, int], *, quiet: bool) -> None:
    """A line about the files in the folders that are of kinds that are not read, where there are any."""
    from tagprism.images.formats import say_not_read as sentence  # it imports Pillow

    if text := sentence(counts):
        say(text, quiet=quiet)


def say_device(quiet: bool) -> None:
    """Say where networks ran, where that was not the CPU alone."""
    if (used := device_in_use()) not in ("", "cpu"):
        say(f"Networks ran on {used}.", quiet=quiet)


def say_remark(name: str, remark: str, *, quiet: bool) -> None:
    """A line about a picture that was read although something is wrong with its file."""
    say(f"read {printable(name)}, though {remark}", quiet=quiet)


def report_skipped(skipped: Iterable[tuple[str, str]], what: str = "picture") -> int:
    """List what was skipped, each with its reason; the exit code is 4 when there is any, else 0."""
    listed = list(skipped)
    for name, reason in listed:
        say_skipped(name, reason)
    if listed:
        talk.print(f"{counted(len(listed), what)} skipped.")
    return SKIPPED if listed else OK


def require_extra(extra: str, module: str) -> None:
    """Explain a missing extra.

    Raises:
        InputError: the module is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise InputError(
            f"this command needs the extra `{extra}`, which is not installed.",
            remedy=f'Install it with: pip install "tagprism[{extra}]"',
        )


def run(command: Callable[[], object]) -> int:
    """Call a command and turn what it raises into a message and an exit code."""
    try:
        result = command()
        sys.stdout.flush()
        if result == INTERRUPTED:  # newer versions of typer catch Ctrl-C themselves and give its code
            return _interrupted()
        return result if isinstance(result, int) else OK
    except Interrupted as stop:
        say(str(stop))
        return INTERRUPTED
    except NothingToDoError as error:  # which is no fault
        say(f"nothing to do: {error}")
        return error.exit_code
    except TagprismError as error:
        _say_error(str(error))
        return error.exit_code
    except _ClickException as error:
        text = io.StringIO()
        error.show(text)
        say(text.getvalue().rstrip("\n"))
        if re.search(r"unexpected extra argument.*[( ]-", str(error)):  # only `--` makes an argument of an option
            say("What follows `--` is no option, so options come before it: tagprism search INDEX -n 2 -- -dog")
        elif "unexpected extra argument" in str(error):
            say('Words that belong together stand in quotes: tagprism search INDEX "dog AND snow"')
        elif re.search(r"[Nn]o such option:? '?-\w", str(error)):
            example = (
                "search INDEX -- -dog" if "search" in sys.argv[1:2] else f"{' '.join(sys.argv[1:2])} ... -- -1.jpg"
            )
            say(f"What begins with - and is no option comes last, after `--`: tagprism {example}")
        return UNUSABLE
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer's own answer to it
            return _reader_left()
        raise
    except OSError as error:
        if error.errno in REFUSALS:
            _say_error(f"the machine refused: {error}")
            return REFUSED
        if error.errno == errno.ENAMETOOLONG:  # of a name that was given: no name of ours is so long
            _say_error(f"{error.filename}: cannot be used ({error.strerror}). Name another path.")
            return UNUSABLE
        return _bug()
    except Exception:
        return _bug()


class _Closed(io.TextIOBase):
    """Stands for an output that whoever started this has closed (`>&-`)."""

    @property
    def buffer(self) -> Any:
        """As `sys.stdout` has one."""
        return self

    def write(self, text: str | bytes) -> int:
        """Say that it is closed."""
        remedy = "Leave it open, or write into a file with --out where the command has it."
        raise MachineError("is closed: there is nowhere to write the data.", where="standard output", remedy=remedy)


def open_closed_streams() -> None:
    """Have all three streams, so that no file takes their place and what is closed is an error only when written to."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stdout is None:
        sys.stdout = _Closed()


def _interrupted() -> int:
    talk.print("interrupted; run the same command again to continue.")
    return INTERRUPTED


def _reader_left() -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # no second complaint when Python flushes stdout at exit
    return OK


def _bug() -> int:
    talk.print(_plain(traceback.format_exc()), style="dim")
    _say_error("this is a bug in tagprism. Please report it with the lines above and the output of `tagprism doctor`.")
    return BUG


def _say_error(text: str) -> None:
    talk.print(Text.assemble(("error", "bold red"), f" {_plain(text)}"))


class LogHandler(logging.Handler):
    """What a library logs, on stderr through the door."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        say(self.format(record))


def guard() -> None:
    """Let what others would print come through the door too: warnings, logs, and errors that end a thread."""
    warnings.showwarning = lambda *about, **_: say(
        str(about[0]) if about[1] is DeviceWarning else warnings.formatwarning(*about[:4]).rstrip("\n")
    )
    logging.lastResort = LogHandler(logging.WARNING)
    threading.excepthook = lambda ended: say(
        "".join(traceback.format_exception(ended.exc_type, ended.exc_value, ended.exc_traceback))
    )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without letters for a word is no reason to stop
