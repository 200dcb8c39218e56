"""The command line: which commands there are. Each declares its options and imports what it needs when it runs."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

import tagprism
from tagprism.app import console
from tagprism.app.commands import data, index, keywords, labels, search, serve, tag, undo
from tagprism.app.options import Data, Limit, Quiet, Sets, Split
from tagprism.errors import InputError

app = typer.Typer(
    name="tagprism",
    help="Tag and find pictures with your own words, also words no model was trained on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(labels.app, name="labels")
app.add_typer(data.app, name="data")
app.add_typer(keywords.app, name="keywords")


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


app.command()(tag.tag)
app.command()(index.index)
app.command()(search.search)
app.command()(serve.serve)
app.command()(undo.undo)


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
