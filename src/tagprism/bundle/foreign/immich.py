"""The layout of `immich-app/*`: open_clip's own settings, two graphs of batch 1 that give unit vectors."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from tagprism.bundle.foreign.layout import (
    Adapter,
    Clean,
    Layout,
    Text,
    Vision,
    lacks,
    names_in,
    not_understood,
    preprocess_of,
    read_object,
    token,
    weights_beside,
    whole_number,
)
from tagprism.errors import InputError
from tagprism.images.preprocess import Preprocess
from tagprism.labels.encoders.sentence_encoder import open_tokenizer

NAME = "immich"
_VISUAL, _TEXTUAL, _CONFIG = "visual/model.onnx", "textual/model.onnx", "config.json"
_PREPROCESS, _TOKENIZER = "visual/preprocess_cfg.json", "textual/tokenizer.json"
_TOKENIZER_CONFIG = "textual/tokenizer_config.json"
_OUTPUTS = ("embedding", "text_embedding", "image_embedding")
_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_CLIP_TOKENS = (("<|startoftext|>", 49406), ("<|endoftext|>", 49407))
_RESIZE = {"shortest": "shortest", "squash": "squash"}


def _needed(names: Collection[str], form: str | None) -> list[str] | None:
    """As `layout.Adapter` says."""
    if not {_VISUAL, _TEXTUAL} & set(names):
        return None
    wanted = [_CONFIG, _VISUAL, _PREPROCESS, _TEXTUAL, _TOKENIZER, _TOKENIZER_CONFIG]
    lacks(names, wanted, "a model of Immich")
    if form is not None:
        raise InputError(f"a model of Immich has no form `{form}`.", remedy="Leave # and what follows it away.")
    return [*wanted, *(name for graph in (_VISUAL, _TEXTUAL) for name in weights_beside(names, graph, any_name=True))]


def _read(folder: Path, other: Path | None, form: str | None) -> Layout:
    """As `layout.Adapter` says."""
    config = read_object(folder / _CONFIG)
    text = config.get("text_cfg")
    if not isinstance(text, dict):
        raise not_understood("it has no `text_cfg`", folder / _CONFIG)
    return Layout(
        layout=NAME,
        name=folder.name,
        folder=folder,
        files={name: folder / name for name in _needed(names_in(folder), form) or ()},
        vision=Vision(folder / _VISUAL, _OUTPUTS, _preprocess(folder / _PREPROCESS)),
        text=_text(folder, text),
        dimension=whole_number(config.get("embed_dim")),
    )


def _preprocess(file: Path) -> Preprocess:
    its = read_object(file)
    size = its.get("size", 224)
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    mode, interpolation = its.get("resize_mode", "shortest"), its.get("interpolation", "bicubic")
    if mode not in _RESIZE:
        raise not_understood(f"resize_mode is {mode!r}", file)
    if its.get("mode", "RGB") != "RGB":
        raise not_understood(f"mode is {its['mode']!r}", file)
    values = {"height": height, "width": width, "resize": _RESIZE[mode], "interpolation": interpolation}
    return preprocess_of(values | {"mean": its.get("mean", _CLIP_MEAN), "std": its.get("std", _CLIP_STD)}, file)


def _text(folder: Path, text: dict[str, Any]) -> Text:
    where, settings = folder / _CONFIG, read_object(folder / _TOKENIZER_CONFIG)
    source = text.get("hf_tokenizer_name")
    if "nllb" in f"{source} {text.get('hf_model_name')}":
        raise not_understood("its text network (nllb) wants the mark of a language before each phrase", where)
    given = text.get("tokenizer_kwargs") or {}
    clean = given.get("clean", "lower" if source is None else "whitespace")
    cleans: dict[object, Clean] = {one: one for one in ("whitespace", "lower", "canonicalize")}
    if set(given) - {"clean"} or clean not in cleans:
        raise not_understood(f"tokenizer_kwargs is {given}", where)
    length, pad = text.get("context_length", 77), token(settings.get("pad_token"))
    if not isinstance(length, int) or not 1 < length <= 4096:
        raise not_understood(f"context_length is {length!r}", where)
    if source is not None and pad is None:
        raise not_understood("it names no pad_token", folder / _TOKENIZER_CONFIG)
    end = token(settings.get("eos_token")) if settings.get("add_eos_token") is True else None
    vocabulary = text.get("vocab_size", 49408 if source is None else None)
    file = folder / _TOKENIZER
    return Text(
        graph=folder / _TEXTUAL,
        outputs=_OUTPUTS,
        tokenizer=partial(open_tokenizer, file),
        source=file,
        length=length,
        # open_clip's own tokenizer fills up with 0, whatever the copy of it in this folder says: it matters where the
        # text network looks at all places (MobileCLIP).
        pad=0 if source is None or pad is None else pad,
        whole=True,
        clean=cleans[clean],
        end=end,
        vocabulary=vocabulary if isinstance(vocabulary, int) else None,
        fixed=_CLIP_TOKENS if source is None else (),
    )


ADAPTER = Adapter(NAME, _needed, _read)
