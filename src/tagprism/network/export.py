"""A network as an ONNX file that holds everything, and which place of a picture adds what to the rows of its record.

The head is linear: where the pooled features are the mean of a map, `A_m = H_m mean_p f_p = sum_p (1/P) H_m f_p`,
exactly. A prior belongs to no place. Knows only modules and arrays.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from tagprism.bundle.onnx_model import ASKED, OUTPUT, PLACES, ROWS, SHARED, OnnxNetwork
from tagprism.errors import InputError
from tagprism.network.backbones import Backbone
from tagprism.network.embedding_matrix import EmbeddingMatrix, Network

_TOLERANCE = 1e-4  # of the pooled features' largest magnitude


def export_onnx(module: nn.Module, image_size: tuple[int, int], path: Path, *, tolerance: float = 1e-3) -> float:
    """Write a module from pixels (B, 3, H, W) as ONNX and check the file against the module.

    Args:
        module: put into evaluation mode; its input is one pixel tensor. It gives one tensor, a `Network` two. A
            `PlacedNetwork` gets its second input and third output too; the input is optional in the file.
        image_size: (H, W) of the pixels.
        path: the `.onnx` file to write.
        tolerance: largest difference allowed, relative to the output's largest magnitude.

    Returns:
        The largest absolute difference found on random pixels, in batches of 1 and 3.

    Raises:
        InputError: torch cannot export the module, or the file gives other numbers than the module.
    """
    return _export(module, (3, *image_size), path, tolerance)


def export_text_network(model: nn.Module, path: Path, longest: int, *, free: bool = True) -> None:
    """Write a module from ids and mask (L, T) to vectors (L, D) as ONNX with a free L.

    Args:
        model: takes two int64 tensors, ids and mask.
        path: the file to write.
        longest: greatest T, in tokens.
        free: whether T may be less, from 2 on.
    """
    # Two phrases: one would be taken for a fixed number. One masked token: a mask of ones may be left out.
    length = min(8, longest - 1) if free else longest
    ids, mask = torch.ones((2, length), dtype=torch.int64), torch.ones((2, length), dtype=torch.int64)
    mask[1, -1] = 0
    sizes = {0: torch.export.Dim("batch")}
    if free:
        sizes[1] = torch.export.Dim("length", min=2, max=longest)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's remarks about itself
        torch.onnx.export(
            model,
            (ids, mask),
            path,
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
            external_data=False,
            verbose=False,
        )
    _strip_origin(path)


def _strip_origin(path: Path) -> None:
    """Take out of an ONNX file what torch notes of each node's source code: its paths are those of this machine."""
    model = onnx.load(path)
    for graph in (model.graph, *model.functions):
        for item in (graph, *graph.node, *graph.value_info, *getattr(graph, "initializer", ())):
            del item.metadata_props[:]
            item.ClearField("doc_string")
    onnx.save(model, path)


def export_head(network: Network, features: int, path: Path, *, tolerance: float = 1e-3) -> float:
    """Write what is behind a network's backbone, from feature vectors (B, C) to records, and check it as `export_onnx`.

    Args:
        network: whose backbone stays where it is.
        features: C.
        path, tolerance: as for `export_onnx`.

    Raises:
        InputError: as `export_onnx`.
    """
    return _export(Behind(network), (features,), path, tolerance)


def _export(module: nn.Module, shape: tuple[int, ...], path: Path, tolerance: float) -> float:
    module = module.eval().cpu()
    placed, outputs = isinstance(module, PlacedNetwork), _outputs(module)
    example = (torch.zeros(2, *shape), torch.arange(2))
    sizes = ({0: torch.export.Dim("batch", min=1, max=4096)}, {0: torch.export.Dim("asked", max=4096)})
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # its optimiser talks about folded constants
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter deprecates its own internals
        try:
            torch.onnx.export(
                module,
                example if placed else example[:1],
                str(path),
                input_names=["pixels", ASKED] if placed else ["features" if isinstance(module, Behind) else "pixels"],
                output_names=outputs,
                dynamic_shapes=sizes if placed else sizes[:1],
                dynamo=True,
                external_data=False,
                optimize=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = next((line for line in reversed(str(error.__cause__ or error).splitlines()) if line), "")
            raise InputError(
                f"torch cannot export this network to ONNX ({reason.strip()[:300]}).",
                where=type(module).__name__ if not isinstance(module, Network) else _names(module),
                remedy="Its forward pass must be one graph: no branches that depend on values, no numpy, no lists.",
            ) from error
    _strip_origin(path)
    if placed:
        _make_asking_optional(path)
    return _check(module, shape, path, tolerance)


def _names(network: Network) -> str:
    parts = (network.backbone, network.head)
    return ", ".join(type(getattr(part, "module", getattr(part, "network", part))).__name__ for part in parts)


def _outputs(module: nn.Module) -> list[str]:
    if isinstance(module, PlacedNetwork):
        return [ROWS, SHARED, PLACES]
    return [ROWS, SHARED] if isinstance(module, Network | Behind) else [OUTPUT]


def _make_asking_optional(path: Path) -> None:
    """Give the input that asks for places a default: none. (An initializer of an input's name is its default.)"""
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(0, np.int64), ASKED))
    onnx.save(model, path)


