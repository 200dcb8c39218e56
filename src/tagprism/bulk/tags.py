"""Tag pictures on a cluster: the rows of `tagging.tagger.Tagger.tag_each`, in the same order."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import tagprism
from tagprism.bulk.actors import Part, results
from tagprism.bulk.listing import parts_of
from tagprism.bulk.look import KILLED, Bytes, open_same
from tagprism.errors import PictureError
from tagprism.images.elsewhere import Item, Reader, path_of_row
from tagprism.progress import Progress, silent
from tagprism.tagging.ranker import LabelRanker
from tagprism.tagging.tags import ImageTags, Tag


@dataclass(frozen=True)
class Tagging:
    """A `Job` that tags: for each part a JSON list of rows.

    Args:
        model: its name on all machines.
        digest: of its bundle.
        labels: words to choose from; the vocabulary when None.
        top_k: tags a picture at most.
        min_probability: of a tag.
        min_score: of a tag of a model without probabilities.
        max_pixels: cap on the size of a picture.
        version: of tagprism.
    """

    model: str
    digest: str
    labels: Mapping[str, tuple[str, ...]] | None
    top_k: int | None
    min_probability: float | None
    min_score: float | None
    max_pixels: int
    version: str = tagprism.__version__

    def open(self) -> Callable[[Part], bytes]:
        """Load the model and embed the words."""
        tagger = open_same(self.model, self.digest, self.version)
        ranker, reader = LabelRanker(tagger, self.labels), Reader()

        def network(pixels: np.ndarray) -> list[tuple[Tag, ...]]:
            return ranker.best(tagger.network(pixels), self.top_k, self.min_probability, self.min_score)

        def tag(part: Part) -> bytes:
            rows: list[dict[str, Any]] = []
            with threadpool_limits(1, "blas"):
                for one in Bytes(part, reader).process(tagger, network, self.max_pixels):
                    if isinstance(one.output, PictureError):
                        rows.append({"error": [one.output.code, one.output.message]})
                    else:
                        rows.append({"tags": [asdict(tag) for tag in one.output], "remark": one.remark})
            return json.dumps(rows).encode()

        return tag


def tag_on_cluster(
    job: Tagging, items: Iterable[Item], processors: int, *, total: int = 0, progress: Progress = silent
) -> Iterator[ImageTags]:
    """Tag pictures on the cluster one is connected to, one row each, in order.

    Args:
        job: how.
        items: the pictures.
        processors: of the cluster.
        total: how many they are, for the progress.
        progress: told of every picture.

    Raises:
        InputError: the model is another on some machine.
        MachineError: a server does not answer.
    """
    order: deque[Part] = deque()

    def parts() -> Iterator[Part]:
        for part in parts_of(items):
            order.append(part)
            yield part

    ready: dict[str, ImageTags] = {}
    with progress("looking at pictures", total) as advance, closing(results(job, parts(), processors)) as found:
        for part, result in found:
            rows = [{"error": [KILLED.code, KILLED.message]}] if result is None else json.loads(result)
            advance(len(part))
            ready |= {item.name: _tags(item.name, row) for item, row in zip(part, rows, strict=True)}
            while order and all(item.name in ready for item in order[0]):
                yield from [ready.pop(item.name) for item in order.popleft()]


def _tags(name: str, row: dict[str, Any]) -> ImageTags:
    path = path_of_row(name)
    if "error" in row:
        return ImageTags(path, (), PictureError(*row["error"]))
    tags = tuple(Tag(**tag | {"also": tuple(tag["also"])}) for tag in row["tags"])  # JSON has no tuples
    return ImageTags(path, tags, remark=row["remark"])
