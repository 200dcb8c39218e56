"""The rows of `tagprism tag --ray`: a Ray cluster tags the pictures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from tagprism.app import console
from tagprism.bulk.listing import Listing
from tagprism.bulk.tags import Tagging, tag_on_cluster
from tagprism.bundle.names import lasting_name

if TYPE_CHECKING:
    from tagprism.app.commands.tag import TagJob
    from tagprism.tagging.tags import ImageTags


def rows_of_cluster(job: TagJob, pictures: Listing, done: int) -> Iterator[ImageTags]:
    """The rows of the pictures after the first `done`; errors as `TagJob.rows`."""
    limits = job.top_k, job.min_probability
    job.tagger.tag_each((), job.words, *limits)  # which says what cannot be done before a cluster tries
    bundle = job.tagger.bundle
    name = lasting_name(job.model, bundle.path)
    return tag_on_cluster(
        Tagging(name, bundle.digest, job.words, *limits, job.min_score, job.max_pixels),
        islice(pictures.items(), done, None),
        job.processors,
        total=pictures.count - done,
        progress=console.progress(job.quiet),
    )
