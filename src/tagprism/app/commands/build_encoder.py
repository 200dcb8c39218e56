"""`tagprism labels build-encoder`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Literal

from tagprism.app import console
from tagprism.errors import InputError
from tagprism.files import replaced_whole
from tagprism.labels.encoders.card import read_card
from tagprism.labels.encoders.encoder import load_encoder
from tagprism.network.encoder_sources import NAMED, encoder_folder, int8_folder
from tagprism.tagging.tagger import Tagger, load


def build(encoders: tuple[str, ...], model: str | None, precision: Literal["fp32", "int8"], into: Path | None) -> int:
    """Make encoders and print `ID<tab>FOLDER` of each."""
    tagger = load(model) if model is not None else None
    named = encoders or (() if tagger else ("minilm",))
    folders = [_made(spec, precision, None) for spec in named]
    folders += _of_model(tagger, precision) if tagger else []
    for folder in folders:
        card = read_card(folder)
        if into is not None:
            with replaced_whole(into / card.id) as beside:
                shutil.copytree(folder, beside)
            folder = into / card.id
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        console.say(f"{card.id} ({card.precision}, {size:.1f} MB, {card.licence})")
        sys.stdout.write(f"{card.id}\t{folder}\n")
    return console.OK


def _of_model(tagger: Tagger, precision: Literal["fp32", "int8"]) -> list[Path]:
    folders = []
    for name, digest in tagger.bundle.config.encoder_digests.items():
        brought = tagger.bundle.encoder_folder(name)
        if brought is not None:
            console.say(f"{name}: the model brings it")
            continue
        if name.startswith("clip-"):
            raise InputError(
                f"the model's encoder {name} is the text tower of a CLIP model.",
                where=str(tagger.bundle.path),
                remedy="With the same weights at hand: tagprism labels build-encoder --encoder open_clip:MODEL/WEIGHTS",
            )
        if name not in NAMED:
            raise InputError(
                f"the model's encoder {name} was made from its maker's own file of word vectors.",
                where=str(tagger.bundle.path),
                remedy="With that file at hand: tagprism labels build-encoder --encoder file:PATH",
            )
        folder = _made(name, precision, tagger)
        load_encoder(folder, source_digest=digest)  # refuses another source
        folders.append(folder)
    return folders


def _made(spec: str, precision: Literal["fp32", "int8"], tagger: Tagger | None) -> Path:
    console.say(f"making the encoder {spec} (MiniLM takes half a minute, once)")
    folder = encoder_folder(spec)
    if precision == "fp32" or (tagger is not None and read_card(folder).kind == "words"):
        return folder
    small = int8_folder(spec)
    from tagprism.network.encoder_precision import cosines, own_words

    phrases = list(tagger.vocabulary.names) if tagger else own_words(folder)
    mean, least = cosines(folder, small, phrases)
    console.say(f"{spec} int8 against fp32, {len(phrases)} phrases: cosine mean {mean:.5f}, min {least:.4f}")
    return small
