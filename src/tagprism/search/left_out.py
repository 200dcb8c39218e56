"""Marked pictures that are left out once: how well the others find them, and whether that is more than chance.

Knows neither labels nor an index.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from jaxtyping import Float64

_FLIPPED = 0.05, 1.645  # how often chance may be taken for a gain, and the normal deviations that stand for it
_DRAWN = 0.02, 2.054  # the same for pictures drawn at random: people have many words of their own
_FLIPS, _DRAWS = 999, 499

BY_CHANCE = float(np.exp(-1))
"""The share of other pictures that are above one by chance: such that gains, which are logarithms, have the mean 0."""


def left_out_deviations(
    kernel: Float64[np.ndarray, "n n"], to_others: Float64[np.ndarray, "N n"]
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, "N n"]]:
    """How like the other marked pictures each of n is, and N other pictures are, in deviations of these.

    Args:
        kernel: products of the marked pictures.
        to_others: those of the others with them; column i of what is returned is without picture i.
    """
    n = len(kernel)
    own = (kernel.sum(axis=1) - np.diag(kernel)) / (n - 1)
    theirs = (to_others.sum(axis=1, keepdims=True) - to_others) / (n - 1)
    mean, scale = theirs.mean(axis=0), theirs.std(axis=0) + 1e-9
    return (own - mean) / scale, (theirs - mean) / scale


def share_above(theirs: Float64[np.ndarray, "N n"], own: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Share of N others that are not below each of n, of which one counts as above: never 0."""
    share: Float64[np.ndarray, " n"] = (1 + (theirs >= own).sum(axis=0)) / (1 + len(theirs))
    return share


def left_out_gain(gains: Float64[np.ndarray, "n C"]) -> Float64[np.ndarray, " n"]:
    """The gain on each picture of the way that is best on the others."""
    n = len(gains)
    others = (gains.sum(axis=0) - gains) / (n - 1)
    found: Float64[np.ndarray, " n"] = gains[np.arange(n), others.argmax(axis=1)]
    return found


def gains_by_chance(products: Float64[np.ndarray, "N N"], count: int) -> Float64[np.ndarray, " d"]:
    """Mean gains of pictures drawn at random, as if they were marked with a word that no model knows.

    Args:
        products: of N pictures of the collection with each other.
        count: pictures of a draw, at least 2; fewer are drawn where N are not more than that.
    """
    random, total = np.random.default_rng(count), len(products)
    gains = np.empty(_DRAWS)
    for draw in range(_DRAWS):
        some = np.zeros(total, bool)
        some[random.choice(total, min(count, total - 1), replace=False)] = True
        own, theirs = left_out_deviations(products[np.ix_(some, some)], products[np.ix_(~some, some)])
        gains[draw] = np.mean(np.log(BY_CHANCE) - np.log(share_above(theirs, own)))
    return gains


def marks_needed(gains: Float64[np.ndarray, " n"], by_chance: Float64[np.ndarray, " d"] | None = None) -> int | None:
    """How many marks it takes to tell their mean gain from chance.

    Args:
        gains: of n marks that were left out; at least 2.
        by_chance: mean gains of d times n pictures drawn at random. Where None, chance is taken to give every gain as
            often as its opposite, so that fewer than five marks never suffice.

    Returns:
        0 where n suffice: chance gives so much one time in twenty at most, by pictures drawn at random one in
        fifty. Else about how many would suffice if they gained as much; None where chance gives as much on average.
    """
    n, gain = len(gains), float(gains.mean())
    level, deviations = _FLIPPED if by_chance is None else _DRAWN
    if by_chance is None:
        signs = np.random.default_rng(n).choice([-1.0, 1.0], (_FLIPS, n))
        expected, deviation, by_chance = 0.0, float(gains.std(ddof=1)), (signs * gains).mean(axis=1)
    else:
        expected, deviation = float(by_chance.mean()), float(by_chance.std() * np.sqrt(n))
    if gain <= expected:
        return None
    if 1 + np.count_nonzero(by_chance >= gain - 1e-12) <= level * (1 + len(by_chance)):
        return 0
    return max(n + 1, ceil((deviations * deviation / (gain - expected)) ** 2))
