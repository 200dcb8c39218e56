"""A small CLIP model with random weights, in open_clip's own form on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

open_clip = pytest.importorskip("open_clip", reason="the extra [clip] is not installed")

VISION = {"image_size": 48, "layers": 2, "width": 64, "patch_size": 16}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
PREPARATION = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "resize_mode": "shortest"}


def make_clip(
    folder: Path, *, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **more: Any
) -> str:
    """Write a random model; its name for tagprism. `more` goes to the model's or the preparation's config."""
    folder.mkdir()
    preparation = PREPARATION | {key: more.pop(key) for key in list(more) if key in ("resize_mode", "interpolation")}
    model = {"embed_dim": 24, "vision_cfg": VISION | (vision or {}), "text_cfg": TEXT | (text or {}), **more}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preparation}))
    torch.manual_seed(0)
    made = open_clip.create_model(f"local-dir:{folder}")
    torch.save(made.state_dict(), folder / "open_clip_pytorch_model.bin")
    return f"open_clip:local-dir:{folder}"


def theirs(spec: str) -> tuple[Any, Any, Any]:
    """open_clip's own model, transform of pictures and tokeniser."""
    name = spec.removeprefix("open_clip:")
    model, _, transform = open_clip.create_model_and_transforms(name)
    return model.eval(), transform, open_clip.get_tokenizer(name)
