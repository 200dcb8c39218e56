"""The torch network of a finished RUN, for `evaluate --engine torch`: the check that the bundle computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.torch import load_file

from tagprism.errors import InputError
from tagprism.labels.vocabulary import Vocabulary
from tagprism.model.embedding_matrix import Network, RankingMatrix
from tagprism.training.networks import make_backbone, make_head
from tagprism.training.recipe import load_recipe
from tagprism.training.train import RECIPE, WEIGHTS

Matrices = Callable[[Float32[np.ndarray, "B 3 H W"]], Float32[np.ndarray, "B M D1"]]


def torch_matrices(run: Path, vocabulary: Vocabulary) -> Matrices:
    """A function from pixels to ranking matrices by the RUN's torch weights.

    Args:
        run: a finished RUN.
        vocabulary: of its bundle; the seen labels' vectors are part of the network.

    Raises:
        InputError: the weights are damaged or belong to another recipe.
    """
    recipe = load_recipe(run / RECIPE)
    backbone = make_backbone(recipe.model, weights="random")
    seen = torch.tensor(vocabulary.select(vocabulary.seen).vectors)
    head = make_head(recipe, backbone, seen.shape[1], None)
    network = Network(backbone, head, RankingMatrix(seen, standardise=recipe.model.standardise))
    try:
        weights = load_file(run / WEIGHTS)
        cut_off = ("backbone.classifier.", "backbone.pooled.classifier.")
        network.load_state_dict({name: value for name, value in weights.items() if not name.startswith(cut_off)})
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"does not hold this run's weights ({error}).", where=str(run / WEIGHTS)) from error
    network.eval()

    def matrices(pixels: Float32[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B M D1"]:
        with torch.inference_mode():
            result: Float32[np.ndarray, "B M D1"] = network(torch.from_numpy(pixels)).numpy()
        return result

    return matrices
