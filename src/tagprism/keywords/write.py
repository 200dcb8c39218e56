"""From tags to sidecars or photos: which tags become keywords, and a run that writes them so that it can be undone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tagprism.errors import InputError, MachineError, NothingToDoError, PictureError, TagprismError
from tagprism.exchange import read_at_most
from tagprism.files import digest_bytes
from tagprism.images.decode import MAX_PIXELS
from tagprism.images.picture_list import refuse_absent, why_none
from tagprism.images.walk import WalkReport, find_pictures
from tagprism.keywords import embed, sidecar
from tagprism.keywords.embed import EmbedChange
from tagprism.keywords.journal import Journal
from tagprism.keywords.sidecar import Naming, SidecarChange, has_another
from tagprism.progress import Progress, silent
from tagprism.tagging.read_rows import read_jsonl
from tagprism.tagging.tagger import Tagger
from tagprism.tagging.tags import ImageTags, Tag

_LEAST_PROBABILITY = 0.5
_AT_A_TIME = 16  # files whose old bytes are put on disk together: it takes as long as for one
_LARGEST = 4 << 30  # bytes of rows: tags of some ten million pictures


@dataclass(frozen=True)
class Limits:
    """Which tags become keywords; with no limit at all, those of probability 0.5 or more.

    Args:
        min_probability: least probability, 0..1.
        min_score: least score.
        top_k: tags per picture at most.
    """

    min_probability: float | None = None
    min_score: float | None = None
    top_k: int | None = None

    def resolved(self, calibrated: bool, where: str) -> Limits:
        """With the default filled in.

        Raises:
            InputError: there are no probabilities, and nothing else was asked for.
        """
        if not calibrated and (self.min_probability is not None or (self.min_score is None and self.top_k is None)):
            raise InputError(
                "there are no probabilities to choose keywords by, as the model is not calibrated.",
                where=where,
                remedy="Say how many or how good: --top-k 5 or --min-score 2.5; `tagprism models calibrate` fits them.",
            )
        return Limits(_LEAST_PROBABILITY) if self == Limits() else self

    def keywords(self, tags: Iterable[Tag]) -> list[str]:
        """The labels that pass, best first."""
        kept = [
            tag.label
            for tag in tags
            if (self.min_score is None or tag.score >= self.min_score)
            and (self.min_probability is None or (tag.probability or 0) >= self.min_probability)
        ]
        return kept[: self.top_k]


@dataclass(frozen=True)
class Source:
    """Tags on their way to sidecars.

    Args:
        rows: a picture and its tags, or why it has none.
        limits: which of them become keywords.
        model: digest of the model, or empty.
        command: what was asked, as JSON; the same again continues a run that was interrupted.
        not_read: kind -> how many files in the folders are of a kind that is not read.
    """

    rows: Iterable[ImageTags]
    limits: Limits
    model: str
    command: dict[str, Any]
    not_read: Mapping[str, int] = field(default_factory=dict)


def from_model(
    tagger: Tagger,
    photos: Sequence[str | os.PathLike[str]],
    limits: Limits = Limits(),
    labels: Mapping[str, Sequence[str]] | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = silent,
    exclude: Sequence[str] = (),
    report: WalkReport | None = None,
) -> Source:
    """Tags that a model finds while they are written.

    Args:
        tagger: the model.
        photos: pictures and folders.
        limits: which tags become keywords.
        labels: words to choose from with their other spellings; the model's vocabulary when None.
        max_pixels: cap on the size of a picture.
        progress: told of every picture.
        exclude: patterns of what is left out of the folders, as in a `.gitignore`.
        report: told of what is left out.

    Raises:
        NothingToDoError: there are no pictures.
        InputError: none of the photos is there; the model has no probabilities, and no other limit is given; words
            without a vector.
    """
    limits = limits.resolved(tagger.calibrated, str(tagger.bundle.path))
    report = WalkReport() if report is None else report
    refuse_absent(photos)
    files = find_pictures(photos, exclude=exclude, report=report)
    if not files:
        where = ", ".join(map(os.fsdecode, photos))
        raise NothingToDoError("there are no pictures.", where=where, remedy=why_none(report))
    rows = tagger.tag_each(
        files, labels, limits.top_k, limits.min_probability, max_pixels=max_pixels, progress=progress
    )
    digest = tagger.bundle.digest
    asked = {"photos": [os.path.abspath(photo) for photo in photos], "model": digest, "labels": labels}  # noqa: PTH100
    if exclude:
        asked["exclude"] = list(exclude)
    return Source(rows, limits, digest, asked, report.not_read)


def from_rows(file: Path | bytes, limits: Limits = Limits(), *, progress: Progress = silent) -> Source:
    """Tags that `tagprism tag --format jsonl` has written.

    Args:
        file: the JSONL, or its bytes.
        limits: which tags become keywords.
        progress: told of every row.

    Raises:
        NothingToDoError: there is no row.
        InputError: it cannot be read, or has no probabilities and no other limit is given.
    """
    where = "-" if isinstance(file, bytes) else str(file)
    try:
        data = file if isinstance(file, bytes) else read_at_most(file, _LARGEST)
    except OSError as error:
        raise InputError(f"cannot be read ({os.strerror(error.errno or 0)}).", where=where) from error
    read = list(read_jsonl(data, where))
    if not read:
        raise NothingToDoError("there is no row in it.", where=where)
    limits = limits.resolved(all(tag.probability is not None for row in read for tag in row.tags), where)

    def rows() -> Iterator[ImageTags]:
        with progress("writing keywords", len(read)) as advance:
            for row in read:
                yield row
                advance(1)

    return Source(rows(), limits, "", {"tags": digest_bytes(data)})


@dataclass
class Written:
    """What a run did, or would do.

    Args:
        written: how many sidecars, or photos, were written.
        same: how many were as they should be.
        skipped: pictures that got no keywords, each with the reason.
        refused: for how many of them the reason is that the machine refused.
        beside_another: how many new sidecars stand beside one of the other naming, as whose copies they began.
        linked: how many of the files had other names (hard links), which keep what they had.
        run: name of the run's journal for `journal.undo`; None where nothing was written.
    """

    written: int = 0
    same: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    refused: int = 0
    beside_another: int = 0
    linked: int = 0
    run: str | None = None


def write_keywords(
    source: Source,
    naming: Naming | None = None,
    *,
    inside: bool = False,
    hierarchy: Mapping[str, str] | None = None,
    dry_run: bool = False,
    changed: Callable[[SidecarChange], None] | None = None,
) -> Written:
    """Write keywords into sidecars beside their photos, or into JPEGs; the keywords of people stay as they are.

    Args:
        source: where the tags come from.
        naming: names of the sidecars, as for `sidecar_path`; None for the form that a photo has.
        inside: write into the photos instead, with exiftool (`embed`).
        hierarchy: the person's hierarchy (`hierarchy.read_hierarchy`).
        dry_run: find out what would be written, and write nothing.
        changed: told of every file that was, or would be, written.

    Raises:
        MachineError: the disk is full, what was written until then can be undone; or exiftool is not installed.

    Example:
        ```
        done = write_keywords(from_model(tagprism.load(), ["photos"]))
        print(done.written, done.skipped)
        undo(done.run)
        ```
    """
    command = {**source.command, "limits": vars(source.limits), "sidecar": naming, "embed": inside, "places": hierarchy}
    if inside:
        embed.check_exiftool()
    with nullcontext() if dry_run else Journal(command) as journal:
        run = _Run(source, naming, inside, hierarchy, journal, changed)
        for row in source.rows:
            run.take(row)
        run.write()
        if journal is not None:
            journal.finish()
            run.done.run = journal.path.stem if journal.path is not None and run.done.written else None
    return run.done


class _Run:
    """Takes row by row, writes some at a time, and counts."""

    def __init__(
        self,
        source: Source,
        naming: Naming | None,
        inside: bool,
        hierarchy: Mapping[str, str] | None,
        journal: Journal | None,
        changed: Callable[[SidecarChange], None] | None,
    ) -> None:
        self._source, self._naming, self._inside, self._places = source, naming, inside, hierarchy
        self._journal, self._changed = journal, changed
        self._waiting: dict[Path, tuple[Path, SidecarChange]] = {}
        self.done = Written()

    def take(self, row: ImageTags) -> None:
        if row.error is not None:
            self.done.skipped.append((os.fsdecode(row.path), row.error.message))
            return
        try:
            change = self._planned(row)
            if change.path in self._waiting:  # a photo that is named twice
                self.write()
                change = self._planned(row)
        except PictureError as error:
            self.done.skipped.append((os.fsdecode(row.path), error.message))
            return
        if not change.is_needed:
            self.done.same += 1
            return
        self._waiting[change.path] = Path(row.path), change
        if len(self._waiting) == _AT_A_TIME:
            self.write()

    def _planned(self, row: ImageTags) -> SidecarChange:
        keywords, model = self._source.limits.keywords(row.tags), self._source.model
        if self._inside:
            return embed.plan(Path(row.path), keywords, model, self._places)
        return sidecar.plan(Path(row.path), self._naming, keywords, model, self._places)

    def write(self) -> None:
        waiting, self._waiting = list(self._waiting.values()), {}
        outcomes: Sequence[TagprismError | None] = [None] * len(waiting)
        if self._journal is not None and waiting:
            changes = [change for _, change in waiting]
            embedding = [change for change in changes if isinstance(change, EmbedChange)]
            outcomes = embed.write(embedding, self._journal) if embedding else sidecar.write(changes, self._journal)
        for (photo, change), error in zip(waiting, outcomes, strict=True):
            if error is None:
                self.done.written += 1
                self.done.linked += change.linked
                self.done.beside_another += change.before is None and has_another(photo, change.path)
                if self._changed is not None:
                    self._changed(change)
            else:
                self.done.refused += isinstance(error, MachineError)
                message = error.message if isinstance(error, PictureError) else str(error)
                self.done.skipped.append((os.fsdecode(photo), message))
