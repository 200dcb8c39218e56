"""Run an ONNX model of one input on the CPU. Knows only arrays; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Float32

from tagprism.errors import InputError

OUTPUT, PLACES = "output", "places"
"""Names of a network's outputs: what it is for, and what each place of the picture adds to it."""


class OnnxModel:
    """A loaded ONNX file: pixels (B, 3, H, W) float32 in, float32 arrays out.

    Args:
        path: the `.onnx` file.
        threads: threads of one call; 0 leaves the choice to ONNX Runtime (all cores).

    Raises:
        InputError: the file is missing, damaged, or not such a model.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises types of its own that share no base but Exception
            raise InputError(f"is not an ONNX model that can be run ({error}).", where=str(path)) from error
        (self._input,) = (item.name for item in self._session.get_inputs())

        self._only_asked = onnxruntime.RunOptions()
        self._only_asked.only_execute_path_to_fetches = True  # an output that is not asked for costs nothing

    def __call__(self, pixels: Float32[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B ..."]:
        """The model's `output` for a batch of prepared pixels."""
        return self.outputs(pixels, (OUTPUT,))[0]

    def outputs(self, pixels: Float32[np.ndarray, "B 3 H W"], names: Sequence[str]) -> list[np.ndarray]:
        """The named outputs, in this order; nothing else is computed."""
        found: list[np.ndarray] = self._session.run(list(names), {self._input: pixels}, self._only_asked)
        return found
