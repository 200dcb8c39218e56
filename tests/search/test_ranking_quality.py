"""What an index finds for a label is ranked as the evaluator ranks the same matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tagprism.errors import PictureError
from tagprism.evaluation.metrics import average_precisions
from tagprism.evaluation.ranking import average_precision_of_ranks
from tagprism.evaluation.scores import score_matrices
from tagprism.search.collection import Collection, Settings
from tagprism.search.contract import Index, Picture
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.find import find
from tagprism.tagging.tagger import Tagger, load
from tests.search.numpy_index import NumpyIndex
from tests.small_world import LABELS, World


@pytest.fixture(scope="module")
def made(world: World) -> tuple[Tagger, np.ndarray]:
    tagger = load(str(world.run))
    rows = [outcome for _, outcome, _ in tagger.matrices(world.pictures())]
    return tagger, np.stack([row for row in rows if not isinstance(row, PictureError)])


@pytest.mark.parametrize(("form", "allowed"), [("numpy", 1e-6), ("float32", 1e-6), ("float16", 1.0)])
def test_average_precisions_from_the_index_are_the_evaluators(
    form: str, allowed: float, made: tuple[Tagger, np.ndarray], world: World, tmp_path: Path
) -> None:
    tagger, matrices = made
    paths = world.pictures()
    targets = np.array([[label in path.stem.split("_") for label in LABELS] for path in paths]).astype(np.int8)
    expected = average_precisions(score_matrices(matrices, tagger.embed(LABELS)), targets)
    N, M, Q = matrices.shape
    index: Index = NumpyIndex(tmp_path, (M, Q)) if form == "numpy" else EdgeIndex.create(tmp_path, (M, Q), form)
    index.add([Picture(i + 1, str(path), 1, 1, f"{i:064x}", 9, 9) for i, path in enumerate(paths)], matrices)
    settings = Settings(model=str(world.run), digest=tagger.bundle.digest, vectors=M, columns=Q)
    collection = Collection(str(tmp_path), settings, index)
    found = []
    for column, label in enumerate(LABELS):
        results = find(collection, label, limit=N)
        assert results.exact == (form != "float16") and len(results.found) == N
        hits = targets[[one.picture.id - 1 for one in results.found], column]
        found.append(100 * average_precision_of_ranks(np.flatnonzero(hits) + 1))
    index.close()
    assert np.abs(np.array(found) - expected).max() <= allowed
