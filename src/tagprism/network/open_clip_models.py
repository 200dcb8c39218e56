"""Open a CLIP model of open_clip by its name. Knows neither pictures nor labels; needs `[clip]` when called.

A name is `open_clip:MODEL/TAG` (weights from open_clip's hub), `open_clip:MODEL/FILE`, `open_clip:MODEL/random` (for
dry runs: drawn from a fixed seed), or, with open_clip's own config, `open_clip:local-dir:FOLDER` and
`open_clip:hf-hub:OWNER/NAME`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tagprism.errors import InputError, MachineError
from tagprism.files import digest_file, digest_json

PREFIX = "open_clip:"
_FORM = f"Name it as {PREFIX}ViT-B-32/laion2b_s34b_b79k, {PREFIX}ViT-B-32/FILE or {PREFIX}local-dir:FOLDER."
_WEIGHTS = (".bin", ".safetensors", ".pt", ".pth")


def load_clip(spec: str, *, random: bool = False) -> tuple[Any, Any]:
    """The whole model in evaluation mode, float32, on the CPU, and its tokeniser.

    Args:
        spec: a name with the prefix `open_clip:`.
        random: weights from a fixed seed in place of the named ones.

    Raises:
        InputError: open_clip is not installed, has no such model, or the weights do not fit.
        MachineError: the weights cannot be had.
    """
    name, weights = _parse(spec)
    open_clip = _open_clip(spec)
    quick = _quick(open_clip, name, weights)
    try:
        if random or weights == "random":
            clip = _random(open_clip, name, quick)
        else:
            clip = open_clip.create_model(name, weights, force_quick_gelu=quick, require_pretrained=True)
        return clip.eval(), open_clip.get_tokenizer(name)
    except Exception as error:  # open_clip raises whatever its hub, its files and torch raise
        raise _not_loaded(spec, error) from error


def _quick(open_clip: Any, name: str, weights: str | None) -> bool:
    """Whether a tag's weights were trained with OpenAI's own activation; also another network to load them into."""
    config = None if weights is None else open_clip.get_pretrained_cfg(name, weights)
    return bool((config or {}).get("quick_gelu"))


def _random(open_clip: Any, name: str, quick: bool) -> Any:
    import torch

    logging.disable(logging.WARNING)  # open_clip warns of weights that are random
    try:
        with torch.random.fork_rng(devices=[]):  # the same weights every time, whatever the process has drawn
            torch.manual_seed(0)
            return open_clip.create_model(name, load_weights=False, force_quick_gelu=quick)
    finally:
        logging.disable(logging.NOTSET)


def clip_digest(spec: str) -> str:
    """SHA-256 over the weights and the config of a model, which is not loaded; errors as for `load_clip`."""
    name, weights = _parse(spec)
    open_clip = _open_clip(spec)
    try:
        if name.startswith("local-dir:"):
            files = sorted(Path(name.removeprefix("local-dir:")).iterdir())
            return digest_json({file.name: digest_file(file) for file in files if file.suffix in (".json", *_WEIGHTS)})
        pretrained = None if weights is None else open_clip.get_pretrained_cfg(name, weights)
        if weights == "random":
            source = "random"
        elif weights is None:
            source = digest_file(Path(open_clip.pretrained.download_pretrained_from_hf(name.removeprefix("hf-hub:"))))
        else:
            source = digest_file(Path(open_clip.download_pretrained(pretrained) if pretrained else weights))
        return digest_json([source, open_clip.get_model_config(name), _quick(open_clip, name, weights)])
    except Exception as error:
        raise _not_loaded(spec, error) from error


def clip_label(spec: str) -> str:
    """A short name of a model for tables and folders: without the prefix and the folders of a file."""
    name, weights = _split(spec)
    if weights is None:
        return Path(name.partition(":")[2]).name
    return f"{name}-{Path(weights).stem if _is_file(weights) else weights}"


def _open_clip(spec: str) -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise InputError(
            f"`{spec}` needs the extra `clip`, which is not installed.",
            remedy='Install it with: pip install "tagprism[clip]"',
        ) from error
    return open_clip


def _split(spec: str) -> tuple[str, str | None]:
    name = spec.removeprefix(PREFIX)
    if name.startswith(("local-dir:", "hf-hub:")):
        return name, None
    model, _, weights = name.partition("/")
    return model, weights


def _parse(spec: str) -> tuple[str, str | None]:
    """open_clip's model name, and its weights where they are named apart."""
    open_clip = _open_clip(spec)
    name, weights = _split(spec)
    if weights is None:
        return name, None
    if name not in open_clip.list_models():
        raise InputError(f"open_clip has no model `{name}`.", where=spec, remedy=_FORM)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights not in (*tags, "random") and not _is_file(weights):
        known = f"Its tags: {', '.join(tags)}." if tags else "It has no tags: name a file."
        raise InputError(f"`{weights}` is neither a tag of {name} nor a file of weights.", where=spec, remedy=known)
    return name, weights


def _is_file(weights: str) -> bool:
    return Path(weights).is_file()


def _not_loaded(spec: str, error: Exception) -> InputError | MachineError:
    name, weights = _split(spec)
    text = f"the CLIP model cannot be loaded ({error})."
    if name.startswith("local-dir:") or weights == "random" or (weights is not None and _is_file(weights)):
        return InputError(text, where=spec, remedy=_FORM)
    return MachineError(text, where=spec, remedy=f"Check the network, or name a local file or folder. {_FORM}")
