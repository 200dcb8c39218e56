"""`tagprism data`: look at a data set, join several, or fetch one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.options import Quiet
from tagprism.errors import InputError

app = typer.Typer(help="Data sets: info, join, fetch.", no_args_is_help=True)


@app.command()
def info(
    data: Annotated[str, typer.Argument(help="openclipart or tagged:DIR.")],
    split: Annotated[str | None, typer.Option("--split", help="Check this split too, FILE or FILE#2.")] = None,
    format: Annotated[Literal["table", "json"], typer.Option(help="What to print.")] = "table",
) -> int:
    """Count pictures, labels and positives, and check a split; exit code 4 when pictures would be skipped."""
    from rich.table import Table

    from tagprism.datasets.registry import default_split, open_dataset
    from tagprism.datasets.splits import load_split

    table = open_dataset(data)
    facts: dict[str, int | float | str] = table.info()
    chosen = load_split(split, table) if split is not None else default_split(data, table)
    if chosen is not None:
        facts |= {f"split_{part}": len(getattr(chosen, part)) for part in ("seen", "unseen", "train", "val", "test")}
        facts["split_digest"] = chosen.digest
    if format == "json":
        print(json.dumps(facts, indent=2))
    else:
        shown = Table(show_header=False)
        shown.add_column()
        shown.add_column(overflow="fold")
        for name, value in facts.items():
            shown.add_row(name, f"{value:.2f}" if isinstance(value, float) else str(value))
        console.data.print(shown)
    return console.report_skipped((one.key, one.message) for one in table.skipped)


@app.command()
def join(
    data: Annotated[list[str], typer.Argument(help="Two data sets or more, such as tagged:A tagged:B.")],
    into: Annotated[Path, typer.Option(help="Folder to write; read it as tagged:INTO.")],
    unknown: Annotated[
        list[str] | None, typer.Option(help="One of them in which an unlisted label is unknown; may be repeated.")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Make one tagged: folder out of several; each keeps its own meaning of a label that is not listed."""
    from tagprism.datasets.join import join_datasets
    from tagprism.datasets.registry import open_dataset
    from tagprism.datasets.table import first_ten

    names = {one: one.partition(":")[2].rstrip("/").rpartition("/")[2] or one for one in data}
    if len(set(names.values())) < len(data):
        raise InputError(
            f"two data sets have one name among {first_ten(names.values())}.", remedy="Rename one of the folders."
        )
    if strangers := [one for one in unknown or () if one not in names]:
        raise InputError(f"not among the data sets to join: {first_ten(strangers)}.", where="--unknown")
    tables = {name: open_dataset(one) for one, name in names.items()}
    progress = console.progress(quiet)
    joined = join_datasets(tables, into, unknown=[names[one] for one in unknown or ()], progress=progress)
    for label, others in joined.merged.items():
        console.say(f"{label}: also written {', '.join(others)}", quiet=quiet)
    console.say(f"{joined.pictures} pictures, {joined.labels} labels: tagged:{into}", quiet=quiet)
    return console.report_skipped(
        (f"{name}/{one.key}", one.message) for name, table in tables.items() for one in table.skipped
    )


@app.command()
def fetch(data: Annotated[Literal["openclipart"], typer.Argument(help="What to fetch.")]) -> int:
    """Fetch a data set that may be fetched: Open Clip Art from Debian's packages, into the cache."""
    from tagprism.datasets.openclipart_source import fetch_openclipart

    console.say(f"{data}: {fetch_openclipart()}")
    return console.OK
