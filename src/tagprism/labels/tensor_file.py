"""Write a safetensors file with one JSON header that names its format, as `files.read_tensors` reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from tagprism.files import TENSOR_KEY, replaced_whole

OWN_TENSORS = rb'\A.{8}\{"__metadata__":\{"tagprism":"'
"""Mark of these files, for `exchange.refuse_foreign`."""


def tensor_bytes(kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a tensor file; equal contents give equal bytes.

    Args:
        kind: what the file holds, for example `vocabulary`.
        version: version of that format.
        header: JSON values.
        tensors: arrays by name.

    Returns:
        The whole file.
    """
    text = json.dumps({"format": kind, "version": version, **header}, sort_keys=True, separators=(",", ":"))
    return save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, {TENSOR_KEY: text})


def write_tensors(
    path: Path, kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> None:
    """Write a tensor file whole or not at all; arguments as `tensor_bytes`."""
    data = tensor_bytes(kind, version, header, tensors)
    with replaced_whole(path) as beside:
        beside.write_bytes(data)
