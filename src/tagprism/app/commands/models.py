"""`tagprism models`: public CLIP and SigLIP models that can be used, and those that are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagprism.app import console
from tagprism.app.options import DATA_HELP, Device, Format, Quiet, Views
from tagprism.counted import counted
from tagprism.errors import InputError, NothingToDoError

if TYPE_CHECKING:
    from tagprism.bundle.bundle import Bundle
    from tagprism.bundle.foreign.known import KnownModel
    from tagprism.bundle.foreign.model import ForeignModel

app = typer.Typer(help="Public CLIP and SigLIP models: list, fetch, info, calibrate, remove.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="hf-hub:owner/name\\[@revision]\\[#form], or a folder.")]
_NO_SKILL = (
    "These probabilities say no more than how common each word is. Fit them to more photos, or take them away with "
    "`tagprism models calibrate MODEL --remove`."
)


@app.command("list")
def list_models(format: Format = "table") -> int:
    """Name the models in the box and public ones of a layout that is read: size, licence, languages, accuracy."""
    from rich.padding import Padding

    from tagprism.bundle.foreign.known import known_models
    from tagprism.bundle.names import packaged_bundles

    models = [*map(_packaged, packaged_bundles()), *known_models()]
    if format == "json":
        console.write_json([one.model_dump(mode="json") for one in models])
        return console.OK
    for one in models:
        source = f"by the page of {one.licence_from}" if one.licence_from else "not verified"
        facts = [one.layout, f"{one.licence} ({source})", one.languages]
        if one.size_mb is not None:
            facts.append("{:,} MB for pictures and {:,} MB for words".format(*one.size_mb))
        if one.picture_ms is not None:
            facts.append(f"{one.picture_ms} ms a picture")
        if one.imagenet is not None:
            facts.append(f"ImageNet zero-shot {one.imagenet:g} %")
        console.data.print(one.name, style="bold", soft_wrap=True)
        said = "; ".join([*facts, one.note] if one.note else facts)
        if console.on_terminal():
            console.data.print(Padding(said, (0, 0, 0, 4)))
        else:
            console.data.print(f"    {said}", soft_wrap=True)  # whole lines for grep
    return console.OK


def _packaged(name: str) -> KnownModel:
    """A model that this installation brings, as the public ones are described."""
    from tagprism.bundle.bundle import DEFAULT, open_model
    from tagprism.bundle.foreign.known import KnownModel
    from tagprism.labels.encoders.encoder import PACKAGED

    model = open_model(name)
    pictures, phrases = (
        round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6)
        for folder in (model.path, PACKAGED)
    )
    note = f"knows {counted(len(model.vocabulary.names), 'word')} and reads any English phrase"
    return KnownModel(
        name=name,
        layout="in this package" + (", the default" if name == DEFAULT else ""),
        size_mb=(pictures, phrases),
        licence="trained on photos for research",
        licence_from=f"{name}, {model.path / 'README.md'}",
        languages="English",
        note=note,
    )


@app.command()
def fetch(name: Name, quiet: Quiet = False) -> int:
    """Fetch a model, or a newer version of it, and embed the common words, so that all else works without a network."""
    from tagprism.bundle.bundle import open_model

    model = open_model(name, renew=True, progress=console.progress(quiet))
    words = len(model.vocabulary.names)
    console.say(f"{model.path} (digest {model.digest[:12]}), {counted(words, 'word')} ready", quiet=quiet)
    return console.OK


@app.command()
def info(name: Name, format: Format = "table", quiet: Quiet = False) -> int:
    """Say what a model is: layout, files, preparation of pictures and phrases, and what its scores are."""
    from rich.table import Table

    from tagprism.bundle.bundle import open_model

    model = open_model(name, progress=console.progress(quiet))
    config = model.config
    found: dict[str, Any] = {
        "name": config.name,
        "digest": model.digest,
        "folder": str(model.path),
        "vectors": config.vectors,
        "dimension": config.dimension,
        "views": model.views,
        "calibrated": _calibrated(model),
        "preprocess": config.preprocess,
        **config.provenance,
        "files": config.digests,
    }
    if format == "json":
        console.write_json(found)
        return console.OK
    table = Table("", "", show_header=False)
    table.columns[1].overflow = "fold"  # digests are to be copied
    for key, value in found.items():
        lines = [f"{name}: {its}" for name, its in value.items()] if isinstance(value, dict) else [str(value)]
        table.add_row(key, "\n".join(map(console.printable, lines)))
    console.show(table)
    return console.OK


def _calibrated(model: Bundle | ForeignModel) -> str:
    """Whether a model has probabilities, and whose."""
    from tagprism.tagging.own_calibration import read_own
    from tagprism.tagging.tagger import Tagger

    if (own := Tagger(model).own_calibration) is not None:
        _, note = read_own(own, model)
        fitted_on = f"{counted(note['pictures'], 'picture')} and {counted(note['labels'], 'label')}"
        return f"by you: {fitted_on} of {note['kind']}, {own}"
    return "by the bundle" if model.config.calibration is not None else "no"


@app.command()
def calibrate(
    model: Annotated[str, typer.Argument(help="As --model of `tag`.")],
    data: Annotated[str | None, typer.Option("--data", help=DATA_HELP)] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="FILE or FILE#2: only its training pictures and seen labels.")
    ] = None,
    pictures: Annotated[int | None, typer.Option(min=1, help=r"Look at so many at most. \[default: 2000]")] = None,
    views: Views = None,
    device: Device = None,
    out: Annotated[Path | None, typer.Option(help="Write the calibration here, and do not use it yet.")] = None,
    take: Annotated[
        Path | None, typer.Option("--from", help="Use one that --out wrote, here or on another machine.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the calibration away.")] = False,
    quiet: Quiet = False,
) -> int:
    """Fit probabilities to photos with labels, for a model that has none, or for your own kind of photos."""
    from tagprism.exchange import refuse_foreign
    from tagprism.files import OWN_TENSORS
    from tagprism.tagging.own_calibration import read_own, remove_own, write_own
    from tagprism.tagging.tagger import load

    if sum((data is not None, take is not None, remove)) != 1:
        raise InputError("there is nothing to fit to.", remedy="Give one of --data KIND:PATH, --from FILE, --remove.")
    if out is not None:
        refuse_foreign(out, OWN_TENSORS)
    tagger = load(model, views=views, progress=console.progress(quiet))
    bundle = tagger.bundle
    if remove:
        if not remove_own(bundle.digest):
            raise NothingToDoError("has no calibration of your own.", where=model)
        console.say("The calibration is gone.", quiet=quiet)
        return console.OK
    if take is not None:
        console.say(f"Kept as {write_own(*read_own(take, bundle), bundle, out)}", quiet=quiet)
        return console.OK
    from tagprism.datasets.registry import open_dataset
    from tagprism.datasets.splits import load_split
    from tagprism.evaluation.fit_calibration import PICTURES, fit_calibration
    from tagprism.evaluation.reliability import reliability_table

    table = open_dataset(str(data))
    chosen = load_split(split, table) if split is not None else None
    fitted = fit_calibration(tagger, table, chosen, pictures=pictures or PICTURES, progress=console.progress(quiet))
    file = write_own(fitted.calibration, fitted.note, bundle, out)
    console.show(reliability_table({"held-out": fitted.held}))
    if not fitted.held.skill > 0:
        console.say(_NO_SKILL, quiet=quiet)
    said = "Kept as" if out is None else "Written, and not in use before `tagprism models calibrate MODEL --from FILE`:"
    console.say(f"{said} {file}", quiet=quiet)
    return console.report_skipped([(key, error.message) for key, error in fitted.skipped])


@app.command()
def remove(name: Annotated[str, typer.Argument(help="hf-hub:owner/name")], quiet: Quiet = False) -> int:
    """Delete a fetched model from the hub's cache on this machine."""
    from tagprism.bundle.hub import HUB, HubName, remove_model
    from tagprism.bundle.names import packaged_bundles

    if not name.startswith(HUB) and ("/" not in name or name in packaged_bundles() or Path(name).exists()):
        remedy = "Name one as hf-hub:owner/name. A folder of your own is deleted as any other."
        raise InputError("was not fetched from a hub, so there is nothing to remove.", where=name, remedy=remedy)
    freed = remove_model(HubName.parse(name))
    console.say(f"{freed / 1e6:,.0f} MB are free again", quiet=quiet)
    return console.OK
