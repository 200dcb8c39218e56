"""Small random CLIP and SigLIP networks in the layouts in which others publish real ones, with torch as reference."""

from __future__ import annotations

import json
import shutil
import string
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from tests.small_tokenizers import clip_tokenizer, siglip_tokenizer, xlm_roberta_text

open_clip = pytest.importorskip("open_clip", reason="the extra [clip] is not installed")

VISION = {"image_size": 48, "layers": 1, "width": 64, "patch_size": 16}
CLIP_TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
SIGLIP_TEXT = {
    "context_length": 64,
    "width": 32,
    "heads": 2,
    "layers": 1,
    "no_causal_mask": True,
    "pool_type": "last",
    "tokenizer_kwargs": {"clean": "canonicalize"},
}
BPE = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"


@dataclass(frozen=True)
class Foreign:
    """A folder, and what torch makes of pictures and phrases."""

    folder: Path
    pictures: Callable[[Sequence[Image.Image]], np.ndarray]
    phrases: Callable[[Sequence[str]], np.ndarray]


def _export(
    module: torch.nn.Module,
    example: tuple[Any, ...],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    **axes: Any,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            example,
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamo=False,
            **axes,
        )


class _Call(torch.nn.Module):
    """A function of a network as a module of its own."""

    def __init__(self, network: torch.nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.network, self._call = network, call

    def forward(self, *values: torch.Tensor) -> Any:
        return self._call(*values)


def _unit(vectors: torch.Tensor) -> np.ndarray:
    found: np.ndarray = torch.nn.functional.normalize(vectors.float(), dim=-1).numpy()
    return found


def make_multilingual(folder: Path) -> Foreign:
    """As immich-app/XLM-Roberta-Base-ViT-B-32__laion5b_s13b_b90k: words of other languages, and capitals count."""
    return make_immich(folder, xlm_roberta_text(folder / "textual"))


def make_immich(
    folder: Path,
    text: dict[str, Any] = CLIP_TEXT,
    *,
    siglip: bool = False,
    text_kind: Any = torch.int32,
    **preprocess: Any,
) -> Foreign:
    """As immich-app exports open_clip's models: two graphs of batch 1, unit vectors, open_clip's settings."""
    if siglip:
        size = siglip_tokenizer(folder / "textual", bare=False)
        text = SIGLIP_TEXT | {"vocab_size": size, "hf_tokenizer_name": str(folder / "textual")} | text
    elif "hf_tokenizer_name" not in text:
        clip_tokenizer(folder / "textual")
    config = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": text}
    if siglip or "hf_model_name" in text or text.get("no_causal_mask"):
        config["custom_text"] = True
    made = folder.with_name(f"{folder.name}.open_clip")
    made.mkdir(parents=True)
    its = {
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.3, 0.25],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    } | preprocess
    (made / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": its}))
    if "hf_tokenizer_name" in text:  # which open_clip looks for beside its own settings
        for file in (folder / "textual").iterdir():
            shutil.copyfile(file, made / file.name)
    torch.manual_seed(0)
    network = open_clip.create_model(f"local-dir:{made}", pretrained_hf=False)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    torch.save(network.state_dict(), made / "open_clip_pytorch_model.bin")
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{made}", pretrained_hf=False)
    network.eval().requires_grad_(False)
    torch.backends.mha.set_fastpath_enabled(False)
    image = _Call(network, lambda pixels: network.encode_image(pixels, normalize=True))
    phrase = _Call(network, lambda ids: network.encode_text(ids, normalize=True))
    side, length = VISION["image_size"], text["context_length"]
    _export(image, (torch.randn(1, 3, side, side),), folder / "visual/model.onnx", ["image"], ["embedding"])
    _export(phrase, (torch.ones(1, length, dtype=text_kind),), folder / "textual/model.onnx", ["text"], ["embedding"])
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "visual/preprocess_cfg.json").write_text(
        json.dumps(its | {"size": [side, side], "mode": "RGB", "fill_color": 0})
    )
    tokenizer = open_clip.get_tokenizer(f"local-dir:{made}")

    def pictures(of: Sequence[Image.Image]) -> np.ndarray:
        with torch.inference_mode():
            return _unit(network.encode_image(torch.stack([transform(one) for one in of])))

    def phrases(of: Sequence[str]) -> np.ndarray:
        with torch.inference_mode():
            return _unit(network.encode_text(tokenizer(list(of))))

    return Foreign(folder, pictures, phrases)


