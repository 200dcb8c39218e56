"""A loss, a head or a backbone of the caller's own in place of tagprism's: what each must give, and how it is known."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from tagprism.errors import InputError
from tagprism.network.backbones import Backbone
from tagprism.network.embedding_matrix import EmbeddingMatrix, check_label_vectors, check_matrices
from tagprism.training.recipe import ModelTable

IDENTITY = "data.json"  # of a RUN: digests of data and split, and of custom parts
_REMEDY = "See the arguments of tagprism.train."


@dataclass(frozen=True)
class CustomParts:
    """What the caller gives instead of tagprism's parts; each None where it gives none.

    Args:
        loss: (matrices (B, M, D), targets (B, L)) -> scalar, the mean over the B images; or a class (also a
            `functools.partial` of one) that is called with the (L, D) vectors of the seen labels to make it.
        head: module from features (B, C) to matrices (B, M, D); or a class or function that is called with C, M and D.
        backbone: module from pixels (B, 3, H, W) to features (B, C). Its attributes `image_size`, `mean`, `std`,
            `interpolation` and `resize`, where it has them, say how pixels are prepared; so does timm's configuration.
    """

    loss: Callable[..., Any] | None = None
    head: Callable[..., Any] | None = None
    backbone: nn.Module | None = None

    def __post_init__(self) -> None:
        """Refuse what is no part at all, before anything is computed."""
        backbone: Any = self.backbone
        if not isinstance(backbone, nn.Module | None):
            remedy = "Give a module, made after torch.manual_seed: backbone=MyNetwork()."
            raise InputError(f"is {_described(backbone)}, not a torch module.", where="backbone", remedy=remedy)
        for where, part in (("loss", self.loss), ("head", self.head)):
            if part is not None and not callable(part):
                raise InputError(f"is {_described(part)}, which cannot be called.", where=where, remedy=_REMEDY)

    @property
    def identity(self) -> dict[str, str]:
        """`NAME DIGEST` of each part that is given; modules with other weights have another digest."""
        given = {"loss": self.loss, "head": self.head, "backbone": self.backbone}
        return {kind: _name_and_digest(part) for kind, part in given.items() if part is not None}

    @property
    def trains_on_fewer_labels(self) -> bool:
        """Whether a loss and a head can be made anew for a part of the labels, as the calibration needs them."""
        return not isinstance(self.head, nn.Module) and (self.loss is None or _is_class(self.loss))

    def open_backbone(self, model: ModelTable) -> Backbone | None:
        """A copy of the backbone as tagprism uses it; None where there is none."""
        if self.backbone is None:
            return None
        copied = copy.deepcopy(self.backbone).cpu()
        return copied if isinstance(copied, Backbone) else CustomBackbone(copied, model)

    def make_head(self, channels: int, vectors: int, dimension: int) -> nn.Module | None:
        """The head as tagprism uses it; None where there is none.

        Args:
            channels: C, length of a feature vector.
            vectors: M of the recipe.
            dimension: D, length of a label vector.
        """
        if self.head is None:
            return None
        if isinstance(self.head, nn.Module):
            made = copy.deepcopy(self.head)
        else:
            with _said_of("head", f"cannot be made with ({channels}, {vectors}, {dimension}), which are C, M and D"):
                made = self.head(channels, vectors, dimension)
        if not isinstance(made, nn.Module):
            raise InputError(f"is a {type(made).__name__}, not a torch module.", where="head", remedy=_REMEDY)
        return made if type(made) is EmbeddingMatrix else CustomHead(made.cpu(), channels, vectors, dimension)

    def make_loss(self, label_vectors: Tensor, unlabelled: Literal["negative", "ignore"]) -> CustomLoss | None:
        """The loss as tagprism uses it; None where there is none."""
        if self.loss is None:
            return None
        if _is_class(self.loss):
            shape = tuple(label_vectors.shape)
            with _said_of("loss", f"cannot be made with the vectors of the seen labels alone, of shape {shape}"):
                loss = self.loss(label_vectors)
        else:
            loss = copy.deepcopy(self.loss)
        return CustomLoss(loss, label_vectors, unlabelled)

    def check_loss(self, label_vectors: Tensor, vectors: int) -> None:
        """Try the loss on two made-up images, so that one that cannot be computed is refused before pictures are read.

        Args:
            label_vectors: (L, D) of the seen labels.
            vectors: M of the recipe.

        Raises:
            InputError: as `CustomLoss`.
        """
        with torch.random.fork_rng(devices=()):  # a backbone with random weights must come out the same
            loss = self.make_loss(label_vectors, "negative")
            if loss is not None:
                matrices = torch.randn(2, vectors, label_vectors.shape[1], requires_grad=True)
                targets = torch.zeros(2, len(label_vectors), dtype=torch.int8)
                targets[:, 0] = 1
                loss(matrices, targets)


class CustomLoss(nn.Module):
    """A loss of the caller's own; its parameters, if it has some, are not trained.

    Args:
        loss: (matrices (B, M, D), targets (B, L) in {1, 0, -1}) -> scalar.
        label_vectors: (L, D) of the seen labels, for the validation.
        unlabelled: what -1 counts as in the validation.
    """

    label_vectors: Tensor

    def __init__(
        self, loss: Callable[..., Any], label_vectors: Float[Tensor, "L D"], unlabelled: Literal["negative", "ignore"]
    ) -> None:
        super().__init__()
        check_label_vectors(label_vectors)
        self.register_buffer("label_vectors", label_vectors, persistent=False)
        self.loss, self.unlabelled, self.skipped_images, self.gathers = loss, unlabelled, 0, False

    def forward(self, matrices: Float[Tensor, "B M D"], targets: Tensor) -> Float[Tensor, ""]:
        """The loss of a batch; 0 for one without images.

        Raises:
            InputError: it fails, gives no scalar, NaN, or a number that does not depend on the matrices.
        """
        check_matrices(matrices, self.label_vectors.shape[1])
        if not len(matrices):
            return matrices.sum()
        shapes = f"cannot take matrices of shape {tuple(matrices.shape)} and targets of shape {tuple(targets.shape)}"
        with torch.autocast(matrices.device.type, enabled=False), _said_of("loss", shapes):
            value = self.loss(matrices.float(), targets)
        if not isinstance(value, Tensor) or value.shape != () or not value.is_floating_point():
            found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"gives {found}, not a scalar.", where="loss", remedy="Give the mean over the images.")
        if not value.requires_grad:
            raise InputError(
                "gives a number that has no gradient with respect to the matrices.",
                where="loss",
                remedy="Compute it from the matrices with torch alone, without detach, numpy or argmax.",
            )
        if value.isnan() and matrices.isfinite().all():
            what = f"gives NaN for a batch of {len(matrices)} images whose matrices are finite."
            remedy = "Look for log(0), 0/0 (an image without positives) and exp of large numbers."
            raise InputError(what, where="loss", remedy=remedy)
        return value


class CustomHead(nn.Module):
    """A head of the caller's own.

    Args:
        module: features (B, C) -> matrices (B, M, D).
        channels: C.
        vectors: M.
        dimension: D.

    Raises:
        InputError: it gives something of another shape.
    """

    def __init__(self, module: nn.Module, channels: int, vectors: int, dimension: int) -> None:
        super().__init__()
        self.module, self.channels, self.vectors, self.dimension = module, channels, vectors, dimension
        matrices = _probe(self.module, torch.randn(2, channels), "head")
        check_matrices(matrices, dimension)
        if matrices.shape[:2] != (2, vectors):
            raise InputError(
                f"gives matrices {tuple(matrices.shape)} for 2 images; the recipe wants {vectors} vectors an image.",
                where="head",
                remedy=f"Set model.vectors = {matrices.shape[1]} in the recipe, or change the head.",
            )

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B M D"]:
        """Embedding matrices of feature vectors."""
        matrices: Tensor = self.module(features[:, : self.channels])  # class evidence may stand behind them
        check_matrices(matrices, self.dimension)
        return matrices


class CustomBackbone(Backbone):
    """A backbone of the caller's own, from pixels (B, 3, H, W) to feature vectors (B, C); attributes as `Backbone`.

    Args:
        module: the network.
        model: `[model]` of the recipe.

    Raises:
        InputError: it cannot take such pixels, gives no feature vectors, or does not say how pixels are prepared.
    """

    def __init__(self, module: nn.Module, model: ModelTable) -> None:
        nn.Module.__init__(self)
        self.name, self.network, self.classifier = _name(module), module, None
        known: dict[str, Any] = {}
        if getattr(module, "pretrained_cfg", None):  # a network of timm
            known = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
            known["image_size"] = known["input_size"][1:]
        said = {key: getattr(module, key, None) for key in ("image_size", "mean", "std", "interpolation", "resize")}
        known |= {key: value for key, value in said.items() if isinstance(value, int | str | tuple | list)}
        size = model.image_size or known.get("image_size")
        if size is None:
            raise self._lacks("an attribute `image_size` (pixels a side, or height and width)", "model.image_size")
        if model.normalise_pixels and not {"mean", "std"} <= known.keys():
            raise self._lacks("attributes `mean` and `std` (three numbers each)", "model.normalise_pixels = false")
        self.image_size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        self.mean, self.std = tuple(known.get("mean", (0.0,) * 3)), tuple(known.get("std", (1.0,) * 3))
        self.interpolation, self.resize = known.get("interpolation", "bicubic"), known.get("resize", self.resize)
        pixels = torch.randn(2, 3, *self.image_size, generator=torch.Generator().manual_seed(0))
        features = _probe(module, pixels, self.name)
        if features.ndim != 2 or len(features) != 2:
            pooled = "nn.Sequential(backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten())"
            raise InputError(
                f"gives {tuple(features.shape)} for pixels (2, 3, {self.image_size[0]}, {self.image_size[1]}), not "
                "feature vectors (2, C).",
                where=self.name,
                remedy=f"Pool its map: {pooled}." if features.ndim == 4 else _REMEDY,
            )
        self.features = features.shape[1]
        self._answer = features.numpy().tobytes()  # code that changes under the same name and weights gives another one

    def weights_digest(self) -> str:
        """SHA-256 over the weights and the answer to some pixels."""
        return hashlib.sha256(super().weights_digest().encode() + self._answer).hexdigest()

    def last_map(self, pixels: Float[Tensor, "B 3 H W"]) -> Any:
        """The features themselves: there is no map that could be known."""
        return self.network(pixels)

    def pooled(self, found: Any) -> Float[Tensor, "B C"]:
        """What `last_map` gave."""
        features: Tensor = found
        return features

    def with_places(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B T K"]]:
        """Refused: there are no features of places."""
        raise InputError("has no features of places.", where=self.name, remedy='Set model.rows_from = "pooled".')

    def _lacks(self, what: str, setting: str) -> InputError:
        return InputError(f"lacks {what}.", where=self.name, remedy=f"Add them to the module, or set {setting}.")


def custom_parts_of(run: Path) -> list[str]:
    """Which parts of a RUN's network are Python code that no RUN holds: `head`, `backbone`."""
    identity = run / IDENTITY
    lines = identity.read_text(encoding="utf-8").splitlines() if identity.is_file() else []
    return [kind for line in lines if (kind := line.partition(" ")[0]) in ("head", "backbone")]


