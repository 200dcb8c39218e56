"""The authors' released checkpoint as a network of ours. Runs no code from the file; knows neither words nor pictures.

Their file is what `torch.save` made of a dict: `model` (the weights of a TResNet-M, its names without `body.`, and the
head `embedding.weight`, whose rows are D-major), `num_classes` and `idx_to_class`. timm's `tresnet_m` is the same
network: same stem, filters, squeeze-and-excite and slopes. Their in-place ABN scales by |weight| + 1e-5.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tagprism.errors import InputError
from tagprism.network.backbones import Backbone
from tagprism.network.embedding_matrix import EmbeddingMatrix

BACKBONE = "tresnet_m"
HEAD = "embedding.weight"
_ABN_EPS = 1e-5  # in-place ABN adds it to |weight|; also the eps beside the variance, as timm's batch norm has it
_BLUR = torch.tensor([1.0, 2.0, 1.0])
_WRAPPERS = "module."  # of DistributedDataParallel and of averaged models
_LAYER = re.compile(r"(?P<place>.*(?:conv\d|downsample\.\d))(?:\.0)?\.(?P<part>[01])\.(?P<leaf>\w+)")
_FILTER = re.compile(r".*\.conv\d\.1\.(?:op\.)?filt")
_SHOWN = 5
_FORM = "Name the authors' released file, such as NUS_mtresnet_224.pth."


@dataclass(frozen=True)
class OfficialCheckpoint:
    """What the file holds, as plain tensors and words.

    Args:
        weights: float32 tensors by the authors' names.
        classes: names in `idx_to_class`, in the order of their numbers; empty where the file has none.
        path: where it came from.
    """

    weights: Mapping[str, Tensor]
    classes: tuple[str, ...]
    path: Path

    def networks(self, dimension: int) -> tuple[Backbone, EmbeddingMatrix]:
        """The backbone and the head, in evaluation mode.

        Args:
            dimension: D, length of the label vectors; the head's rows divided by it give M.

        Raises:
            InputError: another network, or label vectors of another length.
        """
        backbone = Backbone(BACKBONE, "random")
        _load(backbone, self.weights, self.path)
        head = _head(self.weights[HEAD], dimension, self.path)
        return backbone.eval(), head.eval()


def read_official_checkpoint(path: Path) -> OfficialCheckpoint:
    """Read the authors' file without running any code that it may hold.

    Args:
        path: a file of `torch.save`, of any precision, saved from a wrapped model or not.

    Raises:
        InputError: no such file, no torch file, a truncated one, one that holds more than tensors and plain values
            (what it asks for is named), or one without the head.
    """
    value = _read(path)
    weights = value.get("model", value.get("state_dict", value)) if isinstance(value, Mapping) else None
    if not isinstance(weights, Mapping) or not weights or not all(isinstance(name, str) for name in weights):
        raise InputError("holds no weights under `model`.", where=str(path), remedy=_FORM)
    tensors = {}
    for name, tensor in weights.items():
        while name.startswith(_WRAPPERS):
            name = name.removeprefix(_WRAPPERS)
        if not isinstance(tensor, Tensor):
            raise InputError(f"`{name}` is not a tensor but {type(tensor).__name__}.", where=str(path), remedy=_FORM)
        tensors[name] = tensor.detach().to(torch.float32)
        if not tensors[name].isfinite().all():
            raise InputError(f"`{name}` holds NaN or infinity.", where=str(path), remedy="Get the file again.")
    if HEAD not in tensors or tensors[HEAD].ndim != 2:
        found = ", ".join(sorted({name.partition(".")[0] for name in tensors})[:8])
        raise InputError(
            f"is the checkpoint of another network: it has no head `{HEAD}` (it has {found}).",
            where=str(path),
            remedy=_FORM,
        )
    return OfficialCheckpoint(tensors, _classes(value.get("idx_to_class"), path), path)


def _read(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError("there is no such file.", where=str(path), remedy=_FORM) from error
    except IsADirectoryError as error:
        raise InputError("is a folder, not a checkpoint.", where=str(path), remedy=_FORM) from error
    except pickle.UnpicklingError as error:
        asked = _globals(str(error))
        if asked:
            raise InputError(
                f"holds more than tensors and plain values: it asks for {', '.join(asked)}, and nothing in it was run.",
                where=str(path),
                remedy="Whoever trusts its origin can save `model` and `idx_to_class` anew as tensors and names.",
            ) from error
        raise InputError(_what_is_wrong(path), where=str(path), remedy="Get the file again.") from error
    except Exception as error:  # of a damaged file, torch raises whatever it stumbles over
        raise InputError(f"{_what_is_wrong(path)} ({error})", where=str(path), remedy="Get the file again.") from error


def _globals(message: str) -> list[str]:
    """The names that torch refused to look up, out of its message."""
    return sorted(set(re.findall(r"GLOBAL ([\w.]+)", message)))


def _what_is_wrong(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    zipped = start[:4] == b"PK\x03\x04"
    if zipped and not zipfile.is_zipfile(path):
        return "is a torch file whose end is missing."
    if zipped or start[:1] == b"\x80":  # the two formats of torch.save
        return "is a damaged or truncated torch file."
    return "is not a torch file."


def _classes(value: Any, path: Path) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, Mapping):
        numbered = [(int(number), name) for number, name in value.items() if str(number).isdecimal()]
        names = [name for _, name in sorted(numbered)] if len(numbered) == len(value) else [value]
    else:
        names = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(name, str) for name in names):
        raise InputError("its `idx_to_class` does not map numbers to names.", where=str(path), remedy=_FORM)
    return tuple(map(str, names))


def _load(backbone: Backbone, weights: Mapping[str, Tensor], path: Path) -> None:
    """Give timm's network the authors' weights, every one of them or none."""
    own = backbone.network.state_dict()
    named = {}
    for name, tensor in weights.items():
        if name == HEAD or name.endswith("num_batches_tracked"):
            continue
        if _FILTER.fullmatch(name):
            _check_filter(name, tensor, path)
            continue
        named[_timm_name(name)] = _scale(name, tensor)
    wanted = {name for name in own if not name.endswith("num_batches_tracked")}
    odd = [
        *(f"{name} is missing" for name in sorted(wanted - named.keys())),
        *(f"{name} is not part of it" for name in sorted(named.keys() - wanted)),
        *(
            f"{name} is {tuple(named[name].shape)}, not {tuple(own[name].shape)}"
            for name in sorted(wanted & named.keys())
            if named[name].shape != own[name].shape
        ),
    ]
    if odd:
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        raise InputError(
            f"is the checkpoint of another network, not of a TResNet-M: {'; '.join(odd[:_SHOWN])}{more}.",
            where=str(path),
            remedy=_FORM,
        )
    backbone.network.load_state_dict(named, strict=False)  # but for num_batches_tracked, which evaluation never reads


def _timm_name(name: str) -> str:
    """timm's name of a weight: `conv1.0` is `conv1.conv`, `conv1.1` is `conv1.bn`; before a filter, `conv1.0.0`."""
    found = _LAYER.fullmatch(name)
    if found is None:
        return f"body.{name}"
    part = "conv" if found["part"] == "0" else "bn"
    return f"body.{found['place']}.{part}.{found['leaf']}"


