"""`tagprism keywords write`: from tags to sidecars."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagprism.app import console
from tagprism.errors import InputError, MachineError, NothingToDoError, PictureError, TagprismError
from tagprism.files import digest_bytes
from tagprism.images.decode import MAX_PIXELS
from tagprism.images.walk import find_pictures
from tagprism.keywords.journal import Journal
from tagprism.keywords.sidecar import Naming, SidecarChange, plan, sidecar_path, write
from tagprism.labels.phrase_list import read_phrases
from tagprism.progress import Progress
from tagprism.tagging.tagger import load
from tagprism.tagging.tags import ImageTags, Tag

_LEAST_PROBABILITY = 0.5
_AT_A_TIME = 16  # sidecars whose old bytes are put on disk together: it takes as long as for one


@dataclass(frozen=True)
class Limits:
    """Which tags become keywords.

    Args:
        min_probability: least probability, 0..1.
        min_score: least score.
        top_k: tags per picture at most.
    """

    min_probability: float | None
    min_score: float | None
    top_k: int | None

    def resolved(self, calibrated: bool, where: str) -> Limits:
        """With the default filled in: probability 0.5, unless something was asked for.

        Raises:
            InputError: there are no probabilities, and nothing else was asked for.
        """
        if not calibrated and (self.min_probability is not None or (self.min_score is None and self.top_k is None)):
            raise InputError(
                "there are no probabilities to choose keywords by, as the model is not calibrated.",
                where=where,
                remedy="Say how many or how good: --top-k 5 or --min-score 2.5.",
            )
        if self == Limits(None, None, None):
            return Limits(_LEAST_PROBABILITY, None, None)
        return self

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
    """Tags on their way.

    Args:
        rows: a picture and its tags, or why it has none.
        limits: which of them become keywords.
        model: digest of the model, or empty.
        command: what was asked, as JSON; the same again continues a run that was interrupted.
    """

    rows: Iterable[ImageTags]
    limits: Limits
    model: str
    command: dict[str, Any]


def from_model(
    photos: list[Path],
    model: str,
    labels: Path | None,
    limits: Limits,
    max_pixels: int | None,
    progress: Progress,
) -> Source:
    """Tags that a model finds now."""
    if not photos:
        raise InputError("photos are needed.", remedy="Give PHOTOS, or --from tags.jsonl.")
    tagger = load(model)
    limits = limits.resolved(tagger.calibrated, model)
    words = read_phrases(labels) if labels is not None else None
    files = find_pictures(photos)
    if not files:
        raise NothingToDoError("there are no pictures.", where=", ".join(map(str, photos)))
    cap = max_pixels or MAX_PIXELS
    rows = tagger.tag_each(files, words, limits.top_k, limits.min_probability, max_pixels=cap, progress=progress)
    digest = tagger.bundle.digest
    asked = {"photos": [os.path.abspath(photo) for photo in photos], "model": digest, "labels": words}  # noqa: PTH100
    return Source(rows, limits, digest, asked)


def from_jsonl(path: Path, limits: Limits, progress: Progress) -> Source:
    """Tags that `tagprism tag --format jsonl` has written."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({os.strerror(error.errno or 0)}).", where=str(path)) from error
    read = [_row(line, f"{path}, line {number}") for number, line in enumerate(data.splitlines(), start=1)]
    if not read:
        raise NothingToDoError("there is no row in it.", where=str(path))
    calibrated = all(tag.probability is not None for row in read for tag in row.tags)
    limits = limits.resolved(calibrated, str(path))

    def rows() -> Iterator[ImageTags]:
        with progress("writing keywords", len(read)) as advance:
            for row in read:
                yield row
                advance(1)

    return Source(rows(), limits, "", {"tags": digest_bytes(data)})