def _probe(module: nn.Module, inputs: Tensor, where: str) -> Tensor:
    """What a module gives in evaluation mode; it is left in its own mode."""
    was_training = module.training
    try:
        with torch.inference_mode(), _said_of(where, f"cannot take a batch of shape {tuple(inputs.shape)}"):
            output = module.eval()(inputs)
    finally:
        module.train(was_training)
    if not isinstance(output, Tensor):
        raise InputError(f"gives {type(output).__name__}, not a tensor.", where=where, remedy=_REMEDY)
    return output


@contextmanager
def _said_of(where: str, what: str) -> Iterator[None]:
    """Say of which part an error of the caller's own code is, and what was asked of it; it may raise anything."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what}: {type(error).__name__}: {error}.", where=where, remedy=_REMEDY) from error


def _described(part: Any) -> str:
    return f"the class {part.__name__}" if isinstance(part, type) else f"{type(part).__name__} {part!r:.40}"


def _is_class(part: Any) -> bool:
    return isinstance(part.func if isinstance(part, functools.partial) else part, type)


def _name(part: Any) -> str:
    if isinstance(part, functools.partial):
        settings = ", ".join([*map(repr, part.args), *(f"{key}={value!r}" for key, value in part.keywords.items())])
        return f"{_name(part.func)}({settings})"
    name = getattr(part, "name", None) if isinstance(part, nn.Module) else getattr(part, "__qualname__", None)
    return name if isinstance(name, str) and name else type(part).__qualname__


def _name_and_digest(part: Any) -> str:
    digest = hashlib.sha256(_name(part).encode())
    for name, value in part.state_dict().items() if isinstance(part, nn.Module) else ():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return f"{_name(part)} {digest.hexdigest()}"