def _scale(name: str, tensor: Tensor) -> Tensor:
    """The scale of a batch norm that does what in-place ABN does with its weight."""
    is_abn = tensor.ndim == 1 and name.endswith(".1.weight")
    return tensor.abs() + _ABN_EPS if is_abn else tensor


def _check_filter(name: str, tensor: Tensor, path: Path) -> None:
    """A stored blur filter must be the one that timm's network has built in."""
    expected = torch.outer(_BLUR, _BLUR) / 16
    if tensor.shape[-2:] != (3, 3) or not torch.allclose(tensor, expected.expand_as(tensor), atol=1e-3):
        raise InputError(f"`{name}` is not the filter of a TResNet.", where=str(path), remedy=_FORM)


def _head(weight: Tensor, dimension: int, path: Path) -> EmbeddingMatrix:
    rows, features = weight.shape
    if rows % dimension:
        raise InputError(
            f"label vectors of {dimension} numbers do not fit its head of {rows} rows.",
            where=str(path),
            remedy="Name the label vectors that it was trained with (300 numbers in the authors' release).",
        )
    head = EmbeddingMatrix(features, rows // dimension, dimension)
    ours = weight.view(dimension, rows // dimension, features).transpose(0, 1)  # D-major to (M, D, C)
    head.load_state_dict({"linear.weight": ours.reshape(rows, features)})
    return head
