"""The layout of fastembed (`Qdrant/clip-ViT-B-32-vision`): a graph in each of two folders, `X-vision` and `X-text`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from tagprism.bundle.foreign.layout import Layout, Vision, lacks, read_object, weights_beside
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

NAME = "fastembed"
_GRAPH = "model.onnx"
_HALVES = {"-vision": "-text", "-text": "-vision"}


def needed(names: Collection[str], form: str | None) -> list[str] | None:
    """As `layout.Adapter` says, of either half."""
    if _GRAPH not in names or not {PREPROCESSOR, TOKENIZER} & set(names) or "vocabulary.safetensors" in names:
        return None
    if form is not None:
        raise InputError(f"a model of fastembed has no form `{form}`.", remedy="Leave # and what follows it away.")
    wanted = [CONFIG, _GRAPH]
    lacks(names, wanted, "a model of fastembed")
    more = [name for name in (PREPROCESSOR, TOKENIZER, TOKENIZER_CONFIG, SPECIAL_TOKENS) if name in names]
    return [*wanted, *more, *weights_beside(names, _GRAPH)]


def partner(name: str) -> str | None:
    """As `layout.Adapter` says.

    Raises:
        InputError: the name has neither ending.
    """
    for ending, other in _HALVES.items():
        if name.endswith(ending):
            return name.removesuffix(ending) + other
    what = "holds one network, and its name ends neither in -vision nor in -text, so that the other is not found."
    raise InputError(what, where=name, remedy="Call the two folders X-vision and X-text, and put them side by side.")


def read(folder: Path, partner: Path | None, form: str | None) -> Layout:
    """As `layout.Adapter` says."""
    assert partner is not None
    vision, text = (folder, partner) if (folder / PREPROCESSOR).is_file() else (partner, folder)
    files: dict[str, Path] = {}
    for half, at, wanted in (("vision", vision, PREPROCESSOR), ("text", text, TOKENIZER)):
        names = [file.name for file in at.iterdir()] if at.is_dir() else []
        lacks(names, [CONFIG, _GRAPH, wanted], f"the {half} half of a model of fastembed ({at})")
        files |= {f"{half}/{name}": at / name for name in needed(names, None) or ()}
    kind = family(read_object(vision / CONFIG), vision / CONFIG)
    config = read_object(text / CONFIG)
    if family(config, text / CONFIG) != kind:
        raise InputError("is of another kind than its other half.", where=str(text))
    outputs = ("image_embeds", "text_embeds") if kind == "clip" else ("pooler_output", "pooler_output")
    inner = config.get("text_config")
    return Layout(
        layout=NAME,
        name=folder.name.removesuffix("-vision").removesuffix("-text"),
        folder=folder,
        files=files,
        vision=Vision(vision / _GRAPH, (outputs[0],), read_preprocess(vision / PREPROCESSOR)),
        text=read_text(text, text / _GRAPH, kind, (outputs[1],), inner if isinstance(inner, dict) else config),
    )
