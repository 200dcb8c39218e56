"""Write a SigLIP B/16 with random weights in the layout of transformers.js, to measure what a real one costs.

    python benchmarks/random_siglip.py DIR/siglip-base-random
    python benchmarks/clip_in_ten_minutes.py DIR/siglip-base-random tagged:DATA --split FILE#0 --scratch DIR --plain

Sizes are those of `SiglipConfig()`, which are SigLIP B/16's at 224 pixels. The tokenizer is trained on the common words
of this package and has far fewer tokens than the network knows, which changes neither size nor time.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import SiglipConfig, SiglipModel

from tagprism.bundle.foreign.model import WORDS

PREPARATION = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "image_processor_type": "SiglipImageProcessor",
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": 224, "width": 224},
}


class Tower(torch.nn.Module):
    """One tower, with the two outputs that an export has."""

    def __init__(self, tower: torch.nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, value: torch.Tensor) -> Any:
        found = self.tower(value)
        return found.last_hidden_state, found.pooler_output


def write_graph(tower: torch.nn.Module, example: torch.Tensor, file: Path, name: str) -> None:
    """One graph of free batch."""
    free = {name: {0: "batch"}, "pooler_output": {0: "batch"}}
    names = ["last_hidden_state", "pooler_output"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks of the exporter about itself
        torch.onnx.export(
            Tower(tower), (example,), str(file), input_names=[name], output_names=names, dynamic_axes=free, dynamo=False
        )


def write_tokenizer(folder: Path) -> None:
    """Word pieces, with SigLIP's special tokens."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_previous")
    trainer = trainers.BpeTrainer(vocab_size=4000, special_tokens=["<unk>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator([f"a photo of a {word}" for word in WORDS], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    kind = {"tokenizer_class": "SiglipTokenizer", "pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))


def main() -> None:
    """Make the network and write its files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to make")
    parser.add_argument("--layers", type=int, default=12, help="of each tower; fewer only to try this out")
    arguments = parser.parse_args()
    folder = arguments.folder
    (folder / "onnx").mkdir(parents=True)
    torch.manual_seed(0)
    layers = {"num_hidden_layers": arguments.layers}
    network = SiglipModel(SiglipConfig(text_config=layers, vision_config=layers)).eval().requires_grad_(False)
    write_graph(network.vision_model, torch.randn(1, 3, 224, 224), folder / "onnx/vision_model.onnx", "pixel_values")
    ids = torch.ones(1, network.text_model.config.max_position_embeddings, dtype=torch.int64)
    write_graph(network.text_model, ids, folder / "onnx/text_model.onnx", "input_ids")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "siglip", "text_config": {"vocab_size": network.text_model.config.vocab_size}})
    )
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPARATION))
    write_tokenizer(folder)


if __name__ == "__main__":
    main()
