"""Folders of foreign models that are not what they seem: what is refused, and what is read all the same."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tagprism
from tagprism.bundle.foreign.find import read_layout
from tagprism.bundle.foreign.model import ForeignModel
from tagprism.bundle.foreign.transformers_files import read_preprocess
from tagprism.errors import InputError
from tests.bundle.foreign_models import PHRASES, cosines, looked_at, opened, read
from tests.small_foreign import (
    CLIP_PREPROCESSOR,
    CLIP_TEXT,
    SIGLIP_PREPROCESSOR,
    Foreign,
)

pytestmark = pytest.mark.slow


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def text_cfg(folder: Path, **values: Any) -> None:
    change(folder / "config.json", text_cfg=CLIP_TEXT | values)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def exchange_graphs(folder: Path) -> None:
    shutil.copyfile(folder / "textual/model.onnx", folder / "visual/model.onnx")


def lead_out(folder: Path) -> None:
    shutil.copyfile(folder / "config.json", folder.parent / "outside.json")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(folder.parent / "outside.json")


def other_tokenizer(folder: Path) -> None:
    file = folder / "textual/tokenizer.json"
    file.write_text(file.read_text().replace("<|endoftext|>", "<end>"))


def weights_outside(folder: Path) -> None:
    graph = onnx.load(folder / "visual/model.onnx")
    onnx.save(graph, folder / "visual/model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    graph = onnx.load(folder / "visual/model.onnx", load_external_data=False)
    shutil.move(folder / "visual/w.bin", folder.parent / "w.bin")
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../w.bin"
    (folder / "visual/model.onnx").write_bytes(graph.SerializeToString())


def normalised_by(folder: Path, *steps: dict[str, Any]) -> None:
    change(folder / "textual/tokenizer.json", normalizer={"type": "Sequence", "normalizers": steps})


def split_by(folder: Path, *steps: dict[str, Any]) -> None:
    change(folder / "textual/tokenizer.json", pre_tokenizer={"type": "Sequence", "pretokenizers": steps})


def filled_up(folder: Path) -> None:
    padding = {"strategy": {"Fixed": 3_000_000}, "direction": "Right", "pad_to_multiple_of": None}
    change(folder / "textual/tokenizer.json", padding={**padding, "pad_id": 0, "pad_type_id": 0, "pad_token": "!"})


def replaced(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def many_pieces(folder: Path) -> None:
    single = [{"Sequence": {"id": "A", "type_id": 0}}] * 1000
    pair = [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"]
    template = {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": {}}
    change(folder / "textual/tokenizer.json", post_processor=template)


def no_weights(file: Path) -> None:
    graph = onnx.load(file)
    for tensor in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * 0, tensor.name))
    onnx.save(graph, file)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer": (lambda at: (at / "textual/tokenizer.json").unlink(), r"lacks textual/tokenizer\.json"),
    "no network": (lambda at: (at / "textual/model.onnx").unlink(), r"lacks textual/model\.onnx"),
    "no config": (lambda at: (at / "config.json").unlink(), r"lacks config\.json"),
    "half a network of pictures": (lambda at: truncate(at / "visual/model.onnx"), "is not an ONNX model"),
    "half a network of phrases": (lambda at: truncate(at / "textual/model.onnx"), "is not an ONNX model"),
    "exchanged networks": (exchange_graphs, "inputs are `text`"),
    "another size": (lambda at: change(at / "visual/preprocess_cfg.json", size=64), r"takes pixels of shape .*64"),
    "another dimension": (lambda at: change(at / "config.json", embed_dim=32), "24 numbers"),
    "another length": (lambda at: text_cfg(at, context_length=77), r"takes tokens of shape .*77"),
    "unknown resize": (lambda at: change(at / "visual/preprocess_cfg.json", resize_mode="longest"), "'longest'"),
    "unknown filter": (lambda at: change(at / "visual/preprocess_cfg.json", interpolation="random"), "interpolation"),
    "unknown cleaning": (lambda at: text_cfg(at, tokenizer_kwargs={"strip_sep_token": True}), "strip_sep_token"),
    "nllb": (lambda at: text_cfg(at, hf_tokenizer_name="facebook/nllb-200-distilled-600M"), "mark of a language"),
    "no deviation": (lambda at: change(at / "visual/preprocess_cfg.json", std=[0, 0, 0]), "std"),
    "a list for a config": (lambda at: (at / "config.json").write_text("[]"), "no JSON object"),
    "no JSON": (lambda at: (at / "config.json").write_text("{"), "not JSON"),
    "a link out": (lead_out, "leads out of the model"),
    "weights outside": (weights_outside, "is not an ONNX model"),
    "another tokenizer": (other_tokenizer, "another tokenizer"),
    "no tokenizer at all": (lambda at: (at / "textual/tokenizer.json").write_text("{}"), "not a readable tokenizer"),
    "a text that swells": (lambda at: normalised_by(at, *[replaced({"String": "a"}, "a" * 1000)] * 3), "too long"),
    "a text that swells between letters": (
        lambda at: normalised_by(at, *[replaced({"Regex": ""}, "a")] * 14),
        "too long",
    ),
    "bytes of bytes": (
        lambda at: split_by(at, *[{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}] * 14),
        "too long",
    ),
    "a text that is filled up": (filled_up, "too long"),
    "a tokenizer that fails": (lambda at: normalised_by(at, replaced({"Regex": ""}, "bb")), "cannot read a text"),
    "a template of many pieces": (many_pieces, "too long"),
    "words of zeros": (lambda at: no_weights(at / "textual/model.onnx"), "a vector of zeros"),
    "infinite deviation": (lambda at: change(at / "visual/preprocess_cfg.json", std=[1, 1, math.inf]), "std"),
    "more tokens than rows": (lambda at: text_cfg(at, vocab_size=1000), "49,408 tokens, the network 1,000"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_folder_that_is_not_what_it_seems_is_a_clear_error(
    what: str, made: Callable[[str], Foreign], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "cache"))
    shutil.copytree(made("immich").folder, tmp_path / "model")
    spoil, message = HOSTILE[what]
    spoil(tmp_path / "model")
    with pytest.raises(InputError, match=message) as caught:
        _ = tagprism.load(tmp_path / "model").bundle.model
    assert str(tmp_path) in str(caught.value) and caught.value.remedy


def test_pictures_of_zeros_are_no_tags(
    made: Callable[[str], Foreign], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "cache"))
    shutil.copytree(made("immich").folder, tmp_path / "model")
    no_weights(tmp_path / "model/visual/model.onnx")
    model = ForeignModel(opened(tmp_path / "model"))
    with pytest.raises(InputError, match=r"model\.onnx: its network gives a vector of zeros"):
        model.model(np.zeros((2, *model.layout.vision.preprocess.shape), np.float32))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_SETTINGS = {
    "immich": {"config.json": ["text_cfg", "embed_dim"], "visual/preprocess_cfg.json": ["size", "mean", "resize_mode"]},
    "transformers": {
        "config.json": ["model_type", "text_config", "projection_dim"],
        "preprocessor_config.json": ["size", "crop_size", "resample", "rescale_factor", "image_std"],
        "tokenizer_config.json": ["pad_token", "eos_token", "tokenizer_class"],
    },
}


@settings(max_examples=150)
@given(data=st.data(), name=st.sampled_from(sorted(_SETTINGS)), value=_JSON)
def test_any_value_of_a_setting_is_used_or_refused(
    data: st.DataObject, name: str, value: Any, made: Callable[[str], Foreign]
) -> None:
    file = data.draw(st.sampled_from(sorted(_SETTINGS[name])))
    key = data.draw(st.sampled_from(_SETTINGS[name][file]))
    source = made(name).folder
    with tempfile.TemporaryDirectory() as scratch:
        for at in (one for one in source.rglob("*") if one.is_file()):
            target = Path(scratch, "model", at.relative_to(source))
            target.parent.mkdir(parents=True, exist_ok=True)
            if at.relative_to(source).as_posix() == file:
                target.write_text(json.dumps(json.loads(at.read_text()) | {key: value}))
            else:
                target.hardlink_to(at)
        with suppress(InputError):
            assert read_layout(Path(scratch, "model")) is not None


def test_a_half_without_its_other(made: Callable[[str], Foreign], tmp_path: Path) -> None:
    shutil.copytree(made("fastembed-vision").folder, tmp_path / "x-vision")
    with pytest.raises(InputError, match=r"the text half .*lacks"):
        tagprism.load(tmp_path / "x-vision")
    (tmp_path / "x-vision").rename(tmp_path / "x")
    with pytest.raises(InputError, match="side by side"):
        tagprism.load(tmp_path / "x")


def test_forms_of_the_weights(made: Callable[[str], Foreign], tmp_path: Path) -> None:
    shutil.copytree(made("transformers").folder, tmp_path / "model")
    for part in ("vision", "text"):
        (tmp_path / f"model/onnx/{part}_model.onnx").rename(tmp_path / f"model/onnx/{part}_model_fp16.onnx")
    with pytest.raises(InputError, match="it has #fp16"):
        tagprism.load(f"{tmp_path}/model")
    assert tagprism.load(f"{tmp_path}/model#fp16").bundle.config.provenance["form"] == "fp16"


def test_the_quantised_form(made: Callable[[str], Foreign], pictures: list[Image.Image], tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    theirs = made("transformers")
    shutil.copytree(theirs.folder, tmp_path / "model")
    for part in ("vision", "text"):
        source = tmp_path / f"model/onnx/{part}_model.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_dynamic(source, source.with_name(f"{part}_model_quantized.onnx"), weight_type=QuantType.QUInt8)
        source.unlink()
    layout = read_layout(tmp_path / "model", "quantized")
    assert layout is not None
    assert 0.97 < cosines(looked_at(layout, pictures), theirs.pictures(pictures)).min() < 1 - 1e-6
    assert 0.97 < cosines(read(layout.text, PHRASES), theirs.phrases(PHRASES)).min() < 1 - 1e-6


def test_weights_beside_the_graph_come_along(made: Callable[[str], Foreign], tmp_path: Path) -> None:
    shutil.copytree(made("immich").folder, tmp_path / "model")
    graph = onnx.load(tmp_path / "model/visual/model.onnx")
    where = tmp_path / "model/visual/model.onnx"
    onnx.save(graph, where, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    first = ForeignModel(opened(tmp_path / "model"))
    assert "visual/model.onnx.data" in first.config.digests
    with (tmp_path / "model/visual/model.onnx.data").open("r+b") as file:
        file.write(b"\0\0\0\0")
    assert ForeignModel(opened(tmp_path / "model")).digest != first.digest


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"image_processor_type": "BitImageProcessor"}, "BitImageProcessor"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "Siglip2ImageProcessor"),
        ({"do_resize": False}, "does not resize"),
        ({"rescale_factor": 0.5}, "0.5"),
        ({"do_rescale": False}, "None"),
        ({"resample": 0}, "resample is 0"),
        ({"do_center_crop": False}, "shortest_edge"),
        ({"image_std": None}, "std"),
    ],
)
def test_settings_of_transformers_that_are_not_understood(values: dict[str, Any], wrong: str, tmp_path: Path) -> None:
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(CLIP_PREPROCESSOR | values))
    with pytest.raises(InputError, match=wrong):
        read_preprocess(file)


def test_settings_of_transformers(tmp_path: Path) -> None:
    file = tmp_path / "preprocessor_config.json"
    older = {"crop_size": 224, "size": 224, "do_center_crop": True, "do_resize": True, "do_normalize": False}
    file.write_text(json.dumps(older))
    found = read_preprocess(file)
    assert (found.resize, found.height, found.crop_pct, found.std) == ("shortest_floor", 224, 1.0, (1, 1, 1))
    file.write_text(json.dumps(CLIP_PREPROCESSOR | {"size": {"shortest_edge": 256}, "crop_size": 224}))
    assert (read_preprocess(file).width, read_preprocess(file).crop_pct) == (224, 0.875)
    file.write_text(json.dumps(SIGLIP_PREPROCESSOR))
    assert (read_preprocess(file).resize, read_preprocess(file).interpolation) == ("squash", "bilinear")
