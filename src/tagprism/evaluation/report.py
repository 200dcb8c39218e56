"""The report: one HTML file with everything in it, no outside host, no script. Knows only results and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from tagprism.errors import PictureError
from tagprism.evaluation.charts import (
    HEIGHT,
    WIDTH,
    Chart,
    label_map,
    learning_curves,
    on_the_left,
    precision_by_frequency,
    row_usage,
)
from tagprism.evaluation.evaluate import Result
from tagprism.evaluation.protocols import TASK_TITLES, Evaluation, LabelResult, Task
from tagprism.evaluation.reliability import RELIABILITY_COLUMNS, RELIABILITY_NOTE, Reliability, reliability_cells
from tagprism.evaluation.showcase import Curve, Ranking, Showcase, showcase
from tagprism.evaluation.table import Layout, Methods, lay_out
from tagprism.exchange import OWN_PAGE, refuse_foreign
from tagprism.files import write_text
from tagprism.images.decode import open_picture
from tagprism.images.picture_file import PictureFile

THUMBNAIL = 168  # pixels: sharp at the 84 to 132 CSS pixels shown, about 6 kB each
PLOT_WIDTH, PLOT_HEIGHT = 200.0, 120.0  # of a precision-recall plot, in its own units
MOST_BARS = 60  # labels shown in one list of bars; more are folded
NOTHING_SHOWN = Showcase((), (), ())
_OF_FOREIGN = ("foreign", "form", "revision", "prompt", "trained_on")  # of a model that has no recipe


@dataclass(frozen=True)
class Tag:
    """One tag of a picture: its label, the number shown with it, and whether no one trained on it."""

    label: str
    value: str = ""
    unseen: bool = False


@dataclass(frozen=True)
class TaggedPicture:
    """A picture and the tags the model gave it; `note` is one line below (such as its own keywords)."""

    path: PictureFile
    tags: tuple[Tag, ...]
    note: str = ""


@dataclass(frozen=True)
class PhotoTour:
    """A model in use on photographs, which the report of the demo opens with.

    Args:
        model: its name.
        tagged: photographs with their probable tags.
        own_words: the same with the likeliest of `words`.
        words: a list of one's own.
        found: the first photographs for some phrases.
        explained: pictures that show where tags come from, each with its caption.
        sources: (package, authors and licences of its photographs).
    """

    model: str
    tagged: tuple[TaggedPicture, ...]
    own_words: tuple[TaggedPicture, ...]
    words: tuple[str, ...]
    found: tuple[Ranking, ...]
    explained: tuple[tuple[str, Image.Image], ...]
    sources: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Report:
    """What a report shows; an empty part leaves its section out.

    Args:
        title: heading of the page.
        lead: one or two plain sentences below it.
        provenance: (name, value) of recipe, seed, versions, digests, commit, data and its licence.
        methods: see `table.lay_out`; the first one is the model that the rest of the report shows.
        reliability: how well probabilities hold, for `unseen` and `seen` labels.
        showcase: curves and rankings of some unseen labels.
        charts: learning curves, label space and so on.
        tagged: pictures with their tags.
        found: rankings by search queries.
        photos: what comes before everything else.
    """

    title: str
    lead: str
    provenance: tuple[tuple[str, str], ...] = ()
    methods: Methods = field(default_factory=dict)
    reliability: Mapping[str, Reliability] = field(default_factory=dict)
    showcase: Showcase = NOTHING_SHOWN
    charts: tuple[Chart, ...] = ()
    tagged: tuple[TaggedPicture, ...] = ()
    found: tuple[Ranking, ...] = ()
    photos: PhotoTour | None = None


@dataclass(frozen=True)
class Plot:
    """A precision-recall curve as an SVG path."""

    curve: Curve
    line: str
    area: str
    chance_y: float


def report_of(
    result: Result, run: Path | None = None, training_counts: Int64[np.ndarray, " L"] | None = None
) -> Report:
    """The report of one model's result.

    Args:
        result: what was measured.
        run: folder of the RUN that was measured, whose learning curves are then shown.
        training_counts: (L,) training pictures that have each label, see `ImageTable.label_counts`.
    """
    return Report(
        title=f"{result.name} on {result.provenance['split']}",
        lead="Zero-shot multi-label ranking: how well words that were never trained on are ranked.",
        provenance=provenance_rows(result.provenance),
        methods={result.name: [result.evaluation]},
        reliability=result.calibration,
        showcase=showcase_of(result),
        charts=charts_of(result, run, training_counts),
    )


def charts_of(
    result: Result, run: Path | None = None, training_counts: Int64[np.ndarray, " L"] | None = None
) -> tuple[Chart, ...]:
    """Charts of a result, those for which there is something to draw; arguments as for `report_of`."""
    charts: list[Chart | None] = list(learning_curves(run) if run is not None else ())
    if training_counts is not None:
        charts.append(precision_by_frequency(result.evaluation, training_counts))
    if result.records is not None and result.queries is not None:
        charts.append(label_map(result.names, result.unseen, result.queries[:, : result.records.shape.dimension]))
        charts.append(row_usage(result.records, result.queries, result.targets, result.unseen))
    return tuple(chart for chart in charts if chart is not None)


def showcase_of(result: Result) -> Showcase:
    """Curves and rankings of a model's result; nothing for scores, whose records are not known."""
    if result.records is None or result.queries is None:
        return NOTHING_SHOWN
    return showcase(result.evaluation, result.records, result.queries, result.targets, result.files, result.best_rows)


