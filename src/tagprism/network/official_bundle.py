"""The authors' released checkpoint as a bundle like any other."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tagprism.bundle.bundle import Bundle
from tagprism.bundle.config import MODEL, VOCABULARY
from tagprism.bundle.referring import foreign_encoder
from tagprism.bundle.write import Content, made_with, text_files, trained_on, write_bundle
from tagprism.counted import counted
from tagprism.errors import InputError
from tagprism.files import digest_file
from tagprism.images.preprocess import Preprocess
from tagprism.labels.encoders.encoder import load_encoder
from tagprism.labels.encoders.word_table import read_word_file
from tagprism.labels.label_space import LabelSpace
from tagprism.labels.phrase_list import read_phrases
from tagprism.labels.phrases import normalise_phrase
from tagprism.labels.space_part import SpacePart
from tagprism.labels.vocabulary import Role, Vocabulary
from tagprism.network.embedding_matrix import Network, Standardiser
from tagprism.network.encoder_sources import encoder_folder
from tagprism.network.export import export_onnx
from tagprism.network.official_checkpoint import OfficialCheckpoint, read_official_checkpoint

_STEM = 4  # pixels a side that the network's first layer takes together
_ALIKE = 0.9  # median cosine from which on an encoder counts as the one that made the label vectors

_CARD = """\
# {name}

**Data and licences.** Weights of the authors of *Semantic Diversity Learning for Zero-Shot Multi-label Classification*
(Ben-Cohen, Zamir, Ben-Baruch, Friedman, Zelnik-Manor; ICCV 2021, arXiv 2105.05926), released with their code
(Alibaba-MIIL/ZS_SDL) under the MIT licence; trained by them, not by this project. The pictures they trained on have
licences of their own.

Imported from `{file}` (SHA-256 {digest}) with the label vectors `{labels}` (SHA-256 {labels_digest}).
It turns a picture into {vectors} principal embedding vectors and ranks labels against them. Use it with
`tagprism tag PICTURES --model THIS_FOLDER`.

| | |
|---|---|
| network | TResNet-M, {size} px, pictures squashed to a square, bilinear, pixels / 255 |
| M, D | {vectors}, {dimension} |
| scores | {scores} |
| labels | {seen} seen, {unseen} unseen{other}; {told} |
| new words | {words} |
| tagprism | {version} |

## Limits

