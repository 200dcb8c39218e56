"""The terminal: progress bars and talk on stderr, data on stdout, errors as sentences and exit codes."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tagprism.errors import InputError, TagprismError
from tagprism.files import REFUSALS
from tagprism.progress import Advance
from tagprism.progress import Progress as ProgressProtocol

OK, BUG, UNUSABLE, SKIPPED, REFUSED, INTERRUPTED = 0, 1, 2, 4, 6, 130
# typer brings click under its own roof in some versions; this is the base of all that a command line can get wrong.
_ClickException: type[typer.BadParameter] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
talk = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
data = Console(highlight=False, emoji=False)


class Interrupted(TagprismError):  # noqa: N818 (a person's wish is no error)
    """Ctrl-C, with what a command says about how to go on."""

    exit_code = INTERRUPTED


def progress(quiet: bool) -> ProgressProtocol:
    """Progress bars on stderr; nothing when quiet."""

    @contextmanager
    def bars(what: str, total: int) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        # On a terminal rows and bars share the screen, and rich keeps them apart; rows for a file never go through it.
        with Progress(*columns, console=talk, redirect_stdout=sys.stdout.isatty(), disable=quiet) as shown:
            task = shown.add_task(what, total=total)
            yield lambda count: shown.advance(task, count)

    return bars


def say(text: str, *, quiet: bool = False) -> None:
    """A line of talk on stderr."""
    if not quiet:
        talk.print(_safe(text))


def printable(text: str) -> str:
    """Text for a terminal: control characters, which could command it, and bytes that are no text as escapes."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _safe(text: str) -> str:
    """A message for the terminal, whose lines stay lines: names of files in it cannot command it."""
    return escape("\n".join(map(printable, text.split("\n"))))


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def say_skipped(name: str, reason: str) -> None:
    """A line about a picture that was skipped."""
    talk.print(f"[yellow]skipped[/] {escape(printable(name))}: {escape(printable(reason))}")


def report_skipped(skipped: Iterable[tuple[str, str]], what: str = "picture") -> int:
    """List what was skipped, each with its reason; the exit code is 4 when there is any, else 0."""
    listed = list(skipped)
    for name, reason in listed:
        say_skipped(name, reason)
    if listed:
        talk.print(f"{len(listed)} {what}(s) skipped.")
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
        talk.print(_safe(str(stop)))
        return INTERRUPTED
    except TagprismError as error:
        talk.print(f"[bold red]error[/] {_safe(str(error))}")
        return error.exit_code
    except _ClickException as error:
        error.show()
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
            talk.print(f"[bold red]error[/] the machine refused: {_safe(str(error))}")
            return REFUSED
        return _bug()
    except Exception:
        return _bug()


def _interrupted() -> int:
    talk.print("interrupted; run the same command again to continue.")
    return INTERRUPTED


def _reader_left() -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # no second complaint when Python flushes stdout at exit
    return OK


def _bug() -> int:
    talk.print(escape(traceback.format_exc()), style="dim")
    talk.print(
        "[bold red]error[/] this is a bug in tagprism. Please report it with the lines above and the output of "
        "`tagprism doctor`."
    )
    return BUG
