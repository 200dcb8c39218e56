"""What a label's score is worth: the logit of a picture having it. Knows no queries as text.

Each label is set against its own scores over a fixed collection of pictures, so that a label that is high everywhere
does not drown the others. For one label the logit rises with the score, so one label ranks as its score does.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Float, Float32, Float64

from tagprism.bundle.score import max_similarity_numpy
from tagprism.search.contract import Index
from tagprism.tagging.tagger import Tagger

_SAMPLE = 256  # pictures of the index that stand in where the bundle has no background
_LEAST_DEVIATION = 1e-3
_OF_DEVIATIONS, _OF_SCORE, _LESS = 0.5, 1.0, 5.0
_LESS_ALONE = 4.0


@dataclass(frozen=True)
class Odds:
    """From scores to logits, `0.5 z + score - 5`, where z is the deviations by which a score is above its label's mean.

    The three numbers were chosen on validation photos and labels never trained on (`benchmarks/combining.py`); around
    them the quality is flat. Scores that are not standardised have no scale of their own: there it is `z - 4`.

    Args:
        background: (b, M, Q) ranking matrices of b pictures.
        standardised: whether scores are comparable between pictures.
    """

    background: Float[np.ndarray, "b M Q"]
    standardised: bool

    @classmethod
    def of(cls, tagger: Tagger, index: Index) -> Odds:
        """Those of a model: over the background of its calibration, or else over pictures of the index."""
        calibration = tagger.calibration
        background = _sample(index) if calibration is None else calibration.background
        return cls(background, tagger.bundle.config.standardised)

    def logits(
        self, queries: Float32[np.ndarray, "q Q"], scores: Float32[np.ndarray, "n q"]
    ) -> Float64[np.ndarray, "n q"]:
        """Logits of n pictures' scores for q queries."""
        found, _ = max_similarity_numpy(self.background, queries)
        known = found.astype(np.float64)
        wide = scores.astype(np.float64)
        above: Float64[np.ndarray, "n q"]
        above = (wide - known.mean(axis=0)) / np.maximum(known.std(axis=0), _LEAST_DEVIATION)
        return _OF_DEVIATIONS * above + _OF_SCORE * wide - _LESS if self.standardised else above - _LESS_ALONE


def _sample(index: Index) -> Float32[np.ndarray, "b M Q"]:
    """Matrices of pictures spread evenly over the index."""
    while True:
        step = max(1, index.info().pictures // _SAMPLE)
        ids = [picture.id for picture in islice(index.pictures(), None, None, step)][:_SAMPLE]
        try:
            return index.matrices(ids)
        except KeyError:  # one was removed meanwhile
            continue
