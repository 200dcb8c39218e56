"""The command line: arguments to calls. Every command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

import tagprism
from tagprism.app import console
from tagprism.app.commands import compare, demo, evaluate, find_commands
from tagprism.app.commands.data import app as data_app
from tagprism.app.commands.keywords import app as keywords_app
from tagprism.app.commands.labels import app as labels_app
from tagprism.app.options import DEFAULT_MODEL, Data, Limit, Model, Quiet, Sets, Split
from tagprism.errors import InputError

app = typer.Typer(
    name="tagprism",
    help="Tag and find pictures with your own words, also words no model was trained on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(labels_app, name="labels")
app.add_typer(data_app, name="data")
app.add_typer(keywords_app, name="keywords")


def _version(asked: bool) -> None:
    if asked:
        print(f"tagprism {tagprism.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Tag and find pictures with your own words, also words no model was trained on."""


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a TOML file.")],
    data: Data = "",
    split: Split = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the RUN to write.")] = None,
    sets: Sets = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="Further words that the bundle shall know, one a line, aliases after tabs.")
    ] = None,
    limit: Limit = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Processes on this machine, one per GPU.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Machines (see docs/training.md).")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print every setting and stop.")] = False,
    quiet: Quiet = False,
) -> int:
    """Train a model and write it as a RUN with a bundle in it; run again to continue an interrupted one."""
    console.require_extra("train", "torch")
    from tagprism.app.commands import train as train_command

    return train_command.train(
        recipe, data, split, out, tuple(sets or ()), vocabulary, limit, devices, nodes, print_config, quiet
    )


@app.command("import-official")
def import_official(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' released .pth file.")],
    labels: Annotated[Path, typer.Option(help="Label vectors it was trained with: npz, safetensors or text.")],
    into: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    seen: Annotated[
        Path | None, typer.Option(help="Labels trained on: one a line, or JSON; else idx_to_class.")
    ] = None,
    unseen: Annotated[Path | None, typer.Option(help="Labels kept out of training; all others were seen.")] = None,
    image_size: Annotated[int, typer.Option("--image-size", help="Pixels a side: 224, 448, 608.")] = 224,
    raw: Annotated[bool, typer.Option("--raw", help="The authors' raw scores, not comparable between images.")] = False,
    encoder: Annotated[str | None, typer.Option(help="Text encoder of the label vectors, such as file:PATH.")] = None,
    quiet: Quiet = False,
) -> int:
    """Turn the authors' released checkpoint into a bundle, without running any code in it."""
    console.require_extra("train", "torch")
    from tagprism.app.commands import import_official as import_command

    return import_command.import_official(checkpoint, labels, into, seen, unseen, image_size, raw, encoder, quiet)


@app.command()
def tag(
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders, patterns; - for a list of paths on stdin.")],
    model: Model = DEFAULT_MODEL,
    labels: Annotated[
        Path | None, typer.Option(help="Words to choose from, one a line, aliases after a tab; else the vocabulary.")
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", min=1, help="Tags per picture at most. \\[default: 10, but see --min-probability]"),
    ] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Least probability of a tag; needs a calibrated bundle. \\[default: 0.5 for a table without --top-k]",
        ),
    ] = None,
    format: Annotated[
        Literal["table", "jsonl", "csv"] | None,
        typer.Option(help="What to print. \\[default: table; with --out by its ending, else jsonl]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write the rows into; run again to continue an interrupted one.")
    ] = None,
    null: Annotated[bool, typer.Option("--null", "-0", help="The list on stdin has zero bytes between paths.")] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            min=1, help="Skip pictures with more pixels; a JPEG may have twice as many. \\[default: 178956970]"
        ),
    ] = None,
    explain: Annotated[
        Path | None, typer.Option(help="Folder for pictures that show where each tag comes from.")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Tag pictures with your own words or the model's vocabulary."""
    from tagprism.app.commands import tag as tag_command

    cut = tag_command.Cut(top_k, min_probability)
    return tag_command.tag(paths, model, labels, cut, format, out, null, max_pixels, explain, quiet)


for command in (find_commands.index, find_commands.search, find_commands.serve):
    app.command()(command)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.command()(demo.demo)


@app.command()
def undo(
    journal: Annotated[str | None, typer.Argument(help="Name of a run, as --list shows it; else the last one.")] = None,
    list_runs: Annotated[bool, typer.Option("--list", help="List the runs that wrote keywords.")] = False,
    quiet: Quiet = False,
) -> int:
    """Take back a run of `keywords write`: every sidecar gets its bytes back, new ones are removed."""
    from tagprism.app.commands import undo as undo_command

    return undo_command.list_runs() if list_runs else undo_command.undo(journal, quiet)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="RUN, BUNDLE, packaged bundle or hf-hub:owner/name[@revision].")],
    into: Annotated[Path, typer.Option(help="Folder of the BUNDLE to write.")],
    precision: Annotated[
        Literal["fp32", "fp16", "int8"], typer.Option(help=r"How weights are stored; fp16 and int8 need \[train].")
    ] = "fp32",
    text: Annotated[
        bool | None, typer.Option("--text/--no-text", help="With or without text encoders; else as the model has them.")
    ] = None,
    photos: Annotated[
        list[Path] | None, typer.Option(help="Pictures or folders to check with; else the run's own. May be repeated.")
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(min=0, max=100, help=r"Least agreement of the top 5, in percent. \[default: 99; int8: 85]"),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Write a model as a bundle of its own, smaller if wanted, and check it on real pictures."""
    from tagprism.app.commands import export as export_command

    return export_command.export(model, into, precision, text, tuple(photos or ()), min_agreement, quiet)


@app.command()
def doctor(
    photos: Annotated[list[Path] | None, typer.Argument(help="Pictures and folders to measure --bundle on.")] = None,
    bundle: Annotated[
        str | None, typer.Option(help="RUN or BUNDLE: measure whether its vectors have collapsed.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Measure on a data set: openclipart or tagged:DIR.")
    ] = None,
    split: Split = None,
    limit: Limit = None,
    format: Annotated[Literal["table", "json"], typer.Option(help="What to print about a bundle.")] = "table",
    quiet: Quiet = False,
) -> int:
    """Say what is installed, what is cached and what this machine can do; or how diverse a model's vectors are."""
    if bundle is not None:
        from tagprism.app.commands import collapse as collapse_command

        return collapse_command.collapse(bundle, photos or [], data, split, limit, format, quiet)
    if photos or data:
        raise InputError("the model to measure is missing.", remedy="Name it: --bundle RUN_OR_BUNDLE.")
    from tagprism.app.commands import doctor as doctor_command

    return doctor_command.doctor()


def main() -> None:
    """Entry point: run the command line and exit with its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without letters for a word is no reason to stop
    sys.exit(console.run(lambda: app(standalone_mode=False)))
