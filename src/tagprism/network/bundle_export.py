"""A model as a bundle of its own, smaller if wanted, checked on real pictures before it is there. Imports no torch."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float32

from tagprism.bundle.agreement import Agreement, measure_agreement
from tagprism.bundle.bundle import Bundle
from tagprism.bundle.card import check_inside, read_model_card
from tagprism.bundle.config import CONFIG, MODEL, TEXT, VOCABULARY
from tagprism.bundle.onnx_model import RecordNetwork
from tagprism.bundle.record import Records
from tagprism.bundle.referring import foreign_encoder, network_files, on_foreign
from tagprism.bundle.write import Content, check_new, made_with, write_bundle
from tagprism.counted import counted
from tagprism.errors import InputError, PictureError
from tagprism.files import digest_file
from tagprism.images.stream import process_pictures
from tagprism.images.walk import find_pictures
from tagprism.labels.encoders.encoder import load_encoder, read_card
from tagprism.labels.vocabulary import Vocabulary
from tagprism.progress import Progress, silent
from tagprism.tagging.tagger import Tagger, load
from tagprism.tagging.text_encoders import encoder_folders

Precision: TypeAlias = Literal["fp32", "fp16", "int8"]
Look: TypeAlias = Callable[[np.ndarray], Records]
_Pixels: TypeAlias = Float32[np.ndarray, "N 3 H W"]

_BATCH, _PICTURES, _FEWEST_FOR_INT8 = 16, 128, 16
BOUNDS: dict[str, tuple[float, float]] = {"fp32": (0.99999, 99), "fp16": (0.9999, 99), "int8": (0.99, 85)}
"""Least mean cosine of the records' rows, and least agreement of the top 5 in percent, by precision."""
_HEADING = "## Export"


@dataclass(frozen=True)
class Export:
    """A bundle that was written.

    Args:
        bundle: the folder.
        agreement: of its network with `compared_with` on the pictures.
        compared_with: what the network was compared with, in words.
        encoders: text encoder -> how it is stored.
        skipped: (path, reason) of pictures that could not be used.
    """

    bundle: Path
    agreement: Agreement
    compared_with: str
    encoders: Mapping[str, str]
    skipped: Sequence[tuple[str, str]]


def export_bundle(
    model: Path,
    into: Path,
    precision: Precision = "fp32",
    *,
    text: bool | None = None,
    with_network: bool = False,
    photos: Sequence[Path] = (),
    min_agreement: float | None = None,
    torch_network: Look | None = None,
    progress: Progress = silent,
) -> Export:
    """Write a model as a bundle of its own and check it on pictures; nothing is left behind when the check fails.

    Args:
        model: folder of a RUN or bundle (`bundle.bundle.find_bundle` gives it by name).
        into: folder to write.
        precision: how the weights are stored; fp16 and int8 need the extra `train`.
        text: with text encoders or without; None: as the model has them.
        with_network: bring the files of the foreign model that the bundle is on top of.
        photos: pictures and folders to check with; those that a RUN remembers where none are named.
        min_agreement: least agreement of the top 5, in percent; None for that of `BOUNDS`.
        torch_network: pixels -> records by the RUN's own weights (`training.torch_engine.torch_records`) to compare
            with; the bundle's network when None.
        progress: told of the pictures read.

    Raises:
        InputError: there is something at `into`, there are no pictures to check with, the precision cannot be made, or
            the written network is too far from the original.
        MachineError: the folder cannot be written.
    """
    tagger = load(model)
    bundle = tagger.bundle
    if not isinstance(bundle, Bundle):
        raise InputError("is a public model, of which no bundle is made.", where=str(model), remedy="Use it as it is.")
    _check_target(into, bundle)
    _check_precision(bundle, precision)
    if with_network and bundle.foreign is None:
        what = "has its whole network in it already."
        raise InputError(what, where=str(bundle.path), remedy="Leave --with-network away.")
    card = read_model_card(bundle.path) or f"# {bundle.config.name}\n"
    pixels, skipped = _read_pictures(_choose_pictures(photos, model), tagger, progress)
    bundle.records(pixels[:2])  # within its limits, which the quantiser would not keep
    against = "the run's torch network" if torch_network else f"the source bundle ({tagger.bundle.config.precision})"
    with tempfile.TemporaryDirectory() as scratch:
        network, vocabulary = Path(scratch, MODEL), Path(scratch, VOCABULARY)
        checked = _write_network(bundle, network, precision, pixels)
        tagger.vocabulary.save(vocabulary, halves=precision != "fp32")
        agreement = _measure(tagger, torch_network or tagger.bundle.records, network, vocabulary, checked)
        _check_bounds(agreement, precision, min_agreement, into)
        files = {**_kept(bundle), MODEL: _copy_of(network), VOCABULARY: _copy_of(vocabulary)}
        if with_network and bundle.foreign is not None:
            files |= network_files(bundle.foreign)
        encoders: dict[str, str] = {}
        for name, folder in _encoder_sources(tagger).items() if _wants_text(tagger, text) else ():
            target = f"{TEXT}/{tagger.bundle.config.encoders[name]}"
            files[target], encoders[name] = _encoder(folder, precision, tagger, Path(scratch, name))
        note = {"from": tagger.bundle.digest, "against": against, **agreement.to_json(), "encoders": encoders}
        config = _config(tagger, precision, note) | {"formerly": _formerly(bundle, network, vocabulary)}
        write_bundle(into, files, config, _card(card, precision, note), replace=False)
    return Export(into, agreement, against, encoders, skipped)


