"""Run an ONNX model of one input on the CPU. Knows only arrays; needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Float32

from tagprism.errors import InputError

OUTPUT, PLACES, ASKED = "output", "places", "asked"
"""A network's first output; the second one, what each place adds to it; and the input that asks for it.

`asked` holds the images of the batch whose places are wanted, none by default: ONNX Runtime computes every output,
also one that nobody fetches (its `only_execute_path_to_fetches` is for training builds alone).
"""


class OnnxNetwork:
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
            (self._input,) = (item.name for item in self._session.get_inputs())
        except Exception as error:  # ONNX Runtime raises types of its own that share no base but Exception
            raise InputError(f"is not an ONNX model that can be run ({error}).", where=str(path)) from error

    @property
    def shapes(self) -> tuple[list[int | str], list[int | str]]:
        """Shapes of the input and of the first output; names stand for sizes that are free."""
        return self._session.get_inputs()[0].shape, self._session.get_outputs()[0].shape

    def __call__(self, pixels: Float32[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B ..."]:
        """The model's `output` for a batch of prepared pixels."""
        output: np.ndarray = self._session.run([OUTPUT], {self._input: pixels})[0]
        return output

    def placed(
        self, pixels: Float32[np.ndarray, "B 3 H W"]
    ) -> tuple[Float32[np.ndarray, "B M D1"], Float32[np.ndarray, "B P M D"]]:
        """`output` and `places` of a batch, for a model that has both."""
        output, places = self._session.run([OUTPUT, PLACES], {self._input: pixels, ASKED: np.arange(len(pixels))})
        return output, places
