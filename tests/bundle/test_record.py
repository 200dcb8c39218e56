"""Scores on factored records against a slow way over copies, torch and numpy alike, and the form of older bundles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import tagprism
from tagprism.bundle.bundle import Bundle
from tagprism.bundle.config import CALIBRATION, CONFIG, MODEL
from tagprism.bundle.onnx_model import RecordNetwork
from tagprism.bundle.record import Records, score_records
from tagprism.errors import InputError
from tagprism.files import digest_file
from tagprism.network.embedding_matrix import max_similarity
from tagprism.tagging.explain import Explainer
from tests.small_world import LABELS, World


def copies(records: Records) -> np.ndarray:
    """Rows that end in a copy of the shared numbers each, as tagprism kept pictures before."""
    return np.concatenate([records.rows, np.repeat(records.shared[:, None], records.shape.vectors, axis=1)], axis=2)


@given(
    st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99)
)
@settings(deadline=None)
def test_scores_are_those_of_rows_with_copies(n: int, M: int, D: int, S: int, L: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    shapes = ((n, M, D), (n, S))
    records = Records(*(random.standard_normal(shape).astype(np.float32) for shape in shapes))
    queries = random.standard_normal((L, D + S)).astype(np.float32)
    products = np.einsum("nmq,lq->nml", copies(records).astype(np.float64), queries)
    scores, winners = score_records(records, queries)
    np.testing.assert_allclose(scores, products.max(axis=1), atol=1e-5)
    np.testing.assert_array_equal(np.argsort(-scores, axis=0), np.argsort(-products.max(axis=1), axis=0))
    by_torch, torch_winners = max_similarity(torch.from_numpy(records.rows), torch.from_numpy(queries[:, :D].copy()))
    np.testing.assert_allclose(by_torch.numpy() + records.shared @ queries[:, D:].T, scores, atol=1e-5)
    np.testing.assert_array_equal(torch_winners.numpy(), winners)
    again = Records.from_copies(copies(records), D)
    assert (again.rows == records.rows).all() and (again.shared == records.shared).all()


def test_pictures_are_chosen_joined_and_counted() -> None:
    records = Records(np.arange(24.0).reshape(4, 2, 3), np.arange(8.0).reshape(4, 2))
    assert len(records) == 4 and records.shape == (2, 3, 2) and records.shape.width == 5
    joined = Records.joined([records[2:], *records[np.array([1, 0])]])
    assert joined.shared.tolist() == [[4, 5], [6, 7], [2, 3], [0, 1]] and joined.rows[2, 0, 0] == 6


def as_before(bundle: Path, target: Path) -> Path:
    """A bundle as tagprism 0.1.0 wrote it: one output, whose rows end in copies; format 1."""
    shutil.copytree(bundle, target)
    model = onnx.load(target / MODEL)
    outputs = {value.name: value for value in model.graph.output}
    M, D = (size.dim_value for size in outputs["rows"].type.tensor_type.shape.dim[1:])
    (S,) = (size.dim_value for size in outputs["shared"].type.tensor_type.shape.dim[1:])
    constants = {"as_rows": np.array([1]), "as_often": np.array([1, M, 1])}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.node.extend(
        [
            helper.make_node("Unsqueeze", ["shared", "as_rows"], ["one_row"]),
            helper.make_node("Expand", ["one_row", "as_often"], ["many_rows"]),
            helper.make_node("Concat", ["rows", "many_rows"], ["output"], axis=2),
        ]
    )
    del model.graph.output[:]
    copied = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", M, D + S])
    model.graph.output.extend([copied, *(outputs[name] for name in outputs if name == "places")])
    onnx.save(model, target / MODEL)
    config = json.loads((target / CONFIG).read_text())
    config["digests"][MODEL] = digest_file(target / MODEL)
    (target / CONFIG).write_text(json.dumps({**config, "format": 1}))
    return target


@pytest.fixture(scope="module")
def older(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_before(world.run / "bundle", tmp_path_factory.mktemp("older") / "bundle")


def test_a_bundle_of_format_1_tags_and_explains_as_today(older: Path, world: World) -> None:
    assert "output" in RecordNetwork(older / MODEL, 12).shapes
    ours, before = tagprism.load(world.run), tagprism.load(older)
    assert ours.bundle.config.format == 2 and before.bundle.config.format == 1
    paths = world.pictures()[:8]
    for one, other in zip(ours.records(paths), before.records(paths), strict=True):
        assert isinstance(one[1], Records) and isinstance(other[1], Records)
        np.testing.assert_allclose(one[1].rows, other[1].rows, atol=1e-5)
        np.testing.assert_allclose(one[1].shared, other[1].shared, atol=1e-5)
    for row, earlier in zip(ours.tag(paths), before.tag(paths), strict=True):
        assert [tag.label for tag in row.tags] == [tag.label for tag in earlier.tags]
        assert [tag.score for tag in row.tags] == pytest.approx([tag.score for tag in earlier.tags], abs=1e-5)
    one, other = (Explainer(tagger).explain(paths[0], LABELS[:2]).tags for tagger in (ours, before))
    for why, earlier_why in zip(one, other, strict=True):
        np.testing.assert_allclose(why.places, earlier_why.places, atol=1e-5)


def test_the_bundle_in_the_package_is_of_format_2_and_is_read() -> None:
    tagger = tagprism.load()
    assert tagger.bundle.config.format == 2 and tagger.bundle.model.shape == (7, 256, 402)
    assert tagger.calibration is not None and tagger.calibration.background.shape == (7, 256, 402)


def test_a_copy_of_an_older_bundle_stays_one(older: Path, world: World, tmp_path: Path) -> None:
    from tagprism.network.bundle_export import export_bundle

    export_bundle(older, tmp_path / "copy", photos=world.pictures()[:4], text=False)
    assert Bundle(tmp_path / "copy").config.format == 1


def test_what_gives_no_records_is_refused(older: Path, tmp_path: Path) -> None:
    shutil.copytree(older, tmp_path / "wrong")
    model = onnx.load(older / MODEL)
    (output,) = (value for value in model.graph.output if value.name == "output")
    output.name = "rows"
    (node,) = (node for node in model.graph.node if node.output[0] == "output")
    node.output[0], node.input[0] = "rows", "before"
    for other in model.graph.node:
        if other is not node and other.output[0] == "rows":
            other.output[0] = "before"
    onnx.save(model, tmp_path / "wrong" / MODEL)
    with pytest.raises(InputError, match="not a network that gives records"):
        RecordNetwork(tmp_path / "wrong" / MODEL, 12)
    assert CALIBRATION not in {path.name for path in older.iterdir()}  # the small world is not calibrated
