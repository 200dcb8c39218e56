"""The layout of `Xenova/*` and `onnx-community/*` (transformers.js): graphs in several forms, vectors of any length."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from tagprism.bundle.foreign.layout import (
    Adapter,
    Layout,
    Vision,
    lacks,
    names_in,
    read_object,
    weights_beside,
    whole_number,
)
from tagprism.bundle.foreign.transformers_files import (
    CONFIG,
    PREPROCESSOR,
    SPECIAL_TOKENS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    family,
    read_preprocess,
    read_text,
)
from tagprism.errors import InputError

NAME = "transformers.js"
_VISION = re.compile(r"onnx/vision_model(?:_(\w+))?\.onnx")
_OUTPUTS = {"clip": (("image_embeds",), ("text_embeds",)), "siglip": (("pooler_output",), ("pooler_output",))}


def _needed(names: Collection[str], form: str | None) -> list[str] | None:
    """As `layout.Adapter` says; `form` is the ending of the graphs' names, such as `quantized` or `fp16`."""
    forms = [found[1] or "" for name in sorted(names) if (found := _VISION.fullmatch(name))]
    if not forms:
        return None
    if (form or "") not in forms:
        listed = ", ".join(f"#{one}" if one else "the plain one" for one in forms)
        what = f"has no form `{form or 'plain'}`; it has {listed}."
        raise InputError(what, remedy="Name one: hf-hub:owner/name#FORM.")
    graphs = _graphs(form)
    wanted = [CONFIG, PREPROCESSOR, TOKENIZER, *graphs]
    lacks(names, wanted, "a model for transformers.js")
    more = [name for name in (TOKENIZER_CONFIG, SPECIAL_TOKENS) if name in names]
    return [*wanted, *more, *(name for graph in graphs for name in weights_beside(names, graph))]


def _graphs(form: str | None) -> list[str]:
    return [f"onnx/{part}_model{f'_{form}' if form else ''}.onnx" for part in ("vision", "text")]


def _read(folder: Path, other: Path | None, form: str | None) -> Layout:
    """As `layout.Adapter` says."""
    config = read_object(folder / CONFIG)
    kind = family(config, folder / CONFIG)
    vision, text = (folder / name for name in _graphs(form))
    own = config.get("text_config")
    outputs = _OUTPUTS[kind]
    return Layout(
        layout=NAME,
        name=folder.name,
        folder=folder,
        files={name: folder / name for name in _needed(names_in(folder), form) or ()},
        vision=Vision(vision, outputs[0], read_preprocess(folder / PREPROCESSOR)),
        text=read_text(folder, text, kind, outputs[1], own if isinstance(own, dict) else {}),
        dimension=whole_number(config.get("projection_dim")) if kind == "clip" else None,
        form=form,
    )


ADAPTER = Adapter(NAME, _needed, _read)
