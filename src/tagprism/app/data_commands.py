"""`tagprism data`: look at a data set, or fetch it."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from tagprism.app import console

app = typer.Typer(help="Data sets: info, fetch.", no_args_is_help=True)


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
def fetch(data: Annotated[Literal["openclipart"], typer.Argument(help="What to fetch.")]) -> int:
    """Fetch a data set that may be fetched: Open Clip Art from Debian's packages, into the cache."""
    from tagprism.datasets.openclipart_source import fetch_openclipart

    console.say(f"{data}: {fetch_openclipart()}")
    return console.OK
