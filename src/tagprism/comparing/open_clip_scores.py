"""Plain CLIP to compare with: cosine of a picture and of `a photo of a LABEL.`, by any open_clip model.

CLIP learns from pictures with texts, so no label is certainly unseen by it. Needs the extra `[clip]`. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from numpy import ndarray

from tagprism.labels.phrases import spoken_phrase
from tagprism.network.open_clip_models import load_clip

PROMPT = "a photo of a {}."
_BATCH = 256


def clip_label_vectors(spec: str, names: Sequence[str]) -> Float32[ndarray, "L E"]:
    """Unit vectors of labels by a CLIP model's own text tower, each in the prompt `a photo of a LABEL.`.

    Args:
        spec: `open_clip:...`, see `open_clip_models`.
        names: L labels; they are spelt as label encoders spell them.

    Raises:
        InputError, MachineError: as `load_clip`.
    """
    clip, tokenise = load_clip(spec)
    prompts = [PROMPT.format(spoken_phrase(name)) for name in names]
    with torch.inference_mode():
        parts = [
            clip.encode_text(tokenise(prompts[start : start + _BATCH]), normalize=True)
            for start in range(0, len(prompts), _BATCH)
        ]
    vectors: Float32[ndarray, "L E"] = torch.cat(parts).float().numpy()
    return vectors
