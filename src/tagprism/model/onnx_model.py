"""Run an ONNX model of one input and one output on the CPU. Knows only arrays; needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Float32

from tagprism.errors import InputError


class OnnxModel:
    """A loaded ONNX file: pixels (B, 3, H, W) float32 in, one float32 array out.

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
            (self._input,) = (item.name for item in self._session.get_inputs())
        except Exception as error:  # ONNX Runtime raises types of its own that share no base but Exception
            raise InputError(f"is not an ONNX model that can be run ({error}).", where=str(path)) from error

    @property
    def shapes(self) -> tuple[list[int | str], list[int | str]]:
        """Shapes of the input and of the first output; names stand for sizes that are free."""
        return self._session.get_inputs()[0].shape, self._session.get_outputs()[0].shape

    def __call__(self, pixels: Float32[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B ..."]:
        """The model's output for a batch of prepared pixels."""
        output: np.ndarray = self._session.run(None, {self._input: pixels})[0]
        return output
