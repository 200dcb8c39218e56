"""`tagprism data`: look at a data set, write its lists, draw splits, join several, write shards, or fetch one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tagprism.app import console
from tagprism.app.options import DATA_HELP, Format, Quiet, in_option_names
from tagprism.counted import counted
from tagprism.errors import InputError

if TYPE_CHECKING:
    from tagprism.datasets.splits import Split
    from tagprism.datasets.table import ImageTable

app = typer.Typer(help="Data sets: info, lists, labels, split, join, shards, fetch.", no_args_is_help=True)

Data = Annotated[str, typer.Argument(help=DATA_HELP)]


@app.command()
def info(
    data: Data,
    split: Annotated[str | None, typer.Option("--split", help="Check this split too, FILE or FILE#2.")] = None,
    encoder: Annotated[
        list[str] | None, typer.Option("--encoder", help="Say how it knows the split's labels; may be repeated.")
    ] = None,
    format: Format = "table",
) -> int:
    """Count pictures, labels and positives, and check a split; exit code 4 when pictures would be skipped."""
    from rich.table import Table

    from tagprism.datasets.registry import default_split, open_dataset
    from tagprism.datasets.splits import load_split

    table = open_dataset(data, console.progress(quiet=False))
    description: dict[str, Any] = dict(table.info())
    chosen = load_split(split, table) if split is not None else default_split(data, table)
    if chosen is not None:
        description |= {
            f"split_{part}": len(getattr(chosen, part)) for part in ("seen", "unseen", "train", "val", "test")
        }
        description["split_digest"] = chosen.digest
        if chosen.protocol is not None:
            description["protocol"] = chosen.protocol.to_json()
    if encoder:
        description["labels_by_encoder"] = _label_rules(encoder, table, chosen)
    if format == "json":
        console.write_json(description)
    else:
        shown = Table(show_header=False)
        shown.add_column()
        shown.add_column(overflow="fold")
        for name, value in description.items():
            text = json.dumps(value) if isinstance(value, dict) else value
            shown.add_row(name, f"{text:.2f}" if isinstance(text, float) else str(text))
        console.show(shown)
    return console.report_skipped((one.key, one.message) for one in table.skipped)


def _label_rules(encoders: list[str], table: ImageTable, split: Split | None) -> dict[str, Any]:
    """How many labels each encoder knows by which rule, and which it lacks."""
    from tagprism.app.commands.labels import check_known, packaged_vocabulary
    from tagprism.labels.check import count_rules

    labels = table.labels if split is None else (*split.seen, *split.unseen)
    checks = check_known(encoders, labels, packaged_vocabulary())
    found: dict[str, Any] = dict(count_rules(checks))
    for row in checks:
        for finding in row.findings:
            if finding.status == "missing":
                found[finding.encoder].setdefault("lacks", []).append(row.phrase)
    return found


@app.command()
def lists(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder to write split.json, train.txt, zsl_test.txt, gzsl_test.txt into.")],
) -> int:
    """Build the lists of a published protocol from the official annotations, and say how they compare with it."""
    from tagprism.datasets.registry import default_split, open_dataset
    from tagprism.exchange import refuse_foreign
    from tagprism.files import write_json, write_text

    for name in ("split.json", "train.txt", "zsl_test.txt", "gzsl_test.txt"):
        refuse_foreign(out / name, None)
    table = open_dataset(data)
    split = default_split(data, table)
    if split is None:
        raise InputError(f"`{data}` has no lists of its own.", remedy="Write a split file, see docs/data.md.")
    pictures = {"train": list(split.train)}
    rows = table.rows_of(split.test)
    for task, labels in (("zsl", split.unseen), ("gzsl", (*split.seen, *split.unseen))):
        targets = table.targets(rows, labels) == 1
        pictures[f"{task}_test"] = [key for key, own in zip(split.test, targets.any(axis=1), strict=True) if own]
        per_picture = targets.sum() / max(1, len(pictures[f"{task}_test"]))
        console.say(
            f"{task}_test: {counted(len(pictures[f'{task}_test']), 'picture')}, {per_picture:.3f} labels per picture"
        )
    console.say(f"train: {counted(len(split.train), 'picture')}")
    for name, keys in pictures.items():
        write_text(out / f"{name}.txt", "".join(f"{key}\n" for key in keys))
    if split.protocol is None or not split.protocol.same_label:  # else no split file may say it
        write_json(out / "split.json", {"name": split.name} | split.to_json())
    for remark in split.protocol.remarks if split.protocol else ():
        console.say(remark)
    return console.report_skipped((one.key, one.message) for one in table.skipped)


@app.command()
def labels(protocol: Annotated[Literal["coco", "open-images"], typer.Argument(help="Whose labels.")]) -> int:
    """Print the labels of a protocol, seen ones first, as a word list for `tagprism labels check`."""
    from tagprism.datasets import coco, open_images

    sides = (coco.SEEN, coco.UNSEEN) if protocol == "coco" else open_images.label_names()
    for side in sides:
        for name in side:
            console.write(f"{name}\n")
    return console.OK


@app.command()
def split(
    data: Data,
    out: Annotated[Path, typer.Option(help="Split file to write.")],
    unseen: Annotated[float, typer.Option(help="Share of the labels that become unseen.")] = 0.2,
    test: Annotated[float, typer.Option(help="Share of the pictures to measure on.")] = 0.3,
    val: Annotated[float, typer.Option(help="Share of the pictures to choose a model by.")] = 0.0,
    least_positives: Annotated[
        int, typer.Option(min=1, help="Positives that a seen label needs in train, an unseen one in test.")
    ] = 4,
    seed: Annotated[int, typer.Option(help="Another seed, another split.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="So many splits, of this seed and those after it.")] = 1,
    look: Annotated[
        bool, typer.Option("--look/--no-look", help="Decode the pictures and keep near-duplicates in one part.")
    ] = True,
    quiet: Quiet = False,
) -> int:
    """Draw zero-shot splits of a data set of your own: which labels are unseen, and which pictures train and test."""
    from tagprism.datasets.draw_split import draw_split, refuse_shares
    from tagprism.datasets.near_duplicates import near_duplicates
    from tagprism.datasets.registry import open_dataset
    from tagprism.files import write_json

    if out.exists():  # runs may have been made on it
        raise InputError("exists already.", where=str(out), remedy="Delete it, or choose another --out.")
    options = ("--unseen", "--test", "--val", "--least-positives")
    with in_option_names(*options):
        refuse_shares(unseen, test, val, least_positives)  # before minutes of decoding
    table = open_dataset(data)
    groups = near_duplicates(table, progress=console.progress(quiet)) if look else {key: key for key in table.keys}
    shares: dict[str, Any] = {"unseen": unseen, "test": test, "val": val, "least_positives": least_positives}
    with in_option_names(*options):
        splits = [draw_split(table, seed=number, groups=groups, **shares) for number in range(seed, seed + count)]
    written = [{"seed": seed + after} | one.to_json() for after, one in enumerate(splits)]
    write_json(out, written if count > 1 else written[0], replace=False)
    for one in splits:
        rare = len(table.labels) - len(one.seen) - len(one.unseen)
        labels = f"{len(one.seen)} seen and {len(one.unseen)} unseen labels ({rare} too rare for either)"
        train = counted(len(one.train), "picture")
        pictures = f"{train} to train on, {len(one.val)} to choose by, {len(one.test)} to measure on"
        console.say(f"{one.name}: {labels}; {pictures}", quiet=quiet)
    undecoded = ((key, "The picture cannot be decoded.") for key in table.keys if key not in groups)
    return console.report_skipped([*((one.key, one.message) for one in table.skipped), *undecoded])


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
    if into.exists():  # opening a large data set takes minutes
        raise InputError("exists already.", where=str(into), remedy="Choose another --into.")
    tables = {name: open_dataset(one) for one, name in names.items()}
    progress = console.progress(quiet)
    joined = join_datasets(tables, into, unknown=[names[one] for one in unknown or ()], progress=progress)
    for label, others in joined.merged.items():
        console.say(f"{label}: also written {', '.join(others)}", quiet=quiet)
    console.say(f"{counted(joined.pictures, 'picture')}, {counted(joined.labels, 'label')}: tagged:{into}", quiet=quiet)
    return console.report_skipped(
        (f"{name}/{one.key}", one.message) for name, table in tables.items() for one in table.skipped
    )


@app.command()
def shards(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder to write; read it as parquet:'OUT/*' or webdataset:'OUT/*'.")],
    format: Annotated[Literal["parquet", "webdataset"], typer.Option(help="What the shards are.")] = "webdataset",
    per_shard: Annotated[int, typer.Option(min=1, help="Pictures a shard.")] = 1000,
    quiet: Quiet = False,
) -> int:
    """Write a data set as shards, large files for network disks; run again to continue after an interruption."""
    from tagprism.datasets.registry import open_dataset
    from tagprism.datasets.write_shards import write_shards

    progress = console.progress(quiet)
    table = open_dataset(data, progress)
    with in_option_names("--out"):
        skipped = write_shards(table, out, format, per_shard=per_shard, progress=progress)
    pattern = "*.parquet" if format == "parquet" else "*.tar"
    console.say(f"{counted(len(table) - len(skipped), 'picture')}: --data '{format}:{out}/{pattern}'", quiet=quiet)
    return console.report_skipped((one.key, one.message) for one in (*table.skipped, *skipped))


@app.command()
def fetch(data: Annotated[Literal["openclipart"], typer.Argument(help="What to fetch.")]) -> int:
    """Fetch a data set that may be fetched: Open Clip Art from Debian's packages, into the cache."""
    from tagprism.datasets.openclipart import fetch_openclipart

    console.say(f"{data}: {fetch_openclipart()}")
    return console.OK
