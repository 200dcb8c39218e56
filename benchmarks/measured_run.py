"""What benchmarks of finding share: a run measured on its test pictures, and an index of their records. No program."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagprism.datasets.registry import open_data
from tagprism.evaluation.evaluate import Result, evaluate
from tagprism.search.collection import Collection
from tagprism.search.contract import Picture
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.record_file import StorageName
from tagprism.search.stored import Settings
from tagprism.tagging.tagger import Tagger, load


def measured_run(description: str | None) -> tuple[Tagger, Result]:
    """The model and its result, as the command line names RUN, DATA and SPLIT."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("split", nargs="?")
    arguments = parser.parse_args()
    tagger = load(arguments.run)
    return tagger, evaluate(tagger, *open_data(arguments.data, arguments.split))


@contextmanager
def index_of(measured: Result, tagger: Tagger, storage: StorageName) -> Iterator[Collection]:
    """An index of the test pictures, whose ids are their rows from 1."""
    assert measured.records is not None, "a model has records"
    with tempfile.TemporaryDirectory() as folder:
        index = EdgeIndex.create(Path(folder), measured.records.shape, storage)
        pictures = [Picture(row + 1, str(path), 1, 1, f"{row:064x}", 1, 1) for row, path in enumerate(measured.files)]
        index.add(pictures, measured.records)
        settings = Settings(
            model=str(tagger.bundle.path), digest=tagger.bundle.digest, **measured.records.shape._asdict()
        )
        yield Collection(folder, settings, index)
        index.close()