def _check(module: nn.Module, shape: tuple[int, ...], path: Path, tolerance: float) -> float:
    model = OnnxNetwork(path)
    generator = np.random.default_rng(0)
    worst = 0.0
    for size in (1, 3):
        pixels: Float32[np.ndarray, "B ..."] = generator.standard_normal((size, *shape), dtype=np.float32)
        outputs, asked = _outputs(module), {ASKED: np.arange(size)} if isinstance(module, PlacedNetwork) else {}
        found = model.run(outputs, pixels, **asked)
        with torch.inference_mode():
            expected = module(torch.from_numpy(pixels), *map(torch.from_numpy, asked.values()))
        expected = (expected,) if isinstance(expected, Tensor) else expected
        for one, tensor in zip(found, expected, strict=True):
            wanted = tensor.numpy()
            difference = float(np.abs(one - wanted).max())
            if not difference <= tolerance * max(1.0, float(np.abs(wanted).max())):
                raise InputError(
                    f"the exported ONNX model differs from the torch model by {difference:.2g}.", where=str(path)
                )
            worst = max(worst, difference)
    return worst


def find_places(backbone: Backbone, image_size: tuple[int, int]) -> tuple[int, int] | None:
    """Places of a backbone's feature map, if the mean over them is the pooled feature vector.

    Decided by shape and by numbers, not by names. Anything behind the pooling (the convolutional head of MobileNetV3,
    the norm of ConvNeXt), attention pooling and class tokens all give another vector than the mean.

    Args:
        backbone: in any mode; it is run in evaluation mode.
        image_size: (H, W) of the pixels.

    Returns:
        (h, w), or None where the features are something else than this mean.
    """
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, *image_size, generator=generator)
    was_training = backbone.training
    try:
        with torch.inference_mode():
            backbone.eval()
            found = backbone.last_map(pixels)
            pooled = backbone.pooled(found)[:, : backbone.channels]
    finally:
        backbone.train(was_training)
    if not isinstance(found, Tensor):
        return None
    features = pooled.shape[1]
    if found.ndim == 4 and features in (found.shape[1], found.shape[3]):
        h, w = found.shape[2:] if found.shape[1] == features else found.shape[1:3]
    elif found.ndim == 3 and found.shape[2] == features:
        h, w = getattr(getattr(backbone.network, "patch_embed", None), "grid_size", None) or (0, 0)
        if h * w != found.shape[1] - getattr(backbone.network, "num_prefix_tokens", 0):
            return None
    else:
        return None
    difference = (feature_map(found, features, h * w).mean(dim=1) - pooled).abs().max()
    return (int(h), int(w)) if difference <= _TOLERANCE * pooled.abs().max() else None


def feature_map(found: Tensor, features: int, places: int) -> Float[Tensor, "B P C"]:
    """A timm network's last map as rows of places: of (B, C, h, w), (B, h, w, C) or tokens with others before them."""
    if found.ndim == 3:
        return found[:, found.shape[1] - places :]
    if found.shape[1] == features:
        return found.flatten(2).mT
    return found.flatten(1, 2)


class Behind(nn.Module):
    """What is behind a network's backbone: feature vectors in, records out.

    Args:
        network: the whole.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Float[Tensor, "B C"]) -> tuple[Float[Tensor, "B M D"], Float[Tensor, "B S"]]:
        """Rows and shared numbers of feature vectors."""
        return self.network.of_features(features)


class PlacedNetwork(nn.Module):
    """A network with a third output: what each place adds to the rows.

    What belongs to no place (the shared numbers, the head's prior) is the rest: score - sum over places.
    Places are computed for those images of a batch that are asked for: by default none, which costs nothing.

    Args:
        network: whose backbone passed `find_places`, with an `EmbeddingMatrix` as head.
        places: (h, w) as found.
    """

    def __init__(self, network: Network, places: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.places = network, places[0] * places[1]

    def forward(
        self, pixels: Float[Tensor, "B 3 H W"], asked: Int64[Tensor, " A"]
    ) -> tuple[Float[Tensor, "B M D"], Float[Tensor, "B S"], Float[Tensor, "A P M D"]]:
        """Rows, shared numbers, and each place's share of the rows asked for, place by place of the feature map."""
        backbone, head, standardiser = self.network.backbone, self.network.head, self.network.standardiser
        assert isinstance(backbone, Backbone) and isinstance(head, EmbeddingMatrix)
        found = backbone.last_map(pixels)
        features = backbone.pooled(found)
        matrices = head(features)
        mean, deviation = standardiser.moments(matrices)
        places = feature_map(found.index_select(0, asked), backbone.channels, self.places)  # (A, P, C)
        shares = head.trained(places.flatten(0, 1))  # one weight, two uses
        shares = shares.view(-1, self.places, head.vectors, head.dimension)
        divisor = self.places * deviation.index_select(0, asked)[..., None, None]
        rows, shift = standardiser.standardised(matrices, mean, deviation)
        return rows, self.network.with_class_columns(shift, features), shares / divisor
