"""Options that several commands share, and what they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from tagprism.app import console
from tagprism.device import DEVICES
from tagprism.device import Device as DeviceName
from tagprism.errors import InputError, NothingToDoError

if TYPE_CHECKING:
    from tagprism.datasets.splits import Split as SplitOf
    from tagprism.datasets.table import ImageTable
    from tagprism.tagging.tagger import Tagger

_Format = TypeVar("_Format", bound=str)
DEFAULT_MODEL = "photos-lite"  # as `bundle.bundle.DEFAULT`, which loads ONNX Runtime
DATA_HELP = "openclipart, tagged:DIR, nus-wide:DIR, coco:DIR, open-images:DIR, parquet:GLOB or webdataset:GLOB."
Data = Annotated[str, typer.Option("--data", help=DATA_HELP)]
Split = Annotated[str | None, typer.Option("--split", help="FILE or FILE#2; all but tagged:DIR have their own.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many pictures (a dry run).")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="RUN, BUNDLE, packaged bundle, hf-hub:owner/name\\[@revision]\\[#form], or a folder of CLIP or SigLIP.",
    ),
]


def _device(name: str) -> str:
    """The device of an option, which networks run on from now on."""
    if name not in DEVICES:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(map(repr, DEVICES))}.")
    from tagprism.onnx_graph import use_device  # it loads ONNX Runtime

    use_device(name)
    return name


Device = Annotated[
    DeviceName | None,
    typer.Option(
        "--device",
        metavar=f"<{'|'.join(DEVICES)}>",
        parser=_device,
        help="Where networks run; auto: cuda, directml or openvino where ONNX Runtime has it, else cpu. "
        "\\[default: auto]",
    ),
]
Views = Annotated[
    int | None,
    typer.Option(
        "--views",
        help="Views of a picture, the best of which scores a label: 1, 2, 3, 5, 6, 10 or 15. \\[default: 1]",
    ),
]
Unknown = Annotated[
    Literal["ignore", "negative", "lesa"] | None,
    typer.Option(
        help="What an unverified label counts as; lesa: left out of AP, a negative in P, R and F1@K. Default: lesa for "
        "open-images, else ignore."
    ),
]
Format = Annotated[Literal["table", "json"], typer.Option(help="What to print.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no talk.")]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST:PORT",
        help="Have a Ray cluster do it; auto: the one of this machine, else one of all its processors.",
    ),
]
Exclude = Annotated[
    list[str] | None, typer.Option(help="What to leave out of folders, as in a .gitignore; may be repeated.")
]
Sets = Annotated[list[str] | None, typer.Option("--set", help="key=value over the recipe, such as model.vectors=1.")]
ModelNow = Annotated[str | None, typer.Option("--model", "-m", help="Where the index's model is now.")]


def named_path(text: str) -> Path:
    """A path of the command line; an empty one, as an unset variable of a shell gives, is not the current folder."""
    if not text:
        raise typer.BadParameter("a path is empty; write . for the current folder.")
    return Path(text)


def from_command_line(context: typer.Context, *options: str) -> bool:
    """Whether some of the options are on the command line, and not only in the user's file of defaults."""
    sources = map(context.get_parameter_source, options)
    return any(source is not None and source.name == "COMMANDLINE" for source in sources)


def refuse_together(alone: dict[str, object], others: dict[str, object]) -> None:
    """Refuse options that are given beside one that stands alone, or several such."""
    first, *more = [name for name, value in (alone | others).items() if value]
    if more:
        raise typer.BadParameter(f"{first} stands alone; leave {', '.join(more)} away.")


@contextmanager
def in_option_names(*options: str) -> Iterator[None]:
    """Have errors say `--least-positives` where the library says its own name of the argument, in backticks."""
    try:
        yield
    except (InputError, NothingToDoError) as error:

        def named(text: str | None) -> str | None:
            for option in options:
                text = text and text.replace(f"`{option.removeprefix('--').replace('-', '_')}`", option)
            return text

        raise type(error)(named(error.what) or "", where=named(error.where), remedy=named(error.remedy)) from error


def by_ending(out: Path, endings: dict[str, _Format], option: str = "--out") -> _Format:
    """The format of a file by its ending, before any work is done for it.

    Raises:
        InputError: no format has that ending.
    """
    if (ending := out.suffix.lower()) not in endings:
        known = ", ".join(sorted(filter(None, endings)))
        say = ", or say --format" if option == "--out" else ""
        what = f"{option} writes no format with the ending {ending}."
        raise InputError(what, where=str(out), remedy=f"There are {known}{say}.")
    return endings[ending]


def read_words(file: Path, tagger: Tagger) -> dict[str, tuple[str, ...]]:
    """The words of a `--labels` that a model knows; what was left out or guessed is said, also when quiet."""
    from tagprism.labels.phrase_list import read_phrases
    from tagprism.tagging.unknown import known_labels

    return known_labels(tagger, read_phrases(file, console.say), console.say)


def open_measured(data: str, split: str | None, model: str | None, *, quiet: bool) -> tuple[ImageTable, SplitOf]:
    """Open the pictures and the split to measure a finished model on, and say so where it is the split of its run.

    Args:
        data: as for `open_data`.
        split: `FILE` or `FILE#2`; None for that of the data set, else of the run.
        model: the name of a model, which need not lie in a run; None for none.
        quiet: say nothing.

    Raises:
        InputError: as `open_data`, or there is no such model.
    """
    from tagprism.bundle.bundle import find_bundle
    from tagprism.datasets.registry import open_data
    from tagprism.datasets.splits import split_of_run

    own = split_of_run(find_bundle(model)) if model is not None and split is None else None
    table, chosen = open_data(data, split, console.progress(quiet), otherwise=own)
    if own is not None and chosen.name == Path(own).name:
        console.say(f"split: that of the run, {own}", quiet=quiet)
    return table, chosen
