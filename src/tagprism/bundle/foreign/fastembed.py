"""The layout of fastembed (`Qdrant/clip-ViT-B-32-vision`): a graph in each of two folders, `X-vision` and `X-text`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from tagprism.bundle.foreign.layout import Adapter, Layout, Vision, lacks, names_in, read_object, weights_beside
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


def _needed(names: Collection[str], form: str | None) -> list[str] | None:
    """As `layout.Adapter` says, of either half."""
    if _GRAPH not in names or not {PREPROCESSOR, TOKENIZER} & set(names) or "vocabulary.safetensors" in names:
        return None
    if form is not None:
        raise InputError(f"a model of fastembed has no form `{form}`.", remedy="Leave # and what follows it away.")
    wanted = [CONFIG, _GRAPH]
    lacks(names, wanted, "a model of fastembed")
    more = [name for name in (PREPROCESSOR, TOKENIZER, TOKENIZER_CONFIG, SPECIAL_TOKENS) if name in names]
    return [*wanted, *more, *weights_beside(names, _GRAPH)]


def _partner(name: str) -> str | None:
    """As `layout.Adapter` says.

    Raises:
        InputError: the name has neither ending.
    """
    for ending, other in _HALVES.items():
        if name.endswith(ending):
            return name.removesuffix(ending) + other
    what = "holds one network, and its name ends neither in -vision nor in -text, so that the other is not found."
    raise InputError(what, where=name, remedy="Call the two folders X-vision and X-text, and put them side by side.")


def _read(folder: Path, other: Path | None, form: str | None) -> Layout:
    """As `layout.Adapter` says."""
    assert other is not None
    vision, text = (folder, other) if (folder / PREPROCESSOR).is_file() else (other, folder)
    files: dict[str, Path] = {}
    for half, at, wanted in (("vision", vision, PREPROCESSOR), ("text", text, TOKENIZER)):
        names = names_in(at)
        lacks(names, [CONFIG, _GRAPH, wanted], f"the {half} half of a model of fastembed ({at})")
        files |= {f"{half}/{name}": at / name for name in _needed(names, None) or ()}
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


ADAPTER = Adapter(NAME, _needed, _read, _partner)
