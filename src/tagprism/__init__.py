"""tagprism: tag and find pictures with your own words, also words no model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from tagprism.tagging.tagger import load


def __getattr__(name: str) -> object:
    """Import `load` on first use: `tagprism --help` and the training need no ONNX Runtime."""
    if name == "load":
        from tagprism.tagging.tagger import load

        return load
    raise AttributeError(f"module 'tagprism' has no attribute '{name}'")
