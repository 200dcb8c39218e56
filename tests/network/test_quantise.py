"""Smaller forms of a network: every output and the optional input stay, and the numbers stay near."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tagprism.bundle.agreement import measure_agreement
from tagprism.bundle.record import Records
from tagprism.errors import InputError
from tagprism.network.onnx_weights import store_small
from tagprism.network.quantise import quantise_network

M, D, C, SIDE = 2, 24, 40, 16


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five convolutions, a mean, a head that two outputs share, and an optional input that asks for the second."""
    random = np.random.default_rng(0)
    widths = (3, 16, 16, 32, 32, C)
    weights, nodes, last = [], [], "pixels"
    for at, (a, b) in enumerate(itertools.pairwise(widths)):
        weights.append(
            numpy_helper.from_array(random.normal(0, (2 / a) ** 0.5, (b, a, 1, 1)).astype(np.float32), f"w{at}")
        )
        nodes.append(helper.make_node("Conv", [last, f"w{at}"], [f"c{at}"], name=f"conv{at}"))
        nodes.append(helper.make_node("Clip", [f"c{at}", "zero", "six"], [f"r{at}"], name=f"clip{at}"))
        last = f"r{at}"
    weights += [numpy_helper.from_array(np.float32(value), name) for name, value in (("zero", 0), ("six", 6))]
    weights.append(numpy_helper.from_array(random.normal(size=(C, M * D)).astype(np.float32), "head"))
    for name, values in (("hw", [2, 3]), ("flat", [-1, C, SIDE * SIDE]), ("shape", [-1, M, D]), ("asked", [])):
        weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
    nodes += [
        helper.make_node("ReduceMean", [last, "hw"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["rows"]),
        helper.make_node("Reshape", ["rows", "shape"], ["output"]),
        helper.make_node("Gather", [last, "asked"], ["chosen"]),
        helper.make_node("Reshape", ["chosen", "flat"], ["cells"]),
        helper.make_node("Transpose", ["cells"], ["places_first"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["places_first", "head"], ["places"]),
    ]
    image = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    asked = helper.make_tensor_value_info("asked", TensorProto.INT64, ["some"])
    outputs = [
        helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", M, D]),
        helper.make_tensor_value_info("places", TensorProto.FLOAT, ["some", SIDE * SIDE, M * D]),
    ]
    graph = helper.make_graph(nodes, "small", [image, asked], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def run(path: Path, pixels: np.ndarray, asked: list[int]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_inputs()] == ["pixels"]  # the other one is optional still
    first = session.run(["output"], {"pixels": pixels})[0]
    both = session.run(["output", "places"], {"pixels": pixels, "asked": np.array(asked, np.int64)})
    np.testing.assert_array_equal(first, both[0])
    return both


@pytest.mark.parametrize(("form", "near"), [("fp16", 0.99999), ("int8", 0.99)])
def test_both_outputs_are_kept_and_fit_each_other(
    form: str, near: float, network: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(1)
    pixels = random.uniform(-1, 1, (32, 3, SIDE, SIDE)).astype(np.float32)
    quantise_network(network, tmp_path / "small.onnx", form, np.split(pixels[:16], 2))  # type: ignore[arg-type]
    assert "onnxruntime" not in capfd.readouterr().err  # it warns of inputs with a default, such as `asked`
    output, places = run(tmp_path / "small.onnx", pixels[16:], [3, 5])
    wanted, _ = run(network, pixels[16:], [3, 5])
    queries = random.normal(size=(10, D + 1)).astype(np.float32)
    pair = (Records(rows, np.zeros((16, 1), np.float32)) for rows in (wanted, output))
    assert measure_agreement(*pair, queries, queries).mean_cosine > near
    summed = places.mean(axis=1).reshape(2, M, D)
    np.testing.assert_allclose(summed, output[[3, 5]], atol=1e-4)
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load(tmp_path / "small.onnx").graph.initializer}
    assert kinds["head.half"] == TensorProto.FLOAT16  # one weight, two uses
    assert (TensorProto.INT8 in kinds.values()) == (form == "int8")
    assert kinds["w0"] == TensorProto.FLOAT  # the first ones stay


def test_bytes_are_near_and_numbers_that_no_half_holds_stay(network: Path, tmp_path: Path) -> None:
    store_small(network, tmp_path / "bytes.onnx", "int8")
    pixels = np.random.default_rng(2).uniform(-1, 1, (4, 3, SIDE, SIDE)).astype(np.float32)
    ours, wanted = run(tmp_path / "bytes.onnx", pixels, [0]), run(network, pixels, [0])
    assert np.abs(ours[0] - wanted[0]).max() < 0.03 * np.abs(wanted[0]).max()
    model = onnx.load(network)
    (head,) = (tensor for tensor in model.graph.initializer if tensor.name == "head")
    head.CopyFrom(numpy_helper.from_array(np.full((C, M * D), 1e6, np.float32), "head"))
    onnx.save(model, tmp_path / "large.onnx")
    store_small(tmp_path / "large.onnx", tmp_path / "half.onnx", "fp16")
    half, large = (run(tmp_path / f"{name}.onnx", pixels, [0])[0] for name in ("half", "large"))
    np.testing.assert_allclose(half, large, rtol=1e-3)


def test_a_network_without_convolutions_has_no_int8_form(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3])
    out = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph([helper.make_node("Identity", ["pixels"], ["output"])], "none", [value], [out])
    onnx.save(helper.make_model(graph, ir_version=10), tmp_path / "none.onnx")
    with pytest.raises(InputError, match="too few convolutions"):
        quantise_network(tmp_path / "none.onnx", tmp_path / "small.onnx", "int8", [])
    assert not (tmp_path / "small.onnx").exists()


def test_agreement_counts_shared_labels() -> None:
    nothing = np.zeros((1, 1), np.float32)
    one = Records(np.eye(3, dtype=np.float32)[None], nothing)
    queries = np.eye(3, 4, dtype=np.float32)
    same = measure_agreement(one, one, queries, queries)
    assert (same.top_k, same.top_k_agreement, same.max_error, same.mean_cosine) == (3, 1.0, 0.0, 1.0)
    seven = np.eye(7, 8, dtype=np.float32)
    rising = np.arange(7, dtype=np.float32)[None, None]  # best: 6 5 4 3 2
    falling = Records(rising[:, :, ::-1].copy(), nothing)  # best: 0 1 2 3 4
    other = measure_agreement(Records(rising, nothing), falling, seven, seven)
    assert other.top_k == 5 and other.top_k_agreement == pytest.approx(3 / 5)
    assert other.max_score_error == other.max_error == 6
