"""Plain CLIP scores to compare with: cosine of a picture and of `a photo of a LABEL.`, by any open_clip model.

CLIP learns from pictures with texts, so no label is certainly unseen by it. Needs the extra `[clip]`. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor, nn

from tagprism.errors import InputError, MachineError
from tagprism.images.preprocess import Preprocess
from tagprism.model.backbones import FeatureNetwork

PREFIX = "open_clip:"
PROMPT = "a photo of a {}."
_BATCH = 256
_FORM = f"Name it as {PREFIX}ViT-B-32/laion2b_s34b_b79k, {PREFIX}ViT-B-32/FILE or {PREFIX}local-dir:FOLDER."


class ClipModel(FeatureNetwork):
    """A CLIP model: pixels to unit image vectors, phrases to unit text vectors of the same space.

    Args:
        spec: `open_clip:MODEL/WEIGHTS` with a name of open_clip and a tag or a file of weights, or
            `open_clip:local-dir:FOLDER` and `open_clip:hf-hub:OWNER/NAME` with open_clip's own config.

    Attributes:
        preprocess: how the model wants its pictures.

    Raises:
        InputError: open_clip is not installed, has no such model, or the weights do not fit.
        MachineError: the weights cannot be had.
    """

    def __init__(self, spec: str) -> None:
        super().__init__()
        clip, self._tokenise = _load(spec)
        self.name, self.network = f"{spec} pictures", clip.visual
        self._clip = [clip]  # in a list: the text tower is no part of what is exported and cached by
        self.preprocess = _preprocess(clip.visual.preprocess_cfg, spec)
        with torch.inference_mode():
            example = torch.zeros(1, 3, self.preprocess.height, self.preprocess.width)
            self.features = int(self.eval()(example).shape[1])

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Unit vectors of prepared pixels."""
        found = self.network(pixels)
        vectors: Tensor = found[0] if isinstance(found, tuple) else found  # CoCa also gives its tokens
        return nn.functional.normalize(vectors, dim=-1)

    def embed(self, names: Sequence[str]) -> Float32[ndarray, "L D"]:
        """Unit vectors of labels, each in the prompt `a photo of a LABEL.`."""
        (clip,) = self._clip
        prompts = [PROMPT.format(name.replace("_", " ")) for name in names]
        device = next(clip.parameters()).device
        with torch.inference_mode():
            parts = [
                clip.encode_text(self._tokenise(prompts[start : start + _BATCH]).to(device), normalize=True)
                for start in range(0, len(prompts), _BATCH)
            ]
        vectors: Float32[ndarray, "L D"] = torch.cat(parts).float().cpu().numpy()
        return vectors


def _load(spec: str) -> tuple[Any, Any]:
    """The model in evaluation mode and its tokeniser."""
    try:
        import open_clip
    except ImportError as error:
        raise InputError(
            f"`{spec}` needs the extra `clip`, which is not installed.",
            remedy='Install it with: pip install "tagprism[clip]"',
        ) from error
    name = spec.removeprefix(PREFIX)
    local = name.startswith("local-dir:")
    weights = None
    if not local and not name.startswith("hf-hub:"):
        name, _, weights = name.partition("/")
        if name not in open_clip.list_models():
            raise InputError(f"open_clip has no model `{name}`.", where=spec, remedy=_FORM)
        tags = open_clip.list_pretrained_tags_by_model(name)
        if weights not in tags and not Path(weights).is_file():
            known = f"Its tags: {', '.join(tags)}." if tags else "It has no tags: name a file."
            raise InputError(f"`{weights}` is neither a tag of {name} nor a file of weights.", where=spec, remedy=known)
    quick = bool(weights and (open_clip.get_pretrained_cfg(name, weights) or {}).get("quick_gelu"))
    try:
        clip = open_clip.create_model(name, weights, force_quick_gelu=quick, require_pretrained=True).eval()
        return clip, open_clip.get_tokenizer(name)
    except Exception as error:  # open_clip raises whatever its hub, its files and torch raise
        text = f"the CLIP model cannot be loaded ({error})."
        if local or (weights is not None and Path(weights).is_file()):
            raise InputError(text, where=spec, remedy=_FORM) from error
        raise MachineError(
            text, where=spec, remedy=f"Check the network, or name a local file or folder. {_FORM}"
        ) from error


def _preprocess(config: dict[str, Any], spec: str) -> Preprocess:
    """open_clip's own preparation of pictures, in our terms."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    ways = {"shortest": "crop", "longest": "pad", "squash": "squash"}
    if config["resize_mode"] not in ways or config["interpolation"] not in ("bicubic", "bilinear"):
        raise InputError(
            f"wants its pictures resized as `{config['resize_mode']}`, `{config['interpolation']}`, which is not "
            "known here.",
            where=spec,
        )
    return Preprocess.model_validate(
        {
            "height": height,
            "width": width,
            "resize": ways[config["resize_mode"]],
            "interpolation": config["interpolation"],
            "mean": config["mean"],
            "std": config["std"],
            "pad_color": (config.get("fill_color") or 0,) * 3,
        }
    )