def _transformers_clip() -> Any:
    from transformers import CLIPConfig, CLIPModel

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = shape | {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 49407, "bos_token_id": 49406}
    torch.manual_seed(0)
    vision = shape | {"image_size": 48, "patch_size": 16}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).eval().requires_grad_(False)


CLIP_PREPROCESSOR = {
    "crop_size": {"height": 48, "width": 48},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "CLIPImageProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 48},
}
SIGLIP_PREPROCESSOR = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "image_processor_type": "SiglipImageProcessor",
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 48, "width": 48},
}


def _clip_reference(folder: Path, network: Any, tokenizer: Any) -> Foreign:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(
        **{key: value for key, value in CLIP_PREPROCESSOR.items() if key != "image_processor_type"}
    )

    def pictures(of: Sequence[Image.Image]) -> np.ndarray:
        with torch.inference_mode():
            pixels = processor(images=list(of), return_tensors="pt").pixel_values
            return _unit(network.visual_projection(network.vision_model(pixels).pooler_output))

    def phrases(of: Sequence[str]) -> np.ndarray:
        with torch.inference_mode():
            return _unit(
                torch.cat(
                    [
                        network.text_projection(
                            network.text_model(
                                **tokenizer(
                                    [one], return_tensors="pt", padding="max_length", max_length=77, truncation=True
                                )
                            ).pooler_output
                        )
                        for one in of
                    ]
                )
            )

    return Foreign(folder, pictures, phrases)


def _clip_graphs(network: Any, vision: Path, text: Path) -> None:
    free = {"dynamic_axes": {"pixel_values": {0: "batch"}, "image_embeds": {0: "batch"}}}

    def image(pixels: torch.Tensor) -> Any:
        found = network.vision_model(pixels)
        return network.visual_projection(found.pooler_output), found.last_hidden_state

    def phrase(ids: torch.Tensor, mask: torch.Tensor) -> Any:
        return network.text_projection(network.text_model(input_ids=ids, attention_mask=mask).pooler_output)

    _export(
        _Call(network, image),
        (torch.randn(2, 3, 48, 48),),
        vision,
        ["pixel_values"],
        ["image_embeds", "last_hidden_state"],
        **free,
    )
    both = {
        "dynamic_axes": {name: {0: "batch", 1: "tokens"} for name in ("input_ids", "attention_mask")}
        | {"text_embeds": {0: "batch"}}
    }
    ids = torch.full((2, 9), 49407)
    _export(
        _Call(network, phrase),
        (ids, torch.ones_like(ids)),
        text,
        ["input_ids", "attention_mask"],
        ["text_embeds"],
        **both,
    )


def make_transformers_clip(folder: Path) -> Foreign:
    """As Xenova/clip-vit-*: not normalised, free batch and length, an attention mask."""
    network = _transformers_clip()
    folder.mkdir(parents=True)
    tokenizer = clip_tokenizer(folder)
    _clip_graphs(network, folder / "onnx/vision_model.onnx", folder / "onnx/text_model.onnx")
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "projection_dim": 24}))
    (folder / "preprocessor_config.json").write_text(json.dumps(CLIP_PREPROCESSOR))
    return _clip_reference(folder, network, tokenizer)


def make_fastembed(folder: Path) -> Foreign:
    """As Qdrant/clip-ViT-B-32-vision and -text: two folders; `folder` ends in -vision."""
    network = _transformers_clip()
    text = folder.with_name(folder.name.replace("-vision", "-text"))
    folder.mkdir(parents=True)
    text.mkdir()
    tokenizer = clip_tokenizer(text)
    _clip_graphs(network, folder / "model.onnx", text / "model.onnx")
    (folder / "config.json").write_text(json.dumps({"model_type": "clip_vision_model", "projection_dim": 24}))
    (text / "config.json").write_text(json.dumps({"model_type": "clip_text_model", "vocab_size": 49408}))
    (folder / "preprocessor_config.json").write_text(json.dumps(CLIP_PREPROCESSOR))
    return _clip_reference(folder, network, tokenizer)


