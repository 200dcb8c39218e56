"""CLIP's text tower as a label encoder: open_clip's tokens and vectors, alone and padded, without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tagprism.errors import InputError, MachineError
from tagprism.labels.encoders.encoder import LabelEncoder, load_encoder
from tagprism.labels.phrases import spoken_phrase
from tagprism.network import open_clip_text as clip_export
from tagprism.network.encoder_sources import encoder_folder
from tagprism.network.open_clip_models import clip_digest
from tests.small_clip import make_clip, open_clip, theirs

PHRASES = [
    "cat",
    "Polar Bear",
    "a photo of a hot-dog.",
    "It's 5 o'clock, they've won & we'll see #1!",
    "crème brûlée",
    "Straße 子犬 котёнок 😀😀",
    "so many words " * 30,
]
TOWERS: dict[str, dict[str, Any]] = {
    "OpenAI's": {},
    "quick gelu": {"quick_gelu": True},
    "apart, with bias": {"custom_text": True, "text": {"proj_bias": True}},
    "not causal": {"custom_text": True, "text": {"no_causal_mask": True}},
    "without punctuation": {"text": {"tokenizer_kwargs": {"clean": "canonicalize"}}},
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_clip(tmp_path_factory.mktemp("clip") / "small")


@pytest.fixture(scope="module")
def encoder(spec: str, tmp_path_factory: pytest.TempPathFactory) -> LabelEncoder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAGPRISM_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load_encoder(encoder_folder(spec))


def their_vectors(spec: str, phrases: list[str]) -> np.ndarray:
    model, _, tokenise = theirs(spec)
    with torch.inference_mode():
        vectors: np.ndarray = model.encode_text(tokenise(list(map(spoken_phrase, phrases))), normalize=True).numpy()
    return vectors


@pytest.mark.slow
@pytest.mark.parametrize("kind", TOWERS)
def test_every_kind_of_tower_gives_open_clips_vectors(kind: str, tmp_path: Path) -> None:
    spec = make_clip(tmp_path / "clip", **TOWERS[kind])
    encoder = load_encoder(encoder_folder(spec))
    together, alone = encoder.encode(PHRASES), np.concatenate([encoder.encode([phrase]) for phrase in PHRASES])
    expected = their_vectors(spec, PHRASES)
    np.testing.assert_allclose(together, expected, atol=1e-5)
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    assert encoder.dimension == 24 and not encoder.encode([" "]).any()


@pytest.fixture(scope="module")
def tokenizers() -> tuple[Tokenizer, Any]:
    their = open_clip.get_tokenizer("ViT-B-32")
    return clip_export._tokenizer(their, 77, causal=True), their


_PARTS = ["'s", "'t", "'re", "ll", "I'm", "a1", "£5", "don't", "x’s", "…", "½", "ﬁ", "ß", "_", "-", ".", ","]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.lists(st.sampled_from(_PARTS)).map(" ".join))
def test_any_phrase_has_open_clips_tokens(tokenizers: tuple[Tokenizer, Any], text: str) -> None:
    ours, their = tokenizers
    phrase = spoken_phrase(text)
    assume(open_clip.tokenizer.basic_clean(phrase) == phrase)  # it also mends wrongly decoded text and HTML
    assume(all(unicodedata.category(letter) != "Cn" for letter in phrase))  # libraries differ in their Unicode version
    wanted = their([phrase])[0].tolist()
    assert ours.encode(phrase).ids == wanted[: wanted.index(their.eot_token_id) + 1]


def test_a_long_text_is_cut_as_by_open_clip_and_cannot_end_itself(tokenizers: tuple[Tokenizer, Any]) -> None:
    ours, their = tokenizers
    assert ours.encode("word " * 200).ids == their(["word " * 200])[0].tolist()
    assert their.eot_token_id not in ours.encode("<end_of_text> x").ids[:-1]
    assert [one.ids for one in ours.encode_batch(["cat", "a polar bear"])] == their(["cat", "a polar bear"])[
        :, :5
    ].tolist()


@pytest.mark.slow
def test_using_it_imports_neither_torch_nor_open_clip(encoder: LabelEncoder, tmp_path: Path) -> None:
    copy = shutil.copytree(encoder._folder, tmp_path / "text")
    code = f"""
import sys
from pathlib import Path
from tagprism.labels.encoders.encoder import load_encoder
assert load_encoder(Path({str(copy)!r})).encode(["cat"]).shape == (1, 24)
assert not {{"torch", "open_clip"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TAGPRISM_CACHE": str(tmp_path)})


@pytest.mark.slow
def test_int8_is_near(encoder: LabelEncoder, tmp_path: Path) -> None:
    from tagprism.network.onnx_weights import cosines, own_words, write_int8

    write_int8(encoder._folder, tmp_path)
    words = own_words(encoder._folder, 50)
    assert {"the", "and"} <= set(words)  # whole words, not pieces
    mean, least = cosines(encoder._folder, tmp_path, [*words, *PHRASES])
    assert mean > 0.999 and least > 0.99


@pytest.mark.slow
def test_the_tower_is_checked_when_it_is_made(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_export, "TOLERANCE", -1.0)
    with pytest.raises(MachineError, match="the exported text tower differs from open_clip's"):
        clip_export.export_clip_text(spec, tmp_path)


def test_the_digest_is_of_weights_and_config(spec: str, tmp_path: Path) -> None:
    other = make_clip(tmp_path / "other")
    assert clip_digest(other) == clip_digest(spec)  # the same bytes elsewhere
    file = tmp_path / "other/open_clip_config.json"
    file.write_text(file.read_text().replace('"heads": 2', '"heads": 4'))
    assert clip_digest(other) != clip_digest(spec)
    torch.save({}, tmp_path / "weights.pt")
    names = ("ViT-B-32/random", "ViT-B-16/random", f"ViT-B-32/{tmp_path}/weights.pt")
    assert len({clip_digest(f"open_clip:{name}") for name in names}) == 3


def test_other_kinds_of_text_towers_are_refused(tmp_path: Path) -> None:
    spec = make_clip(tmp_path / "coca", custom_text=True, text={"embed_cls": True})
    with pytest.raises(InputError, match=r"text tower TextTransformer .* is not CLIP's own kind.*clip_siglip/export"):
        encoder_folder(spec)
    spec = make_clip(tmp_path / "cut", text={"tokenizer_kwargs": {"reduction_mask": "syntax"}})
    with pytest.raises(InputError, match="tokeniser SimpleTokenizer is not CLIP's own kind"):
        encoder_folder(spec)
    with pytest.raises(InputError, match="no model `ViT-B-33`"):
        encoder_folder("open_clip:ViT-B-33/openai")
