"""Names of foreign models in recipes: `onnx:` and what `--model` takes. Imports no torch.

`onnx:hf-hub:owner/name[@revision][#form]` or `onnx:FOLDER[#form]`, in one of the layouts that `bundle.foreign` reads.
"""

from __future__ import annotations

from pathlib import Path

from tagprism.bundle.hub import HUB, HubName

ONNX = "onnx:"


def onnx_label(spec: str) -> str:
    """A short name of a model for tables and folders: of a repository without its owner, of a folder its last part."""
    name = spec.removeprefix(ONNX)
    if not name.startswith(HUB):
        return Path(name).resolve().name
    its = HubName.parse(name)
    return its.repository.rpartition("/")[2] + (f"-{its.form}" if its.form else "")
