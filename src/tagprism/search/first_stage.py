"""One small vector of each picture, by which candidates are found: what its rows come to, and its shared numbers.

The numbers are 8-bit whole ones with a power of two for either part, multiplied by ONNX Runtime's product of whole
numbers: several times faster than any float product here, and as near as the numbers in float32 (docs/scale.md). With
them goes the radius: a share of it, times a label vector's length, is what the best row usually has more. Rows come to
what `row_summary` makes of them, or, until label vectors are known, to their mean and the farthest row's distance.

A large index has an outline of the small vectors too, which says which of them are worth reading (`outline`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int8, Int32, Int64, UInt8

from tagprism.bundle.record import Records, Shape
from tagprism.files import machine_errors
from tagprism.progress import Progress, silent, told
from tagprism.search.contract import Match
from tagprism.search.outline import LARGEST, ZERO, Outline, Projection, best_slots, nearly_best, whole_columns
from tagprism.search.record_file import SlotFile, powers_of_two
from tagprism.search.row_summary import RowSummary

_MATMUL = (
    bytes.fromhex(  # one node MatMulInteger: a (n, w) uint8, b (w, q) int8 -> o (n, q) int32; a test makes it anew
        "08093a620a180a01610a016212016f220d4d61744d756c496e74656765721201675a150a016112100a0e0802120a0a031201"
        "6e0a031201775a150a016212100a0e0803120a0a031201770a0312017162150a016f12100a0e0806120a0a0312016e0a0312"
        "017142040a00100d"
    )
)
_POWERS = np.exp2(np.arange(256) - 128.0).astype(np.float32)  # by the byte that is kept
_RADII = np.exp2((np.arange(256) - 128.0) / 8).astype(np.float32)  # likewise
_MORE = 3  # bytes beside the numbers: the two exponents, and the radius
_USUAL = 0.2  # of the radius is what the best row has more than the mean (docs/scale.md)
_PART, _PICKED = 1 << 14, 1 << 12  # pictures multiplied at once, and fewer where they are gathered first
MOST = 0.8  # share of all slots from which on it is quicker to look at all than to pick
_OUTLINES, _USUALLY_ASKED = "outlines.bin", "usually_asked.safetensors"  # beside the small vectors
_FITTED = 20_000  # pictures that the components of outlines are found from
_WORTH, _SHARE = 4, 20  # times the candidates are read after their outlines, or one in so many if that is more


OUTLINED = 250_000
"""Pictures from which on outlines are kept, and looked at before the small vectors."""


class FirstStage:
    """The small vectors of pictures, in a file by their slots.

    Args:
        path: of the file; made when absent.
        shape: of the pictures' records.

    Attributes:
        file: the vectors' bytes.

    Raises:
        MachineError: the file cannot be read or written; by every method.
    """

    def __init__(self, path: Path, shape: Shape) -> None:
        self._dimension = shape.dimension
        self.file = SlotFile(path, shape.width + _MORE)
        self._lock = threading.Lock()
        self._known = np.empty((3, 0), np.float32)  # what `_tails` gives
        self._outlines, self._usually_asked = path.with_name(_OUTLINES), path.with_name(_USUALLY_ASKED)
        self._summary = RowSummary.opened(self._usually_asked, shape.dimension)
        outline = None
        if self._outlines.is_file():
            outline = Outline.opened(self._outlines, shape.width + 1, self._product)
        # One that is too short was lost or damaged; what is written to it later would hide that.
        self._outline = outline if outline is None or outline.size >= self.size else None

    @property
    def size(self) -> int:
        """Number of slots up to the last one that was ever written."""
        return len(self.file.items)

    @property
    def fitted(self) -> bool:
        """Whether rows come to what `summarise` was told of."""
        return self._summary is not None

    @property
    def outlined(self) -> bool:
        """Whether there are outlines."""
        return self._outline is not None

    def write(self, slots: Int64[np.ndarray, " n"], records: Records) -> UInt8[np.ndarray, "n size"]:
        """Keep what records come down to, as `SlotFile.write`; the bytes that are kept."""
        parts, exponents, radius = [], [], None
        if self._summary is None:
            of_rows = records.rows.mean(axis=1)
        else:
            of_rows, more = self._summary.of(records.rows)
            radius = more / _USUAL
        for part in (of_rows, records.shared):
            scales = powers_of_two(part, LARGEST)
            parts.append(np.rint(part / scales[:, None]))
            exponents.append(np.log2(scales))
        if radius is None:
            kept_mean = parts[0] * np.exp2(exponents[0])[:, None]
            radius = np.linalg.norm(records.rows - kept_mean[:, None], axis=2).max(axis=1)
        steps = np.clip(np.ceil(8 * np.log2(np.maximum(radius, 1e-4))), -ZERO, LARGEST)
        numbers = np.concatenate([*parts, np.stack([*exponents, steps], axis=1)], axis=1)
        items: UInt8[np.ndarray, "n size"] = (numbers + ZERO).astype(np.uint8)
        with self._lock:
            self.file.write(slots, items)
            again = slots < self._known.shape[1]
            self._known[:, slots[again]] = _read_tails(items[again])
        if self._outline is not None:
            self._outline.write(slots, self._numbers(items))
        return items

    def summarise(self, label_vectors: Float32[np.ndarray, "K D"]) -> None:
        """Make of rows what is nearest for such label vectors from now on.

        What was written before is to be written again; then `keep_summary` says that this is done.
        """
        self._summary, self._outline = RowSummary.over(label_vectors), None
        with machine_errors(self._outlines):
            self._outlines.unlink(missing_ok=True)  # outlines of other small vectors

    def forget_summary(self) -> None:
        """What was written before was not written again."""
        self._summary = None

    def keep_summary(self) -> None:
        """All pictures are written by the summary; until this is called, an index that is opened anew has none."""
        if self._summary is not None:
            self._summary.save(self._usually_asked)

    def make_outlines(self, scoring_vectors: Float32[np.ndarray, "q Q"], progress: Progress = silent) -> None:
        """Keep outlines from now on, fitted to the small vectors that are there and to scoring vectors."""
        items = self.file.items
        some = self._numbers(items[:: max(1, len(items) // _FITTED)])
        projection = Projection.fitted(some, self._asked(scoring_vectors))
        parts = (np.arange(at, min(at + _PART, len(items))) for at in range(0, len(items), _PART))
        with progress("outlining pictures", len(items)) as advance:
            small = ((slots, self._numbers(items[slots])) for slots in told(parts, advance))
            self._outline = Outline.made(self._outlines, projection, small, self._product)

    def likely(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], slots: Int64[np.ndarray, " n"], count: int
    ) -> Iterator[Int64[np.ndarray, " count"]]:
        """For each scoring vector so many slots, of some that rise, of the pictures that likely score best."""
        outline, worth = self._outline, max(_WORTH * count, len(slots) // _SHARE)
        if outline is not None and len(slots) >= max(OUTLINED, 4 * worth) and outline.size > slots[-1]:
            for vector, rough in zip(scoring_vectors, outline.scores(self._asked(scoring_vectors)), strict=True):
                rough = rough if len(slots) == len(rough) else rough[slots]
                some = slots[nearly_best(rough, worth)]
                yield some[best_slots(self.scores(vector[None], some)[0], count)]
            return
        for of_one in self._scores_at(scoring_vectors, slots):
            yield slots[best_slots(of_one, count)]

    def best_together(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], slots: Int64[np.ndarray, " n"], count: int, match: Match
    ) -> Int64[np.ndarray, " count"]:
        """So many slots, of some that rise, of the pictures whose scores for all vectors together likely match best.

        A list of the best for each vector would have to be long to hold a picture that is only good for each.
        """
        outline, worth = self._outline, max(_WORTH * count, len(slots) // _SHARE)
        if outline is not None and len(slots) >= max(OUTLINED, 4 * worth) and outline.size > slots[-1]:
            rough = outline.estimates(self._asked(scoring_vectors))
            rough = rough if len(slots) == rough.shape[1] else rough[:, slots]
            slots = slots[nearly_best(match(rough, slots), worth)]
        best: Int64[np.ndarray, " count"]
        best = slots[best_slots(match(self._scores_at(scoring_vectors, slots), slots), count)]
        return best

    def _scores_at(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], slots: Int64[np.ndarray, " n"]
    ) -> Float32[np.ndarray, "q n"]:
        """As `scores`, of slots that rise."""
        everything = len(slots) > MOST * self.size
        scores = self.scores(scoring_vectors, None if everything else slots)
        return scores[:, slots] if everything and len(slots) < scores.shape[1] else scores

    def _numbers(self, items: UInt8[np.ndarray, "n size"]) -> Float32[np.ndarray, "n W"]:
        """The small vectors in kept bytes, and behind each its radius."""
        tails = _read_tails(items)
        numbers = np.concatenate([items[:, :-_MORE].astype(np.float32) - ZERO, tails[2][:, None]], axis=1)
        numbers[:, : self._dimension] *= tails[0][:, None]
        numbers[:, self._dimension : -1] *= tails[1][:, None]
        return numbers

    def _asked(self, scoring_vectors: Float32[np.ndarray, "q Q"]) -> Float32[np.ndarray, "q W"]:
        """Scoring vectors, and behind each what it asks of the radius."""
        return np.concatenate([scoring_vectors, self._usual(scoring_vectors)[:, None]], axis=1)

    def _usual(self, scoring_vectors: Float32[np.ndarray, "q Q"]) -> Float32[np.ndarray, " q"]:
        """How many times its radius a picture's best row usually has more than the mean."""
        usual: Float32[np.ndarray, " q"] = np.linalg.norm(scoring_vectors[:, : self._dimension], axis=1)
        return _USUAL * usual.astype(np.float32)

    def scores(
        self, scoring_vectors: Float32[np.ndarray, "q Q"], slots: Int64[np.ndarray, " n"] | None = None
    ) -> Float32[np.ndarray, "q n"]:
        """What the pictures at some slots, or at all, likely score, as near as the small vectors know it."""
        items = self.file.items
        count = len(items) if slots is None else len(slots)
        all_tails = self._tails(count) if slots is None else None
        columns, steps = _columns(scoring_vectors, self._dimension)
        offsets = ZERO * columns.sum(axis=0, dtype=np.int32)[:, None]
        usual = self._usual(scoring_vectors)
        found = np.empty((len(scoring_vectors), count), np.float32)
        step = _PART if slots is None else _PICKED
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            kept = items[part] if slots is None else items[slots[part]]
            tails = _read_tails(kept) if all_tails is None else all_tails[:, part]
            whole = np.ascontiguousarray(self._product(kept, columns).T)  # each pass is then over a whole row
            whole -= offsets
            products = whole.astype(np.float32).reshape(2, len(steps[0]), -1)  # (part, q, n)
            products *= steps[:, :, None]
            products *= tails[:2, None]
            found[:, part] = products[0] + products[1] + usual[:, None] * tails[2]
        return found

    def _tails(self, count: int) -> Float32[np.ndarray, "3 n"]:
        """How much 1 is in either part of the first pictures, and their radii: they lie far apart in the file."""
        with self._lock:
            if self._known.shape[1] < count:
                more = _read_tails(self.file.items[self._known.shape[1] :])
                self._known = np.concatenate([self._known, more], axis=1)
            return self._known

    def _product(self, kept: UInt8[np.ndarray, "n w"], columns: Int8[np.ndarray, "w c"]) -> Int32[np.ndarray, "n c"]:
        products: Int32[np.ndarray, "n c"] = self._session.run(None, {"a": kept, "b": columns})[0]
        return products

    @cached_property
    def _session(self) -> Any:
        import onnxruntime  # here, as a small index needs none of it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads sleep
        return onnxruntime.InferenceSession(_MATMUL, options, providers=["CPUExecutionProvider"])


def _read_tails(items: UInt8[np.ndarray, "n size"]) -> Float32[np.ndarray, "3 n"]:
    exponents, radii = items[:, -_MORE:-1], items[:, -1]
    return np.concatenate([_POWERS[exponents].T, _RADII[radii][None]])


def _columns(
    scoring_vectors: Float32[np.ndarray, "q Q"], dimension: int
) -> tuple[Int8[np.ndarray, "w c"], Float32[np.ndarray, "2 q"]]:
    """Scoring vectors as columns of whole numbers, and how much 1 is in either part.

    Either part of a vector, the label vector and the rest, becomes a column, with nothing where the other part is and
    behind the numbers.
    """
    q, Q = scoring_vectors.shape
    columns, steps = np.zeros((Q + _MORE, 2, q), np.int8), np.empty((2, q), np.float32)
    for at, part in enumerate((slice(0, dimension), slice(dimension, Q))):
        columns[part, at], steps[at] = whole_columns(scoring_vectors[:, part].T)
    return columns.reshape(Q + _MORE, -1), steps