def _check_target(into: Path, bundle: Bundle) -> None:
    check_new(into)
    if bundle.path.resolve() in into.resolve().parents:
        raise InputError("is inside the bundle that is to be copied.", where=str(into), remedy="Choose another --into.")


def _check_precision(bundle: Bundle, precision: Precision) -> None:
    if bundle.config.precision not in ("fp32", precision):
        raise InputError(
            f"is stored as {bundle.config.precision}; {precision} cannot be made of it.",
            where=str(bundle.path),
            remedy=f"Give --precision {bundle.config.precision}, or export from the fp32 bundle or the RUN.",
        )
    if bundle.config.foreign is not None and precision != "fp32":
        raise InputError(
            f"holds the head on top of a public model alone, which is small; there is no {precision} form of it.",
            where=str(bundle.path),
            remedy="Leave --precision away.",
        )


def _choose_pictures(photos: Sequence[Path], run: Path) -> list[Path]:
    """At most 128 pictures, drawn with a fixed seed: the given ones, else the run's own."""
    found = find_pictures(photos) if photos else _own_pictures(run)
    if not found:
        raise InputError(
            "there are no pictures to check the bundle on.",
            where=", ".join(map(str, photos)) or str(run),
            remedy="Name some like those it will see: --photos FOLDER_OR_FILES",
        )
    drawn = np.random.default_rng(0).permutation(len(found))[:_PICTURES]
    return [found[number] for number in sorted(drawn.tolist())]


def _own_pictures(run: Path) -> list[Path]:
    """Training pictures that a RUN made on this machine remembers, those that are still there."""
    listed = run / "pictures.json"
    if not listed.is_file():
        return []
    try:
        names = json.loads(listed.read_text(encoding="utf-8"))
        return [Path(name) for name in names if Path(name).is_file()]
    except (ValueError, TypeError) as error:
        raise InputError(f"is damaged ({error}).", where=str(listed), remedy="Delete it and use --photos.") from error


def _read_pictures(files: Sequence[Path], tagger: Tagger, progress: Progress) -> tuple[_Pixels, list[tuple[str, str]]]:
    skipped: list[tuple[str, str]] = []
    pixels: list[np.ndarray] = []
    with progress("reading pictures", len(files)) as advance:
        for path, seen in zip(files, process_pictures(files, tagger.preprocess, np.copy), strict=True):
            if isinstance(seen.output, PictureError):
                skipped.append((os.fspath(path), seen.output.message))
            else:
                pixels.append(seen.output)
            advance(1)
    if not pixels:
        raise InputError(
            f"none of {counted(len(files), 'picture')} can be used. The first: {skipped[0][1]}", where=skipped[0][0]
        )
    return np.stack(pixels), skipped


def _kept(bundle: Bundle) -> dict[str, Content]:
    """All files of the bundle but those that are written anew: network, vocabulary, text encoders."""
    encoders = tuple(f"{TEXT}/{name}/" for name in bundle.config.encoders.values())
    anew = (MODEL, VOCABULARY, *encoders)
    return {name: _copy_of(bundle.path / name) for name in bundle.config.digests if not name.startswith(anew)}


def _copy_of(file: Path) -> Content:
    return partial(shutil.copyfile, file)


def _write_network(
    bundle: Bundle, target: Path, precision: Precision, pixels: _Pixels
) -> Float32[np.ndarray, "K 3 H W"]:
    """Write the network; the pictures that are left to check it on, where int8 took its ranges from the others."""
    if precision == bundle.config.precision or precision == "fp32":
        shutil.copyfile(bundle.path / MODEL, target)
        return pixels
    try:
        from tagprism.network.quantise import quantise_network  # needs onnx
    except ImportError as error:
        raise InputError(
            f"{precision} weights need the extra `train`, which is not installed.",
            remedy='Install it with: pip install "tagprism[train]"',
        ) from error

    if precision == "fp16":
        quantise_network(bundle.path / MODEL, target, precision)
        return pixels
    if len(pixels) < _FEWEST_FOR_INT8:
        raise InputError(
            f"int8 needs {_FEWEST_FOR_INT8} pictures or more; there are {len(pixels)} that can be read.",
            where="--photos",
            remedy="Name more of the kind that the model will see, or use --precision fp16.",
        )
    ranges = pixels[::2]
    batches = (ranges[start : start + _BATCH] for start in range(0, len(ranges), _BATCH))
    quantise_network(bundle.path / MODEL, target, precision, batches)
    return pixels[1::2]


