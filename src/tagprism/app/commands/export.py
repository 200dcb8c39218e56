"""`tagprism export`: a model as a bundle of its own, smaller if wanted, checked on real pictures before it is there."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float32

from tagprism.app import console
from tagprism.bundle.agreement import Agreement, measure_agreement
from tagprism.bundle.bundle import CARD, MODEL, TEXT, VOCABULARY, Bundle, write_config
from tagprism.bundle.find import find_bundle
from tagprism.bundle.onnx_model import OnnxNetwork
from tagprism.errors import InputError, PictureError
from tagprism.files import replaced_whole, write_text
from tagprism.images.stream import process_pictures
from tagprism.images.walk import find_pictures
from tagprism.labels.encoders.card import read_card
from tagprism.labels.encoders.encoder import load_encoder
from tagprism.labels.vocabulary import Vocabulary
from tagprism.provenance import made_with
from tagprism.tagging.tagger import Tagger, load

Precision: TypeAlias = Literal["fp32", "fp16", "int8"]
_Network: TypeAlias = Callable[[np.ndarray], np.ndarray]
_Pixels: TypeAlias = Float32[np.ndarray, "N 3 H W"]

_BATCH, _PICTURES, _FEWEST_FOR_INT8 = 16, 128, 16
_BOUNDS: dict[str, tuple[float, float]] = {"fp32": (0.99999, 99), "fp16": (0.9999, 99), "int8": (0.99, 85)}
"""Least mean cosine of the ranking matrices' rows, and least agreement of the top 5 in percent, by precision."""
_HEADING = "## Export"


def export(
    model: str,
    into: Path,
    precision: Precision,
    text: bool | None,
    photos: tuple[Path, ...],
    min_agreement: float | None,
    quiet: bool,
) -> int:
    """Write, check and say what was found; nothing is left behind when the check fails. 4: pictures were skipped."""
    run = find_bundle(model)
    tagger = load(run)
    _check_target(into, tagger.bundle)
    _check_precision(tagger.bundle, precision)
    pixels, skipped = _read_pictures(_choose_pictures(photos, run), tagger, quiet)
    measured_on, network = _reference(run, tagger)
    with replaced_whole(into) as folder:
        folder.mkdir()
        _copy(tagger.bundle, folder)
        checked = _write_network(tagger.bundle, folder, precision, pixels)
        tagger.vocabulary.save(folder / VOCABULARY, halves=precision != "fp32")
        encoders = _write_encoders(tagger, folder, precision, quiet) if _wants_text(tagger, text) else {}
        console.say(f"comparing with {measured_on}", quiet=quiet)
        agreement = _measure(tagger, network, folder, checked)
        _check_bounds(agreement, precision, min_agreement, into)
        note = {"from": tagger.bundle.digest, "against": measured_on, **agreement.to_json(), "encoders": encoders}
        _write_words(tagger, folder, precision, note)
        Bundle(folder).model  # noqa: B018 (opened once as its users will)
    size = sum(file.stat().st_size for file in into.rglob("*") if file.is_file()) / 1e6
    console.say(f"{agreement}", quiet=quiet)
    console.say(f"finished: {into} ({precision}, {size:.1f} MB)", quiet=quiet)
    return console.report_skipped(skipped)


def _check_target(into: Path, bundle: Bundle) -> None:
    if into.exists() and not (into.is_dir() and not any(into.iterdir())):
        raise InputError("exists already.", where=str(into), remedy="Delete it, or choose another --into.")
    if bundle.path.resolve() in into.resolve().parents:
        raise InputError("is inside the bundle that is to be copied.", where=str(into), remedy="Choose another --into.")


def _check_precision(bundle: Bundle, precision: Precision) -> None:
    if bundle.config.precision not in ("fp32", precision):
        raise InputError(
            f"is stored as {bundle.config.precision}; {precision} cannot be made of it.",
            where=str(bundle.path),
            remedy="Export from the fp32 bundle or the RUN.",
        )
    if precision != bundle.config.precision:
        console.require_extra("train", "onnx")


def _choose_pictures(photos: tuple[Path, ...], run: Path) -> list[Path]:
    """At most 128 pictures, drawn with a fixed seed: the given ones, else the run's own."""
    found = find_pictures(photos) if photos else _own_pictures(run)
    if not found:
        raise InputError(
            "there are no pictures to check the bundle on.",
            where=", ".join(map(str, photos)) or str(run),
            remedy="Name some like those it will see: --photos FOLDER_OR_FILES",
        )
    drawn = np.random.default_rng(0).permutation(len(found))[:_PICTURES]
    return [found[place] for place in sorted(drawn.tolist())]


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


def _read_pictures(files: Sequence[Path], tagger: Tagger, quiet: bool) -> tuple[_Pixels, list[tuple[str, str]]]:
    skipped: list[tuple[str, str]] = []
    pixels: list[np.ndarray] = []
    with console.progress(quiet)("reading pictures", len(files)) as advance:
        for path, seen in zip(files, process_pictures(files, tagger.preprocess, np.copy), strict=True):
            if isinstance(seen.output, PictureError):
                skipped.append((os.fspath(path), seen.output.message))
            else:
                pixels.append(seen.output)
            advance(1)
    if not pixels:
        raise InputError(f"none of {len(files)} pictures can be used. The first: {skipped[0][1]}", where=skipped[0][0])
    return np.stack(pixels), skipped


