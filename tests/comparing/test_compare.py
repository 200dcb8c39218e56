"""`compare` as Python calls it: seeds, methods of one's own, kept results; rivals with prior and class columns."""

from __future__ import annotations

import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tagprism.bundle.record import scoring_vectors
from tagprism.comparing import experiment as module
from tagprism.comparing.compare import compare
from tagprism.comparing.experiment import Experiment
from tagprism.comparing.methods import Method, baseline
from tagprism.comparing.rows import OwnMethod, check_protocol
from tagprism.datasets.registry import open_data
from tagprism.datasets.splits import Split, load_split
from tagprism.datasets.table import ImageTable
from tagprism.datasets.tagged import open_tagged
from tagprism.errors import InputError
from tagprism.labels.encoders.encoder import unit_rows
from tagprism.network.class_columns import ClassColumns, ClassifierPrior
from tagprism.network.embedding_matrix import Standardiser
from tagprism.training.recipe import Recipe, load_recipe
from tests.datasets.official_trees import make_coco
from tests.small_world import World


@pytest.fixture
def opened(world: World) -> tuple[Recipe, ImageTable, Split]:
    table = open_tagged(world.data)
    return load_recipe(world.recipe), table, load_split(f"{world.data}/splits.json#0", table)


@pytest.mark.slow
def test_rows_are_trained_with_several_seeds_and_stand_beside_a_method_of_ones_own(
    world: World, opened: tuple[Recipe, ImageTable, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, table, split = opened
    asked: list[int] = []

    def own(its_table: ImageTable, its_split: Split, seed: int) -> Path:
        asked.append(seed)
        return world.run

    rows = (recipe, OwnMethod("mine", own))
    comparison = compare(rows, table, split, seeds=2, out=tmp_path / "kept")
    assert asked == [0, 1] and comparison.splits == (split.name,)
    (small,), (mine,) = comparison.results["small"], comparison.results["mine"]
    values = [seed.zsl.labelled.mean_ap for seed in small.seeds]
    assert len(set(values)) == 2 and small.zsl.labelled.mean_ap == pytest.approx(statistics.fmean(values))
    # The run of the world was trained by `train` with the recipe's own seed, the first one.
    assert mine.zsl.labelled.mean_ap == pytest.approx(values[0], rel=1e-3)
    assert f"| small | {statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f} |" in comparison.markdown()
    assert "1 split, 2 seeds each." in " ".join(str(comparison).split())
    assert "<th>small</th><td>" in comparison._repr_html_()  # what a notebook shows
    found = comparison.to_json()
    assert found["by_seed"]["small"][0][1]["zsl"]["mAP"] == values[1]
    assert found["methods"]["small"][0]["zsl"]["mAP"] == small.zsl.labelled.mean_ap
    assert len(list((tmp_path / "kept").iterdir())) == 2  # one a seed; nothing of `mine`

    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Experiment, "run", refuse)
    again = compare([recipe.model_copy(update={"seed": recipe.seed + 1})], table, [split], out=tmp_path / "kept")
    assert again.results["small"][0].zsl.labelled.mean_ap == values[1] and "by_seed" not in again.to_json()


def test_what_cannot_be_compared_is_refused_before_a_picture_is_read(
    opened: tuple[Recipe, ImageTable, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, table, split = opened
    monkeypatch.setattr(module, "digest_pictures", lambda *_: pytest.fail("a picture was read"))
    monkeypatch.setattr(module, "prepare", lambda *_: pytest.fail("a picture was read"))
    finished = recipe.model_copy(update={"training": recipe.training.model_copy(update={"end_to_end": True})})
    with pytest.raises(InputError, match="frozen features"):
        compare([recipe, finished], table, split)
    with pytest.raises(InputError, match="two rows have the same name"):
        compare([recipe, recipe], table, split)
    with pytest.raises(InputError, match="0 rows, 1 split and"):
        compare([], table, split)
    with pytest.raises(InputError, match="0 seeds"):
        compare([recipe], table, split, seeds=0)
    with pytest.raises(InputError, match=r"no baseline `best`.*ridge\+prior"):
        baseline("best", recipe)
    with pytest.raises(InputError, match="neither a prior nor class columns"):
        baseline("ridge+prior", recipe)


@pytest.mark.usefixtures("no_type_checks")
def test_a_rival_gets_the_prior_in_equal_parts_and_the_class_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    random, C, K, D = np.random.default_rng(0), 6, 8, 5
    classes, seen, labels = (unit_rows(random.standard_normal((n, D)).astype(np.float32)) for n in (K, 7, 4))
    vectors, features = torch.randn(3, 1, D), torch.rand(3, C + K)
    prior = ClassifierPrior(C, K, D, weight=5.0).fill(torch.nn.Linear(C, K), list(range(K)), torch.tensor(classes))
    columns = ClassColumns(K, D, K, 7, weight=0.7).fill(classes, seen, None)
    made: dict[str, Any] = {"prior": prior, "columns": columns}
    monkeypatch.setattr(module, "make_prior", lambda *_: made["prior"])
    monkeypatch.setattr(module, "make_class_columns", lambda *_: made["columns"])
    prepared: Any = SimpleNamespace(
        recipe=SimpleNamespace(model=SimpleNamespace(standardise=True)),
        seen_vectors=seen,
        backbone=None,
        space=None,
        train=SimpleNamespace(features=None),
    )
    standardiser = Standardiser(torch.tensor(seen))
    plain, affinity = module._ranked(prepared, vectors, features, False)
    for part, expected in zip((plain.rows, plain.shared), standardiser(vectors), strict=True):
        np.testing.assert_allclose(part, expected)
    assert affinity is None
    found, affinity = module._ranked(prepared, vectors, features, True)
    mixed = 5 * vectors / vectors.norm(dim=-1, keepdim=True) + prior(features)[:, None]
    rows, shift = standardiser(mixed)
    np.testing.assert_allclose(found.rows, rows, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.shared, torch.cat([shift, columns(features)], dim=1), rtol=1e-4, atol=1e-5)
    assert found.shape.width == scoring_vectors(labels, affinity).shape[1]
    made["columns"] = None
    found, affinity = module._ranked(prepared, vectors, features, True)
    assert (len(found), found.shape) == (3, (1, D, 1)) and affinity is None


def test_a_model_of_another_protocol_is_refused_beside_published_numbers_and_the_difference_named(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_coco(tmp_path, pictures=24)
    table, split = open_data(f"coco:{tmp_path}", None)
    monkeypatch.setattr("tagprism.comparing.compare.evaluate", lambda *_, **__: pytest.fail("a picture was read"))
    of_coco = OwnMethod("mine", lambda *_: pytest.fail("it was measured"), trained_on=tuple(split.seen))
    says = (
        r"run: was trained on 6 labels, and COCO 48/17.*on 48: 48 of them are missing, .*6 are others, 'blue', .*alone"
    )
    for rows in ([of_coco, world.run], [world.run]):
        with pytest.raises(InputError, match=says):
            compare(rows, table, split)
    check_protocol(of_coco, split)
    check_protocol(OwnMethod("clip", lambda *_: 0), split)  # nobody knows what it was trained on
    with pytest.raises(pytest.fail.Exception, match="a picture was read"):
        compare([world.run], table, split, published=False)


def test_a_row_is_named_after_its_rival(opened: tuple[Recipe, ImageTable, Split]) -> None:
    recipe = opened[0]
    levers = recipe.model_copy(update={"model": recipe.model.model_copy(update={"prior": 5.0})})
    assert baseline("conse+prior", levers).name == "ConSE, with prior and class columns"
    assert baseline("ridge", recipe) == Method("ridge", recipe, "ridge")
