"""What folders of the transformers library say: preprocessing, and how CLIP and SigLIP read a phrase."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

from tagprism.bundle.foreign.layout import Text, not_understood, preprocess_of, read_object, token
from tagprism.images.preprocess import Preprocess
from tagprism.labels.encoders.sentence_encoder import open_tokenizer

PREPROCESSOR, TOKENIZER = "preprocessor_config.json", "tokenizer.json"
TOKENIZER_CONFIG, SPECIAL_TOKENS, CONFIG = "tokenizer_config.json", "special_tokens_map.json", "config.json"
_FILTERS = {2: "bilinear", 3: "bicubic"}
_PROCESSORS = {None, "CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPFeatureExtractor"}
# That of SigLIP 2 for pictures of any size (NaFlex) is not among them, as it makes other pixels.
_PROCESSORS |= {"SiglipImageProcessor", "SiglipImageProcessorFast"}
_CLIP_TOKENS = (("<|startoftext|>", 49406), ("<|endoftext|>", 49407))


def family(config: dict[str, Any], where: Path) -> str:
    """`clip` or `siglip`.

    Raises:
        InputError: it is another kind of model.
    """
    kind = config.get("model_type")
    if kind in ("clip", "clip_vision_model", "clip_text_model"):
        return "clip"
    if kind in ("siglip", "siglip_vision_model", "siglip_text_model", "siglip2"):
        return "siglip"
    raise not_understood(f"model_type is {kind!r}", where)


def read_preprocess(file: Path) -> Preprocess:
    """Settings of `preprocessor_config.json`.

    Raises:
        InputError: they are damaged or not understood.
    """
    its = read_object(file)
    kind = its.get("image_processor_type", its.get("feature_extractor_type"))
    if kind not in _PROCESSORS:
        raise not_understood(f"image_processor_type is {kind!r}", file)
    size, crop = its.get("size"), its.get("crop_size") if its.get("do_center_crop") else None
    short, height, width = _sides(size)
    _, crop_height, crop_width = _sides(crop)
    if its.get("do_resize", True) is not True or its.get("do_pad"):
        raise not_understood("it does not resize, or pads", file)
    if short is None and isinstance(size, int) and crop is not None:
        short, height, width = size, None, None  # an older form: the shorter side
    values: dict[str, Any] = {"resize": "squash", "height": height, "width": width}
    if short is not None:
        if crop_height is None or crop_height > short:
            raise not_understood(f"size is {size!r} with crop_size {crop!r}", file)
        values = {
            "resize": "shortest_floor",
            "height": crop_height,
            "width": crop_width,
            "crop_pct": crop_height / short,
        }
    elif crop is not None and (crop_height, crop_width) != (height, width):
        raise not_understood(f"size is {size!r} with crop_size {crop!r}", file)
    scale = its.get("rescale_factor", 1 / 255) if its.get("do_rescale", True) else None
    if not isinstance(scale, float) or not math.isclose(scale, 1 / 255, rel_tol=1e-6):
        raise not_understood(f"pixels are multiplied by {scale!r}, not 1/255", file)
    if its.get("resample", 3) not in _FILTERS:
        raise not_understood(f"resample is {its['resample']!r}", file)
    plain = its.get("do_normalize", True) is False
    mean, std = ([0, 0, 0], [1, 1, 1]) if plain else (its.get("image_mean"), its.get("image_std"))
    values |= {"interpolation": _FILTERS[its.get("resample", 3)], "mean": mean, "std": std}
    return preprocess_of(values, file)


def _sides(size: Any) -> tuple[int | None, int | None, int | None]:
    """Shorter side, height and width, those that are said."""
    if isinstance(size, dict):
        return size.get("shortest_edge"), size.get("height"), size.get("width")
    return None, size, size


def read_text(folder: Path, graph: Path, kind: str, outputs: tuple[str, ...], config: dict[str, Any]) -> Text:
    """How the text network of `clip` or `siglip` is fed.

    Args:
        folder: where the tokenizer is.
        graph: the network.
        kind: as `family` says.
        outputs: names of its output.
        config: of the text network.

    Raises:
        InputError: a file is damaged, or a setting not understood.
    """
    file, settings = folder / TOKENIZER, _tokenizer_settings(folder)
    length = config.get("max_position_embeddings", 77 if kind == "clip" else 64)
    vocabulary = config.get("vocab_size", 49408 if kind == "clip" else None)
    pad, end = token(settings.get("pad_token")), token(settings.get("eos_token"))
    if not isinstance(length, int) or not 1 < length <= 4096:
        raise not_understood(f"max_position_embeddings is {length!r}", folder / CONFIG)
    if pad is None or end is None:
        raise not_understood("it names no pad_token or no eos_token", folder / TOKENIZER_CONFIG)
    siglip = kind == "siglip"
    punctuation_goes = siglip and settings.get("tokenizer_class") in ("SiglipTokenizer", "SiglipTokenizerFast")
    return Text(
        graph=graph,
        outputs=outputs,
        tokenizer=partial(open_tokenizer, file),
        source=file,
        length=length,
        pad=pad,
        whole=siglip,  # which looks at the last of exactly 64 places
        clean="canonicalize" if punctuation_goes else "lower" if siglip else "whitespace",
        end=end if siglip else None,  # some of its tokenizer.json do not append it
        vocabulary=vocabulary if isinstance(vocabulary, int) else None,
        fixed=() if siglip else _CLIP_TOKENS,
    )


def _tokenizer_settings(folder: Path) -> dict[str, Any]:
    """`tokenizer_config.json`, over `special_tokens_map.json` where the folder has one."""
    both = [folder / name for name in (SPECIAL_TOKENS, TOKENIZER_CONFIG)]
    found: dict[str, Any] = {}
    for file in both:
        found |= read_object(file) if file.is_file() else {}
    return found