def _reference(run: Path, tagger: Tagger) -> tuple[str, _Network]:
    """What the new bundle is held against: the torch network of a RUN, where there is torch, else the source's ONNX."""
    if (run / "weights.safetensors").is_file() and importlib.util.find_spec("torch") is not None:
        from tagprism.training.torch_engine import torch_matrices

        return "the run's torch network", torch_matrices(run, tagger.vocabulary)
    return f"the source bundle ({tagger.bundle.config.precision})", tagger.bundle.matrices


def _copy(bundle: Bundle, folder: Path) -> None:
    """All files of the bundle but those that are written anew: network, vocabulary, text encoders."""
    encoders = tuple(f"{TEXT}/{name}/" for name in bundle.config.encoders.values())
    for name in (*bundle.config.digests, CARD):
        if name not in (MODEL, VOCABULARY) and not name.startswith(encoders) and (bundle.path / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / name, folder / name)


def _write_network(bundle: Bundle, folder: Path, precision: Precision, pixels: _Pixels) -> _Pixels:
    """Write the network; the pictures that are left to check it on, where int8 took its ranges from the others."""
    if precision == bundle.config.precision or precision == "fp32":
        shutil.copyfile(bundle.path / MODEL, folder / MODEL)
        return pixels
    from tagprism.network.quantise import quantise_network

    if precision == "fp16":
        quantise_network(bundle.path / MODEL, folder / MODEL, precision)
        return pixels
    if len(pixels) < _FEWEST_FOR_INT8:
        raise InputError(
            f"int8 needs {_FEWEST_FOR_INT8} pictures or more; there are {len(pixels)} that can be read.",
            where="--photos",
            remedy="Name more of the kind that the model will see, or use --precision fp16.",
        )
    ranges = pixels[::2]
    batches = (ranges[start : start + _BATCH] for start in range(0, len(ranges), _BATCH))
    quantise_network(bundle.path / MODEL, folder / MODEL, precision, batches)
    return pixels[1::2]


def _wants_text(tagger: Tagger, text: bool | None) -> bool:
    bundle = tagger.bundle
    return text if text is not None else any(map(bundle.encoder_folder, bundle.config.encoders))


def _write_encoders(tagger: Tagger, folder: Path, precision: Precision, quiet: bool) -> dict[str, str]:
    """Put the text encoders into the bundle, sentence encoders as int8 where the network is; what became of each."""
    if tagger.bundle.text is None:
        raise InputError("has no label space, so text encoders are of no use to it.", where=str(tagger.bundle.path))
    written = {}
    for name, source in tagger.encoder_folders.items():
        if source is None:
            raise InputError(
                f"the text encoder {name} is neither in the bundle nor on this machine.",
                where=str(tagger.bundle.path),
                remedy=f"Make it first: tagprism labels build-encoder --for {tagger.bundle.path}",
            )
        target, card = folder / TEXT / tagger.bundle.config.encoders[name], read_card(source)
        load_encoder(source, source_digest=tagger.bundle.config.encoder_digests.get(name))  # refuses another source
        if precision == "int8" and card.kind == "sentence" and card.precision == "fp32":
            from tagprism.network.encoder_precision import cosines, write_int8

            target.mkdir(parents=True)
            write_int8(source, target)
            mean, least = cosines(source, target, tagger.vocabulary.names)
            written[name] = f"int8, cosine to fp32 over the vocabulary: mean {mean:.5f}, min {least:.4f}"
        else:
            shutil.copytree(source, target)
            written[name] = card.precision
        console.say(f"text encoder {name}: {written[name]}", quiet=quiet)
    return written


def _measure(tagger: Tagger, network: _Network, folder: Path, pixels: _Pixels) -> Agreement:
    found = OnnxNetwork(folder / MODEL)
    names = tagger.vocabulary.names
    queries = tagger.scoring_vectors_of(names, Vocabulary.load(folder / VOCABULARY).vectors)
    batches = [pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH)]
    expected, got = (np.concatenate([one(batch) for batch in batches]) for one in (network, found))
    return measure_agreement(expected, got, tagger.scoring_vectors(names), queries)


def _check_bounds(agreement: Agreement, precision: Precision, min_agreement: float | None, into: Path) -> None:
    cosine, least = _BOUNDS[precision]
    least = least if min_agreement is None else min_agreement
    if not (agreement.mean_cosine >= cosine and 100 * agreement.top_k_agreement >= least):
        raise InputError(
            f"the {precision} network is too far from the original: {agreement}. Wanted are a mean cosine of "
            f"{cosine} and {least:g} %.",
            where=str(into),
            remedy="Use a higher precision, or more pictures like those it will see; --min-agreement moves the bound.",
        )


def _write_words(tagger: Tagger, folder: Path, precision: Precision, note: dict[str, Any]) -> None:
    """Write the config, and add to the model card what was measured."""
    config = tagger.bundle.config
    cards = {name: read_card(at).digest for name, at in tagger.encoder_folders.items() if at is not None}
    changes = {
        "precision": precision,
        "encoder_digests": cards | config.encoder_digests,
        "provenance": config.provenance | {"export": note | made_with()},
    }
    write_config(folder, config.model_dump(mode="json") | changes)
    card = folder / CARD
    text = card.read_text(encoding="utf-8").partition(_HEADING)[0] if card.is_file() else f"# {config.name}\n"
    facts = "".join(f"- {name}: {value}\n" for name, value in note.items())
    write_text(card, f"{text.rstrip()}\n\n{_HEADING}\n\n- precision: {precision}\n{facts}")
