"""The command line: arguments to calls. Every command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

import tagprism
from tagprism.app import console
from tagprism.app.commands import doctor, export, find_commands, import_official, train
from tagprism.app.commands.data import app as data_app
from tagprism.app.commands.keywords import app as keywords_app
from tagprism.app.commands.labels import app as labels_app
from tagprism.app.options import DEFAULT_MODEL, Data, Limit, Model, Quiet, Sets, Split

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


app.command()(train.train)
app.command("import-official")(import_official.import_official)
app.command()(export.export)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="RUN, BUNDLE, packaged bundle or hf-hub:owner/name[@revision].")],
    data: Data,
    split: Split = None,
    format: Annotated[Literal["table", "json"], typer.Option(help="What to print.")] = "table",
    report: Annotated[Path | None, typer.Option(help="Write a self-contained HTML report here.")] = None,
    k: Annotated[list[int] | None, typer.Option(help="Labels per image for P, R, F1; may be repeated.")] = None,
    unknown: Annotated[
        Literal["ignore", "negative"], typer.Option(help="What an unverified label counts as.")
    ] = "ignore",
    engine: Annotated[Literal["onnx", "torch"], typer.Option(help=r"torch needs a RUN and \[train].")] = "onnx",
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Measure on what was trained on, marked so.")
    ] = False,
    limit: Limit = None,
    neighbours: Annotated[int, typer.Option(min=0, help="Average scores over so many like test pictures.")] = 0,
    quiet: Quiet = False,
) -> int:
    """Measure a model on the test pictures of a split: ZSL and GZSL, with chance, constant and ceiling lines."""
    from tagprism.app.commands import evaluate as evaluate_command

    return evaluate_command.evaluate(
        model, data, split, format, report, tuple(k or (3, 5)), unknown, engine, allow_leak, limit, neighbours, quiet
    )


@app.command()
def compare(
    recipe: Annotated[Path, typer.Argument(help="Recipe, the first row of the table.")],
    data: Data,
    split: Split = None,
    variants: Annotated[Path | None, typer.Option(help="TOML file of further rows: `variant` tables.")] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="authors, single, conse, ridge, decoder or open_clip:MODEL/WEIGHTS; may be repeated."),
    ] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="All of them but CLIP.")] = False,
    supervised: Annotated[
        bool, typer.Option("--supervised", help="Add the model trained on unseen labels too.")
    ] = False,
    neighbours: Annotated[
        int, typer.Option(min=0, help="Add the recipe with scores averaged over so many like test pictures.")
    ] = 0,
    pseudo_unseen: Annotated[
        float | None,
        typer.Option(help="Choose settings without test data: this share of the seen labels plays the unseen ones."),
    ] = None,
    ratio_to: Annotated[str | None, typer.Option(help="Also say every row's mAP as a multiple of this row's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to keep every result in; run again to continue.")] = None,
    format: Annotated[Literal["table", "json", "markdown"], typer.Option(help="What to print.")] = "table",
    sets: Sets = None,
    quiet: Quiet = False,
) -> int:
    """Train and measure several recipes on the same pictures; over all splits of a file when none is chosen."""
    console.require_extra("train", "torch")
    from tagprism.app.commands import compare as compare_command

    rivals, further = (tuple(baseline or ()), baselines), (supervised, neighbours)
    shown = format, ratio_to
    return compare_command.compare(
        recipe, data, split, variants, rivals, further, pseudo_unseen, out, shown, tuple(sets or ()), quiet
    )


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
def demo(
    data: Annotated[str, typer.Option(help="openclipart, or tagged:DIR with --split.")] = "openclipart",
    split: Split = None,
    out: Annotated[Path, typer.Option(help="Folder for runs and report.")] = Path("demo"),
    quiet: Quiet = False,
) -> int:
    """Do the whole job once on real pictures and write demo/report.html."""
    console.require_extra("train", "torch")
    from tagprism.app.commands import demo as demo_command

    return demo_command.demo(data, split, out, quiet)


app.command()(doctor.doctor)


def main() -> None:
    """Entry point: run the command line and exit with its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without letters for a word is no reason to stop
    sys.exit(console.run(lambda: app(standalone_mode=False)))