- Which pictures it was trained on is not in the checkpoint. `tagprism evaluate` cannot refuse a test picture that was.
- Scores rank; they are not probabilities. This bundle carries no calibration.
- Not for decisions about people. Labels carry the biases of those who wrote them.
"""


def import_official(
    checkpoint: Path,
    labels: Path,
    into: Path,
    *,
    seen: Path | None = None,
    unseen: Path | None = None,
    image_size: int = 224,
    raw: bool = False,
    encoder: str | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Bundle:
    """Turn the authors' released checkpoint into a bundle, without running any code in it.

    Args:
        checkpoint: the authors' `.pth` file.
        labels: the label vectors it was trained with: npz, safetensors or text.
        into: folder of the bundle.
        seen: labels trained on: one a line, or JSON; the checkpoint's own `idx_to_class` when None.
        unseen: labels kept out of training; all others were seen.
        image_size: pixels a side, a multiple of 4.
        raw: the authors' raw scores, not comparable between images.
        encoder: text encoder of the label vectors, such as `file:PATH`, so that the bundle can read new words.
        say: told what the user should know.

    Raises:
        InputError: something given cannot be used or does not fit together.
        MachineError: the folder cannot be written.
    """
    if into.exists():
        raise InputError("exists already.", where=str(into), remedy="Choose another --into.")
    if image_size % _STEM or image_size < 32:
        raise InputError(
            f"{image_size} is not a size that the network takes.",
            where="--image-size",
            remedy="Give a multiple of 4 from 32 on: 224 for NUS-WIDE, 448 or 608 for COCO.",
        )
    official = read_official_checkpoint(checkpoint)
    names, vectors = read_word_file(labels)
    roles, told = _roles(names, official, seen, unseen, str(labels), say)
    vocabulary = Vocabulary(tuple(names), vectors.astype(np.float32), roles)
    backbone, head = official.networks(vocabulary.dimension)
    seen_vectors = torch.tensor(vocabulary.select(vocabulary.seen).vectors)
    network = Network(backbone, head, Standardiser(seen_vectors, standardise=not raw))
    config: dict[str, Any] = {
        "name": f"{checkpoint.stem} (the authors' weights)",
        "vectors": head.vectors,
        "dimension": head.dimension,
        "standardised": not raw,
        "preprocess": Preprocess(
            height=image_size,
            width=image_size,
            interpolation="bilinear",
            mean=(0, 0, 0),
            std=(1, 1, 1),
            colour="as-stored",
        ).model_dump(mode="json"),
        "encoders": {},
        "label_space": vocabulary.digest,
        "seen": vocabulary.seen,
        "provenance": {
            **made_with(),
            "recipe": {"name": f"the authors' checkpoint {checkpoint.name}"},
            "seed": "unknown",
            "checkpoint": digest_file(checkpoint),
            "label_vectors": labels.name,
            "label_vectors_digest": digest_file(labels),
            "seen_labels": told,
            "vocabulary": vocabulary.digest,
            "licence": "MIT (Alibaba-MIIL/ZS_SDL)",
        },
    }
    files: dict[str, Content] = {
        MODEL: partial(export_onnx, network, (image_size, image_size)),
        VOCABULARY: vocabulary.save,
        **trained_on(frozenset()),
    }
    if encoder is not None:
        space, source = _label_space(encoder, vocabulary), encoder_folder(encoder)
        files |= text_files(space.save, {encoder: source})
        config |= {"encoders": {space.parts[0].encoder: source.name}, "label_space": space.digest}
    return write_bundle(into, files, config, _card(config, vocabulary, checkpoint), replace=False)


def _roles(
    names: Sequence[str],
    official: OfficialCheckpoint,
    seen: Path | None,
    unseen: Path | None,
    where: str,
    say: Callable[[str], None],
) -> tuple[tuple[Role, ...], str]:
    """The role of every label, and in words who said so."""
    seen_names, left_out = _read_lists(seen, "seen", say) if seen is not None else (None, None)
    if unseen is not None:
        left_out = _read_lists(unseen, "unseen", say)[0]
    known = {normalise_phrase(name): number for number, name in enumerate(names)}
    told = "as the lists say"
    if seen_names is None and left_out is None:
        seen_names, told = list(official.classes) or list(names), "as the checkpoint's idx_to_class says"
        if not official.classes or {normalise_phrase(name) for name in official.classes} >= known.keys():
            told = "the checkpoint does not tell which labels were kept out, so all count as seen"
            say(f"{told}; name them with --unseen to evaluate zero-shot.")
    kept_out = _numbers(left_out or (), known, where, say)
    chosen = set(known.values()) if seen_names is None else _numbers(seen_names, known, where, say)
    trained = chosen - kept_out
    if len(trained) < 2:
        raise InputError(
            f"{len(trained)} of its {len(names)} labels are seen ones; at least 2 are needed.",
            where=where,
            remedy="Name the label vectors of this checkpoint, or the seen labels with --seen.",
        )
    rest: Role = "unseen" if left_out is None else "other"
    roles: list[Role] = [rest] * len(names)
    for number in range(len(names)):
        if number in trained:
            roles[number] = "seen"
        elif number in kept_out:
            roles[number] = "unseen"
    return tuple(roles), told


def _numbers(names: Sequence[str], known: dict[str, int], where: str, say: Callable[[str], None]) -> set[int]:
    """Numbers of the named labels; names without a vector are told and left out."""
    strangers = [name for name in names if normalise_phrase(name) not in known]
    if names and len(strangers) == len(names):
        raise InputError(
            f"has a vector for none of {len(names)} labels, such as `{names[0]}`.",
            where=where,
            remedy="Name the label vectors of the same data set.",
        )
    if strangers:
        say(f"{where} has no vector for {counted(len(strangers), 'label')}, left out: {', '.join(strangers[:10])}")
    return {known[normalise_phrase(name)] for name in names if normalise_phrase(name) in known}


def _read_lists(path: Path, side: str, say: Callable[[str], None]) -> tuple[list[str], list[str] | None]:
    """The labels of one side, and (of a JSON split) those of the other: words, one a line, or an object of lists."""
    if path.suffix != ".json":
        return list(read_phrases(path, say, as_written=True)), None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        found = {key.partition("_")[0]: [str(name) for name in names] for key, names in value.items()}
        return found[side], found.get("unseen")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"does not name the {side} labels ({error!r}).",
            where=str(path),
            remedy=f'Give words, one a line, or JSON such as {{"seen": [], "{side}": []}}.',
        ) from error


def _label_space(encoder: str, vocabulary: Vocabulary) -> LabelSpace:
    """A label space for new words, refused when its encoder is not the one that made the label vectors."""
    loaded = load_encoder(encoder_folder(encoder), foreign=foreign_encoder)
    theirs = loaded.encode(vocabulary.names)
    remedy = "Name the word vectors that the label vectors were taken from, or leave --encoder away."
    if theirs.shape[1] != vocabulary.dimension:
        raise InputError(
            f"gives {theirs.shape[1]} numbers, the labels have {vocabulary.dimension}.", where=encoder, remedy=remedy
        )
    lengths = np.linalg.norm(vocabulary.vectors, axis=1) * np.linalg.norm(theirs, axis=1)
    known = lengths > 0
    alike = (theirs * vocabulary.vectors).sum(axis=1)[known] / lengths[known]
    if not known.any() or np.median(alike) < _ALIKE or not np.allclose(lengths[known], 1, atol=0.01):
        median = float(np.median(alike)) if known.any() else 0.0
        raise InputError(
            f"did not make these label vectors: median cosine {median:.2f} over {int(known.sum())} labels.",
            where=encoder,
            remedy=remedy,
        )
    return LabelSpace.fit([SpacePart(encoder=encoder)], {encoder: loaded}, [vocabulary.names[np.argmax(known)]])


def _card(config: dict[str, Any], vocabulary: Vocabulary, checkpoint: Path) -> str:
    origin = config["provenance"]
    other = len(vocabulary.names_of("other"))
    encoders = ", ".join(config["encoders"])
    return _CARD.format(
        name=config["name"],
        file=checkpoint.name,
        digest=origin["checkpoint"],
        labels=origin["label_vectors"],
        labels_digest=origin["label_vectors_digest"],
        vectors=config["vectors"],
        dimension=config["dimension"],
        size=config["preprocess"]["height"],
        scores="standardised per image over the seen labels" if config["standardised"] else "raw, as the authors'",
        seen=len(vocabulary.seen),
        unseen=len(vocabulary.unseen),
        other=f", {other} other" if other else "",
        told=origin["seen_labels"],
        words=f"by the encoder {encoders}" if encoders else "none: it has no text encoder",
        version=origin["versions"]["tagprism"],
    )