def _row(line: bytes, where: str) -> ImageTags:
    try:
        row = json.loads(line)
        path = Path(row["path"])
        if "error" in row:
            return ImageTags(path, (), PictureError(row["error"]["code"], row["error"]["message"]))
        tags = (Tag(str(t["label"]), float(t["score"]), t["probability"], int(t["vector"])) for t in row["tags"])
        return ImageTags(path, tuple(tags))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"is not a row of tags ({error!r}).", where=where, remedy="Give the JSONL of `tagprism tag --format jsonl`."
        ) from error


def write_keywords(source: Source, naming: Naming, dry_run: bool, quiet: bool) -> int:
    """Write (or only show) the keywords; the exit code is 4 when pictures were skipped, 6 when the machine refused."""
    command = {**source.command, "limits": vars(source.limits), "sidecar": naming}
    with nullcontext() if dry_run else Journal(command) as journal:
        run = _Run(source, naming, journal)
        for row in source.rows:
            run.take(row)
        run.write()
        if journal is not None:
            journal.finish()
    if run.both:
        other = "photo.xmp" if naming == "photo.jpg.xmp" else "photo.jpg.xmp"
        hint = f"{run.both} new one(s) stand beside a {other} of the same photo, which some programs read instead"
        console.say(f"{hint}; --sidecar {other} adds to those.", quiet=quiet)
    would = "would be " if dry_run else ""
    console.say(f"{run.changed} sidecar(s) {would}written, {run.same} as they were.", quiet=quiet)
    if journal is not None and journal.path is not None and run.changed:
        console.say(f"`tagprism undo {journal.path.stem}` takes it back.", quiet=quiet)
    code = console.report_skipped(run.skipped)
    return console.REFUSED if run.refused else code


class _Run:
    """Takes row by row, writes some at a time, and counts."""

    def __init__(self, source: Source, naming: Naming, journal: Journal | None) -> None:
        self.source, self.naming, self.journal = source, naming, journal
        self.changed = self.same = self.both = self.refused = 0
        self.skipped: list[tuple[str, str]] = []
        self.waiting: dict[Path, tuple[Path, SidecarChange]] = {}

    def take(self, row: ImageTags) -> None:
        name = os.fsdecode(row.path)
        if row.error is not None:
            self.skipped.append((name, row.error.message))
            return
        try:
            if sidecar_path(row.path, self.naming) in self.waiting:  # a photo that is named twice
                self.write()
            change = plan(row.path, self.naming, self.source.limits.keywords(row.tags), self.source.model)
        except PictureError as error:
            self.skipped.append((name, error.message))
            return
        if not change.is_needed:
            self.same += 1
            return
        self.waiting[change.path] = row.path, change
        if len(self.waiting) == _AT_A_TIME:
            self.write()

    def write(self) -> None:
        waiting, self.waiting = list(self.waiting.values()), {}
        changes = [change for _, change in waiting]
        outcomes: Sequence[TagprismError | None] = [None] * len(changes)
        if self.journal is None:
            for change in changes:
                _print_difference(change)
        elif changes:
            outcomes = write(changes, self.journal)
        for (photo, change), error in zip(waiting, outcomes, strict=True):
            if error is None:
                self.changed += 1
                self.both += change.before is None and _other(photo, self.naming)
            else:
                self.refused += isinstance(error, MachineError)
                message = error.message if isinstance(error, PictureError) else str(error)
                self.skipped.append((os.fsdecode(photo), message))


def _other(photo: Path, naming: Naming) -> bool:
    try:
        other = sidecar_path(photo, "photo.xmp" if naming == "photo.jpg.xmp" else "photo.jpg.xmp")
    except PictureError:
        return False
    return os.path.lexists(other)


def _print_difference(change: SidecarChange) -> None:
    """The flat keywords as a unified difference; file names and keywords on one line each, whatever is in them."""
    old, new = change.old.flat, change.new.flat
    name = repr(os.fsdecode(change.path))[1:-1]
    lines = [f"--- {name if change.before is not None else '/dev/null'}", f"+++ {name}"]
    lines += [("  " if word in new else "- ") + repr(word)[1:-1] for word in old]
    lines += ["+ " + repr(word)[1:-1] for word in new if word not in old]
    print("\n".join(lines))
