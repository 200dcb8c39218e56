"""What an index finds for a label is ranked as the evaluator ranks the same records."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tagprism.bundle.record import Records
from tagprism.evaluation.metrics import average_precisions
from tagprism.evaluation.ranking import average_precision_of_ranks
from tagprism.evaluation.scores import streamed_scores
from tagprism.search.collection import Collection
from tagprism.search.contract import Index, Picture
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.find import find
from tagprism.search.stored import Settings
from tagprism.tagging.tagger import Tagger, load
from tests.search.numpy_index import NumpyIndex
from tests.small_world import LABELS, World


@pytest.fixture(scope="module")
def made(world: World) -> tuple[Tagger, Records]:
    tagger = load(str(world.run))
    found = [outcome for _, outcome, _ in tagger.records(world.pictures())]
    return tagger, Records.joined(one for one in found if isinstance(one, Records))


@pytest.mark.parametrize(("form", "allowed"), [("numpy", 1e-6), ("float32", 1e-6), ("half", 1.0)])
def test_average_precisions_from_the_index_are_the_evaluators(
    form: Literal["numpy", "float32", "half"],
    allowed: float,
    made: tuple[Tagger, Records],
    world: World,
    tmp_path: Path,
) -> None:
    tagger, records = made
    paths = world.pictures()
    targets = np.array([[label in path.stem.split("_") for label in LABELS] for path in paths]).astype(np.int8)
    expected = average_precisions(streamed_scores(records, tagger.embed(LABELS)), targets)
    N, shape = len(records), records.shape
    index: Index = NumpyIndex(tmp_path, shape) if form == "numpy" else EdgeIndex.create(tmp_path, shape, form)
    index.add([Picture(i + 1, str(path), 1, 1, f"{i:064x}", 9, 9) for i, path in enumerate(paths)], records)
    settings = Settings(model=str(world.run), digest=tagger.bundle.digest, **shape._asdict())
    collection = Collection(str(tmp_path), settings, index)
    found = []
    for column, label in enumerate(LABELS):
        results = find(collection, label, limit=N)
        assert results.exact == (form != "half") and len(results.found) == N
        hits = targets[[one.picture.id - 1 for one in results.found], column]
        found.append(100 * average_precision_of_ranks(np.flatnonzero(hits) + 1))
    index.close()
    assert np.abs(np.array(found) - expected).max() <= allowed