def _wants_text(tagger: Tagger, text: bool | None) -> bool:
    bundle = tagger.bundle
    return text if text is not None else any(map(bundle.encoder_folder, bundle.config.encoders))


def _encoder_sources(tagger: Tagger) -> dict[str, Path]:
    """Folder of every text encoder; each must be here and of the source that the model was trained with."""
    if tagger.bundle.text is None:
        raise InputError("has no label space, so text encoders are of no use to it.", where=str(tagger.bundle.path))
    found = {}
    for name, source in encoder_folders(tagger.bundle).items():
        if source is None:
            raise InputError(
                f"the text encoder {name} is neither in the bundle nor on this machine.",
                where=str(tagger.bundle.path),
                remedy=f"Make it first: tagprism labels build-encoder --for {tagger.bundle.path}",
            )
        digest = tagger.bundle.config.encoder_digests.get(name)
        load_encoder(source, source_digest=digest, foreign=partial(foreign_encoder, at_hand=tagger.bundle.foreign))
        if source.is_relative_to(tagger.bundle.path):  # else it is of this machine, where links are the user's own
            for file in source.rglob("*"):
                check_inside(tagger.bundle.path, file)
        found[name] = source
    return found


def _encoder(source: Path, precision: Precision, tagger: Tagger, scratch: Path) -> tuple[Content, str]:
    """What copies a text encoder, a sentence encoder as int8 where the network is; and how it is stored."""
    card = read_card(source)
    if not (precision == "int8" and card.kind == "sentence" and card.precision == "fp32"):
        return partial(shutil.copytree, source), card.precision
    from tagprism.network.onnx_weights import cosines, write_int8

    scratch.mkdir()
    write_int8(source, scratch)
    mean, least = cosines(source, scratch, tagger.vocabulary.names)
    return partial(
        shutil.copytree, scratch
    ), f"int8, cosine to fp32 over the vocabulary: mean {mean:.5f}, min {least:.4f}"


def _measure(tagger: Tagger, expected: Look, network: Path, vocabulary: Path, pixels: _Pixels) -> Agreement:
    own, names = RecordNetwork(network, tagger.bundle.config.dimension), tagger.vocabulary.names
    bundle = tagger.bundle
    found = on_foreign(bundle, bundle.foreign, own) if isinstance(bundle, Bundle) and bundle.foreign else own
    queries = tagger.scoring_vectors_of(names, Vocabulary.load(vocabulary).vectors)
    batches = [pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH)]
    wanted, got = (Records.joined(map(one, batches)) for one in (expected, found.records))
    return measure_agreement(wanted, got, tagger.scoring_vectors(names), queries)


def _check_bounds(agreement: Agreement, precision: Precision, min_agreement: float | None, into: Path) -> None:
    cosine, least = BOUNDS[precision]
    least = least if min_agreement is None else min_agreement
    if not (agreement.mean_cosine >= cosine and 100 * agreement.top_k_agreement >= least):
        raise InputError(
            f"the {precision} network is too far from the original: {agreement}. Wanted are a mean cosine of "
            f"{cosine} and {least:g} %.",
            where=str(into),
            remedy="Use a higher precision, or more pictures like those it will see; --min-agreement moves the bound.",
        )


def _config(tagger: Tagger, precision: Precision, note: Mapping[str, Any]) -> dict[str, Any]:
    config = tagger.bundle.config
    cards = {name: read_card(at).digest for name, at in encoder_folders(tagger.bundle).items() if at is not None}
    return config.model_dump(mode="json") | {
        "precision": precision,
        "encoder_digests": cards | config.encoder_digests,
        "provenance": config.provenance | {"export": {**note, **made_with()}},
    }


def _formerly(bundle: Bundle, network: Path, vocabulary: Path) -> tuple[str, ...]:
    """Bundles whose indexes fit: this one and those of before where network and vocabulary are the same to the byte."""
    its = bundle.config.digests
    same = digest_file(network) == its[MODEL] and digest_file(vocabulary) == its[VOCABULARY]
    return (*bundle.config.formerly, digest_file(bundle.path / CONFIG)) if same else ()


def _card(card: str, precision: Precision, note: Mapping[str, Any]) -> str:
    """The model card, and what was measured."""
    text = card.partition(_HEADING)[0]
    lines = "".join(f"- {name}: {value}\n" for name, value in note.items())
    return f"{text.rstrip()}\n\n{_HEADING}\n\n- precision: {precision}\n{lines}"
