"""The plot of `cost.py`: accuracy against speed, M and D. Knows only its rows; needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

_COLOURS = {"zsl": "#D55E00", "gzsl": "#0072B2"}  # Okabe and Ito: told apart with any kind of colour blindness
_MARKS = {"fp32": "o", "fp16": "s", "int8": "^"}
_TITLES = {"zsl": "unseen labels (ZSL)", "gzsl": "all labels (GZSL)"}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the plot as SVG.

    Args:
        rows: of `cost.py`.
        path: file to write.
    """
    figure = Figure(figsize=(12, 4), layout="constrained")
    speed, vectors, sizes = figure.subplots(1, 3)
    for side, colour in _COLOURS.items():
        for row in (one for one in rows if one["group"] == "backbone"):
            at = row["pictures_per_second"], _mean(row, side) + row["lost"][side]
            area = 4 * row["megabytes"] ** 0.75
            speed.scatter(*at, s=area, marker=_MARKS[row["form"]], color=colour, alpha=0.7, linewidths=0)
            if row["form"] == "fp32":
                speed.annotate(row["name"], at, textcoords="offset points", xytext=(0, 9), ha="center", fontsize=8)
        for axis, group in ((vectors, "M"), (sizes, "D")):
            own = [one for one in rows if one["group"] == group]
            places = [one["vectors" if group == "M" else "dimension"] for one in own]
            means = [_mean(one, side) for one in own]
            errors = [_error(one, own[0], side) for one in own]
            axis.errorbar(places, means, errors, color=colour, marker="o", capsize=3, label=_TITLES[side])
    speed.set(xlabel="pictures per second and thread", ylabel="mAP, percent", xscale="log", title="network")
    vectors.set(xlabel="M, vectors per picture", title="M")
    sizes.set(xlabel="D, numbers per label vector", title="D", xscale="log")
    for axis, ticks in ((speed, (25, 50, 100, 200)), (sizes, (64, 128, 256, 512))):
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
    speed.margins(0.15)
    for form, mark in _MARKS.items():
        speed.scatter([], [], marker=mark, color="grey", label=form)
    speed.legend(title="area: megabytes", fontsize=8, title_fontsize=8)
    vectors.legend(fontsize=8)
    for axis in (speed, vectors, sizes):
        axis.grid(alpha=0.3)
    with rc_context({"svg.hashsalt": "tagprism", "svg.fonttype": "none"}):  # the same rows, the same file; text as text
        figure.savefig(path, metadata={"Date": None})


def _mean(row: dict[str, Any], side: str) -> float:
    return float(np.mean([one[side] for one in row["accuracy"]]))


def _error(row: dict[str, Any], first: dict[str, Any], side: str) -> float:
    """Standard error of the paired difference to the first row of the group: splits differ far more than points."""
    gap = np.array([a[side] - b[side] for a, b in zip(row["accuracy"], first["accuracy"], strict=True)])
    return float(gap.std(ddof=1) / len(gap) ** 0.5) if len(gap) > 1 else 0.0
