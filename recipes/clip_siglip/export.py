"""Write any CLIP-like model of open_clip as ONNX in Immich's layout, which tagprism uses without torch and open_clip.

    python recipes/clip_siglip/export.py ViT-B-32 --into DIR/ViT-B-32-random         # random weights, for a dry run
    python recipes/clip_siglip/export.py coca_ViT-B-32 --weights TAG --into DIR/coca  # weights from open_clip's hub
    python recipes/clip_siglip/export.py local-dir:FOLDER --into DIR/mine            # your own, with open_clip's config

`onnx:DIR/coca` is then a backbone and a label encoder of a recipe, also where `open_clip:` refuses the text tower:
CoCa, SigLIP, and those with a tokenizer of transformers. Both graphs are checked against open_clip (cosine 0.9999).
Needs `pip install "tagprism[train,clip]"`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import open_clip
import torch


class _Call(torch.nn.Module):
    """A function of a network as a module of its own."""

    def __init__(self, network: torch.nn.Module, call: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network, self._call = network, call

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return self._call(value)


def load(name: str, weights: str | None) -> tuple[Any, Any, dict[str, Any]]:
    """The model, its tokenizer and its config."""
    torch.manual_seed(0)
    network = open_clip.create_model(name, weights, require_pretrained=weights is not None).eval().requires_grad_(False)
    if name.startswith("local-dir:"):
        config = json.loads((Path(name.partition(":")[2]) / "open_clip_config.json").read_text())["model_cfg"]
    else:
        config = open_clip.get_model_config(name)
    return network, open_clip.get_tokenizer(name), config


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """`tokenizer.json` and `tokenizer_config.json`."""
    if hasattr(tokenizer, "tokenizer"):  # one of transformers
        tokenizer.tokenizer.save_pretrained(folder)
        return
    from transformers import CLIPTokenizer

    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): number for token, number in tokenizer.encoder.items()}
    CLIPTokenizer(vocab=vocabulary, merges=list(tokenizer.bpe_ranks)).save_pretrained(folder)


def write_graph(call: _Call, example: torch.Tensor, file: Path, name: str) -> None:
    """One graph of batch 1, checked."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks of the exporter about itself
        torch.onnx.export(
            call.eval(), (example,), str(file), input_names=[name], output_names=["embedding"], dynamo=False
        )
    (found,) = onnxruntime.InferenceSession(str(file)).run(None, {name: example.numpy()})
    wanted = call(example).numpy()
    if (cosine := float(np.sum(found * wanted))) < 0.9999:
        sys.exit(f"{file}: the graph differs from open_clip's network, cosine {cosine:.4f}")


def main() -> None:
    """Load, export, check and move into place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="open_clip's name, or local-dir:FOLDER")
    parser.add_argument("--weights", help="open_clip's tag or a file; random when absent (local-dir: brings its own)")
    parser.add_argument("--into", type=Path, required=True, help="new folder, named as the model shall be called")
    given = parser.parse_args()
    if given.into.exists():
        sys.exit(f"{given.into} exists already")
    network, tokenizer, config = load(given.model, given.weights)
    torch.backends.mha.set_fastpath_enabled(False)  # which cannot be exported
    beside = given.into.with_name(f".{given.into.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    (beside / "textual").mkdir(parents=True)
    write_tokenizer(tokenizer, beside / "textual")
    prepared = dict(network.visual.preprocess_cfg)
    size = prepared["size"]
    height, width = (size, size) if isinstance(size, int) else size
    image = _Call(network, lambda pixels: network.encode_image(pixels, normalize=True))
    phrase = _Call(network, lambda ids: network.encode_text(ids, normalize=True))
    pixels = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    write_graph(image, pixels, beside / "visual/model.onnx", "image")
    write_graph(phrase, tokenizer(["a photo of a dog"]).to(torch.int32), beside / "textual/model.onnx", "text")
    (beside / "config.json").write_text(json.dumps(config, indent=2))
    (beside / "visual/preprocess_cfg.json").write_text(json.dumps(prepared | {"size": [height, width]}, indent=2))
    beside.rename(given.into)
    megabytes = [(given.into / name).stat().st_size / 1e6 for name in ("visual/model.onnx", "textual/model.onnx")]
    print(f"{given.into}: {megabytes[0]:.0f} MB for pictures, {megabytes[1]:.0f} MB for words")


if __name__ == "__main__":
    main()