def provenance_rows(provenance: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The provenance of a result as (name, value), short enough to read."""
    with_ = provenance["evaluated_with"]
    rows = []
    model = provenance.get("model", {})
    if "recipe" in model:
        rows.append(("recipe", f"{model['recipe']['name']}, seed {model['seed']}"))
    rows += [(key.replace("_", " "), str(model[key])) for key in _OF_FOREIGN if model.get(key) is not None]
    rows += [
        ("commit", with_["commit"] or "installed package"),
        ("split", f"{provenance['split']} ({provenance['split_digest'][:16]})"),
        *_protocol_rows(provenance["protocol"]),
        ("data digest", provenance["data"][:16]),
    ]
    rows += [("vocabulary digest", provenance["vocabulary"][:16])] if "vocabulary" in provenance else []
    versions = ", ".join(f"{name} {version}" for name, version in with_["versions"].items())
    device = f" on {its}" if (its := provenance.get("device")) else ""
    return (*rows, ("engine", f"{provenance['engine']}{device}"), ("versions", versions))


def _protocol_rows(protocol: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Which pictures of a published test were there, and what the protocol allows."""
    if protocol is None:
        return
    parts = protocol["pictures"].items()
    yield "pictures", "; ".join(f"{part}: {its['there']:,} of {its['official']:,} there" for part, its in parts)
    if protocol["same_label_allowed"]:
        pairs = ", ".join(f"{unseen} / {seen}" for unseen, seen in protocol["same_label_allowed"])
        yield "labels on both sides, by protocol (unseen / seen)", pairs


def write_report(path: Path, report: Report) -> None:
    """Write the report whole or not at all; names and captions are escaped, pictures embedded as small JPEGs.

    Args:
        path: the HTML file; about 8 kB per picture shown. An older report there is replaced.
        report: what it shows.

    Raises:
        InputError: the methods cannot be compared, or something else is there.
        MachineError: the file cannot be written.
    """
    refuse_foreign(path, OWN_PAGE)
    write_text(path, render_report(report))


def render_report(report: Report) -> str:
    """The HTML of a report; see `write_report`. A picture that cannot be read is shown as its reason."""
    first = next(iter(report.methods.values()), ())
    evaluation = first[0] if first else None
    environment = Environment(
        loader=PackageLoader("tagprism.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(thumbnail=lru_cache(maxsize=None)(thumbnail), embedded=_embedded)
    return environment.get_template("report.html.j2").render(
        report=report,
        comparison=lay_out(report.methods) if report.methods else Layout((), (), ()),
        evaluation=evaluation,
        task_titles=TASK_TITLES,
        reliability_columns=RELIABILITY_COLUMNS,
        reliability_note=RELIABILITY_NOTE,
        reliability_cells=reliability_cells,
        unseen_rows=_rows(evaluation, unseen=True, task="zsl"),
        seen_rows=_rows(evaluation, unseen=False, task="gzsl"),
        plots=[_plot(curve) for curve in report.showcase.curves],
        plot_size=(PLOT_WIDTH, PLOT_HEIGHT),
        most_bars=MOST_BARS,
        chart_size=(WIDTH, HEIGHT),
        on_the_left=on_the_left,
    )


def thumbnail(path: PictureFile) -> tuple[str, str]:
    """A small picture for a page.

    Returns:
        A `data:` address and an empty reason; or an empty address and the reason why the picture cannot be shown.
    """
    try:
        picture = open_picture(path, draft_size=(THUMBNAIL, THUMBNAIL))
    except PictureError as error:
        return "", error.message
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return _embedded(picture), ""


def _embedded(picture: Image.Image) -> str:
    """A picture as a `data:` address."""
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def _rows(evaluation: Evaluation | None, *, unseen: bool, task: Task) -> list[LabelResult]:
    """Labels with a positive, best first."""
    rows = [row for row in evaluation.per_label if row.unseen == unseen and row.positives] if evaluation else []
    return sorted(rows, key=lambda row: (-row.average_precision[task], row.label))


def _plot(curve: Curve) -> Plot:
    """Draw a curve: from the first positive's precision at recall 0, one point per positive."""
    recall, precision = [0.0, *curve.recall.tolist()], [float(curve.precision[0]), *curve.precision.tolist()]
    points = [
        f"{r / 100 * PLOT_WIDTH:.1f},{(1 - p / 100) * PLOT_HEIGHT:.1f}" for r, p in zip(recall, precision, strict=True)
    ]
    line = "M" + "L".join(points)
    area = f"{line}L{PLOT_WIDTH:g},{PLOT_HEIGHT:g}L0,{PLOT_HEIGHT:g}Z"
    return Plot(curve, line, area, (1 - curve.chance / 100) * PLOT_HEIGHT)
