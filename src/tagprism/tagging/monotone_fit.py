"""Fit the map from features to probabilities: logistic regression, then a rising line of straight pieces on its sum.

The straight pieces mend what a logistic curve cannot: it is too sure of its highest scores. Knows only arrays.
"""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Bool, Float, Float64

from tagprism.tagging.calibration import MonotoneMap

_KNOTS = (0.0, 0.5, 0.9, 0.97, 0.99, 0.997, 0.999)  # shares of the pairs below each knot: fine where positives are
_STEPS, _TOLERANCE, _RIDGE = 100, 1e-9, 1e-6


def fit_monotone(
    features: Float[np.ndarray, "n F"], positive: Bool[np.ndarray, " n"], *, rising: int = 2, pieces: bool = True
) -> MonotoneMap:
    """Fit a map to pairs.

    Args:
        features: of n pairs, finite.
        positive: whether the picture has the label; some must, some must not.
        rising: the first so many features get no negative weight.
        pieces: add the straight pieces; else the logistic curve alone.
    """
    scale = features.std(axis=0, dtype=np.float64) + 1e-12
    limited = np.arange(features.shape[1]) < rising
    bias, weights = _logistic(features / scale, positive, limited)
    weights = weights / scale
    sums = features.astype(np.float64) @ weights
    if not pieces:
        ends = np.array([sums.min(), sums.max() + 1.0])
        return MonotoneMap(weights, ends, ends + bias)
    knots = np.unique(np.quantile(sums, _KNOTS))
    knots = np.append(knots, max(sums.max(), knots[-1] + 1.0))
    start, slopes = _logistic(_lengths(sums, knots), positive, np.ones(len(knots) - 1, bool))
    return MonotoneMap(weights, knots, start + np.concatenate([[0.0], np.cumsum(slopes * np.diff(knots))]))


def _lengths(sums: Float64[np.ndarray, " n"], knots: Float64[np.ndarray, " K"]) -> Float64[np.ndarray, "n pieces"]:
    """How far each sum reaches into each piece; the weights of a logistic regression on it are the pieces' slopes."""
    return np.stack([np.clip(sums, low, high) - low for low, high in itertools.pairwise(knots)], axis=1)


def _logistic(
    features: Float[np.ndarray, "n F"], positive: Bool[np.ndarray, " n"], limited: Bool[np.ndarray, " F"]
) -> tuple[float, Float64[np.ndarray, " F"]]:
    """Logistic regression with some weights at least 0: Newton's method, projected, with halved steps.

    A tiny ridge keeps weights finite that the data leave open.
    """
    design = np.concatenate([np.ones((len(features), 1)), features], axis=1)  # (n, 1 + F) float64
    limited = np.concatenate([[False], limited])
    marks, ridge = positive.astype(np.float64), _RIDGE * np.concatenate([[0.0], np.ones(features.shape[1])])
    share = marks.mean()
    weights = np.zeros(design.shape[1])
    weights[0] = np.log(share / (1 - share))

    def loss(at: Float64[np.ndarray, " F1"]) -> float:
        sums = design @ at
        return float((np.logaddexp(0, sums) - marks * sums).mean() + (ridge * at**2).sum() / 2)

    value = loss(weights)
    for _ in range(_STEPS):
        probabilities = 0.5 * (1 + np.tanh(design @ weights / 2))
        gradient = design.T @ (probabilities - marks) / len(marks) + ridge * weights
        free = ~(limited & (weights <= 0) & (gradient > 0))
        curved = design[:, free] * (probabilities * (1 - probabilities))[:, None]
        hessian = curved.T @ design[:, free] / len(marks) + np.diag(ridge[free] + 1e-12)
        step = np.zeros_like(weights)
        step[free] = np.linalg.solve(hessian, gradient[free])
        size, before = 1.0, value
        while size > 1e-8:
            moved = np.where(limited, np.maximum(weights - size * step, 0), weights - size * step)
            value = loss(moved)
            if value <= before:
                break
            size /= 2
        else:
            break
        weights = moved
        if before - value < _TOLERANCE * abs(before):
            break
    return float(weights[0]), weights[1:]
