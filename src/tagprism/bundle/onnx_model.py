"""Run an ONNX model of one input on the CPU, and a bundle's that gives records. Knows only arrays; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from tagprism.bundle.record import Records, Shape
from tagprism.errors import InputError
from tagprism.onnx_graph import OnnxGraph

OUTPUT, ROWS, SHARED, PLACES, ASKED = "output", "rows", "shared", "places", "asked"
"""The output of a network with one output; the two outputs of one that gives records; what each place adds to the rows;
and the input that asks for it.

`asked` holds the images of the batch whose places are wanted, none by default: ONNX Runtime computes every output,
also one that nobody fetches (its `only_execute_path_to_fetches` is for training builds alone).
"""


class OnnxNetwork:
    """A loaded ONNX file: pixels (B, 3, H, W) float32 in, float32 arrays out.

    Args:
        path: the `.onnx` file.
        threads: threads of one call; 0 leaves the choice to ONNX Runtime (all cores).

    Raises:
        InputError: the file is missing, damaged, or not such a model; a call raises it too, where the network takes
            too long or too much memory or gives numbers that are not finite (`onnx_graph`).
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        self._path, self._graph = path, OnnxGraph(path, threads=threads)
        if len(self._graph.inputs) != 1:
            raise InputError(f"is a network of {len(self._graph.inputs)} inputs; it must have one.", where=str(path))
        (self._input,) = self._graph.inputs

    @property
    def shapes(self) -> dict[str, list[int | str]]:
        """Shapes of the inputs and outputs by name; names stand for sizes that are free."""
        return {**self._graph.inputs, **self._graph.outputs}

    def run(
        self, outputs: Sequence[str], pixels: Float32[np.ndarray, "B 3 H W"], **more: np.ndarray
    ) -> list[Float32[np.ndarray, "_ ..."]]:
        """Some outputs for a batch of prepared pixels, and for further inputs by name."""
        found = self._graph.run(list(outputs), {self._input: pixels, **more}, pictures=len(pixels))
        if any(len(array) != len(pixels) for array in found):
            raise InputError(f"its network gives no row for each of {len(pixels)} pictures.", where=str(self._path))
        return found

    def __call__(self, pixels: Float32[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B ..."]:
        """The `output` of a network that has no other."""
        return self.run([OUTPUT], pixels)[0]


class RecordNetwork(OnnxNetwork):
    """A bundle's network: pixels in, records out.

    Bundles of format 1 have one output, whose rows each end in a copy of the shared numbers; it is cut here.

    Args:
        path: the `.onnx` file.
        dimension: D, by which the older output is cut.
        threads: as for `OnnxNetwork`.

    Raises:
        InputError: as `OnnxNetwork`, or its outputs are no records of this D.
    """

    def __init__(self, path: Path, dimension: int, *, threads: int = 0) -> None:
        super().__init__(path, threads=threads)
        self._dimension, shapes = dimension, self.shapes
        self._cut = OUTPUT in shapes
        try:
            _, M, D = shapes[OUTPUT if self._cut else ROWS]
            S = int(D) - dimension if self._cut else shapes[SHARED][1]
            self.shape = Shape(int(M), min(int(D), dimension), int(S))
        except (KeyError, ValueError, IndexError, TypeError) as error:  # names stand for sizes that are free
            raise InputError("is not a network that gives records of pictures.", where=str(path)) from error

    def records(self, pixels: Float32[np.ndarray, "B 3 H W"]) -> Records:
        """Records of B prepared pictures."""
        return self._records(self.run(self._outputs, pixels))

    def placed(self, pixels: Float32[np.ndarray, "B 3 H W"]) -> tuple[Records, Float32[np.ndarray, "B P M D"]]:
        """Records, and what each place adds to their rows, for a network that has this output."""
        *found, places = self.run([*self._outputs, PLACES], pixels, **{ASKED: np.arange(len(pixels))})
        return self._records(found), places

    @property
    def _outputs(self) -> tuple[str, ...]:
        return (OUTPUT,) if self._cut else (ROWS, SHARED)

    def _records(self, found: Sequence[np.ndarray]) -> Records:
        return Records.from_copies(found[0], self._dimension) if self._cut else Records(*found)
