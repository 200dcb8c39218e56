"""The torch network of a finished RUN, for `evaluate --engine torch`: the check that the bundle computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.torch import load_file

from tagprism.bundle.record import Records
from tagprism.errors import InputError
from tagprism.labels.vocabulary import Vocabulary
from tagprism.network.embedding_matrix import Network, Standardiser
from tagprism.training.custom_parts import custom_parts_of
from tagprism.training.networks import empty_class_columns, empty_prior, make_head, open_backbone
from tagprism.training.older_runs import current_names
from tagprism.training.recipe import load_recipe
from tagprism.training.train import RECIPE, WEIGHTS

Look = Callable[[Float32[np.ndarray, "B 3 H W"]], Records]


def has_torch_network(run: Path) -> bool:
    """Whether a folder is a RUN whose network can be made of its recipe and weights."""
    return (run / WEIGHTS).is_file() and not custom_parts_of(run)


def torch_records(run: Path, vocabulary: Vocabulary) -> Look:
    """A function from pixels to records by the RUN's torch weights.

    Args:
        run: a finished RUN.
        vocabulary: of its bundle; the seen labels' vectors are part of the network.

    Raises:
        InputError: the weights are damaged or belong to another recipe, or the run was made with a custom network.
    """
    if custom := custom_parts_of(run):
        raise InputError(
            f"was trained with a custom {' and '.join(custom)}, whose code is not in the run.",
            where=str(run),
            remedy="Use its bundle: --engine onnx.",
        )
    recipe = load_recipe(run / RECIPE)
    backbone = open_backbone(recipe.model, weights="random")
    seen = torch.tensor(vocabulary.select(vocabulary.seen).vectors)
    try:
        stored = current_names(load_file(run / WEIGHTS))
        weights = {name: value for name, value in stored.items() if not _is_cut_off(name)}
        classes = len(weights.get("head.prior.bias", ()))  # of an ImageNet classifier
        prior = empty_prior(recipe.model, backbone.pooling, classes, seen.shape[1])
        head = make_head(recipe.model, backbone, seen.shape[1], prior)
        columns = empty_class_columns(recipe.model, seen.shape[1], len(seen))
        network = Network(backbone, head, Standardiser(seen, standardise=recipe.model.standardise), columns)
        network.load_state_dict(weights)
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise InputError(f"does not hold this run's weights ({error}).", where=str(run / WEIGHTS)) from error
    network.eval()

    def records(pixels: Float32[np.ndarray, "B 3 H W"]) -> Records:
        with torch.inference_mode():
            return Records(*(part.numpy() for part in network(torch.from_numpy(pixels))))

    return records


def _is_cut_off(name: str) -> bool:
    """Whether a weight is of a backbone's own classifier, which the network does not use."""
    return name.startswith("backbone.") and ".classifier." in name and ".network." not in name
