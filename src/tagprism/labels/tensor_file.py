"""A safetensors file with one JSON header that names its format: how this room keeps arrays. Knows no labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tagprism.errors import InputError
from tagprism.files import replaced_whole

_KEY = "tagprism"  # one key, so that the file's bytes do not depend on the order of a hash map
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
    return save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, {_KEY: text})


def write_tensors(
    path: Path, kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> None:
    """Write a tensor file whole or not at all; arguments as `tensor_bytes`."""
    data = tensor_bytes(kind, version, header, tensors)
    with replaced_whole(path) as beside:
        beside.write_bytes(data)


def read_tensors(path: Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a tensor file of a known format.

    Args:
        path: the file.
        kind: the format it must have.
        version: the newest version that can be read.

    Returns:
        The header and the arrays by name.

    Raises:
        InputError: the file is absent, damaged, of another format or of a newer version.
    """
    with open_tensors(path) as file:
        header = read_header(file, path, kind, version)
        try:
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, TypeError, AttributeError, ValueError) as error:  # number types that numpy lacks
            raise InputError(
                f"its arrays cannot be read ({error}).", where=str(path), remedy="Make it again."
            ) from error


def open_tensors(path: Path) -> Any:
    """Open a safetensors file without reading its arrays.

    Args:
        path: the file.

    Returns:
        The `safe_open` handle, memory-mapped.

    Raises:
        InputError: the file is absent or not a safetensors file.
    """
    if not path.is_file():
        raise InputError("there is no such file.", where=str(path))
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise InputError(
            f"not a readable safetensors file ({error}).", where=str(path), remedy="Make or copy it again."
        ) from error


def read_header(file: Any, path: Path, kind: str, version: int) -> dict[str, Any]:
    """The JSON header of an open tensor file, checked as `read_tensors` says."""
    try:
        header = json.loads((file.metadata() or {}).get(_KEY, "null"))
    except (ValueError, RecursionError) as error:
        raise InputError("its header is not JSON.", where=str(path), remedy="Make it again.") from error
    if not isinstance(header, dict) or header.get("format") != kind:
        raise InputError(f"not a tagprism {kind} file.", where=str(path))
    if not isinstance(header.get("version"), int) or header["version"] > version:
        raise InputError(
            f"{kind} format {header.get('version')} is newer than this program reads ({version}).",
            where=str(path),
            remedy="Update tagprism.",
        )
    return header