def make_transformers_siglip(folder: Path, *, second: bool = True) -> Foreign:
    """As onnx-community/siglip2-*-ONNX, or as Xenova/siglip-*: `pooler_output` is the vector, 64 places."""
    from transformers import SiglipConfig, SiglipModel
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    size = siglip_tokenizer(folder, bare=True, second=second)
    shape = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    text = shape | {"vocab_size": size, "max_position_embeddings": 64, "projection_size": 24}
    config = SiglipConfig(text_config=text, vision_config=shape | {"image_size": 48, "patch_size": 16})
    network = SiglipModel(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(0, 0.3)  # as made, its text tower is next to zero
    names = ["last_hidden_state", "pooler_output"]

    def image(pixels: torch.Tensor) -> Any:
        found = network.vision_model(pixels)
        return found.last_hidden_state, found.pooler_output

    def phrase(ids: torch.Tensor) -> Any:
        found = network.text_model(input_ids=ids)
        return found.last_hidden_state, found.pooler_output

    free = {"pixel_values": {0: "batch"}, "pooler_output": {0: "batch"}}
    _export(
        _Call(network, image),
        (torch.randn(2, 3, 48, 48),),
        folder / "onnx/vision_model.onnx",
        ["pixel_values"],
        names,
        dynamic_axes=free,
    )
    free = {"input_ids": {0: "batch", 1: "tokens"}, "pooler_output": {0: "batch"}}
    _export(
        _Call(network, phrase),
        (torch.ones(2, 64, dtype=torch.int64),),
        folder / "onnx/text_model.onnx",
        ["input_ids"],
        names,
        dynamic_axes=free,
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "siglip", "text_config": {"vocab_size": size}}))
    (folder / "preprocessor_config.json").write_text(json.dumps(SIGLIP_PREPROCESSOR))
    processor = SiglipImageProcessorPil(size={"height": 48, "width": 48}, resample=2)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def ids_of(text: str) -> list[int]:
        """As they were trained: lower case, the first without punctuation, the end, 64 places filled with 0 or 1."""
        text = text.lower() if second else text.lower().translate(str.maketrans("", "", string.punctuation)).strip()
        ids = [*tokenizer.encode(text).ids[:63], 1]
        return ids + [0 if second else 1] * (64 - len(ids))

    def pictures(of: Sequence[Image.Image]) -> np.ndarray:
        with torch.inference_mode():
            return _unit(
                network.vision_model(processor(images=list(of), return_tensors="pt").pixel_values).pooler_output
            )

    def phrases(of: Sequence[str]) -> np.ndarray:
        with torch.inference_mode():
            return _unit(network.text_model(input_ids=torch.tensor([ids_of(one) for one in of])).pooler_output)

    return Foreign(folder, pictures, phrases)


def make_rclip(folder: Path) -> Foreign:
    """As rclip's: free batch, open_clip's tokenizer as its file of merges, 256 px."""
    from open_clip.tokenizer import SimpleTokenizer

    config = {
        "embed_dim": 24,
        "vision_cfg": VISION | {"image_size": 256, "patch_size": 64},
        "text_cfg": CLIP_TEXT | {"context_length": 77},
    }
    made = folder.with_name(f"{folder.name}.open_clip")
    made.mkdir(parents=True)
    (made / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    network = open_clip.create_model(f"local-dir:{made}", pretrained_hf=False)
    torch.save(network.state_dict(), made / "open_clip_pytorch_model.bin")
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{made}", pretrained_hf=False)
    network.eval().requires_grad_(False)
    torch.backends.mha.set_fastpath_enabled(False)
    at = folder / "ViT-B-32-256-datacomp_s34b_b86k"
    free = {"dynamic_axes": {"input": {0: "batch"}, "output": {0: "batch"}}}
    _export(
        _Call(network, network.visual),
        (torch.randn(1, 3, 256, 256),),
        at / "visual.onnx",
        ["input"],
        ["output"],
        **free,
    )
    _export(
        _Call(network, network.encode_text),
        (torch.zeros(1, 77, dtype=torch.long),),
        at / "textual.onnx",
        ["input"],
        ["output"],
        **free,
    )
    (folder / "tokenizer").mkdir()
    shutil.copyfile(BPE, folder / "tokenizer" / BPE.name)
    tokenizer = SimpleTokenizer()

    def pictures(of: Sequence[Image.Image]) -> np.ndarray:
        with torch.inference_mode():
            return _unit(network.visual(torch.stack([transform(one) for one in of])))

    def phrases(of: Sequence[str]) -> np.ndarray:
        with torch.inference_mode():
            return _unit(network.encode_text(tokenizer(list(of))))

    return Foreign(folder, pictures, phrases)
