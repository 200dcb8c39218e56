"""The layout of rclip: two graphs in a folder named after its open_clip model, and CLIP's file of merges.

The folder says nothing of preprocessing; that of the one model which rclip has is known.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tagprism.bundle.foreign.layout import AGAIN, Adapter, Layout, Text, Vision, lacks, names_in, weights_beside
from tagprism.errors import InputError
from tagprism.images.preprocess import Preprocess

NAME = "rclip"
_MODEL, _SIDE = "ViT-B-32-256-datacomp_s34b_b86k", 256
_MERGES = "tokenizer/bpe_simple_vocab_16e6.txt.gz"
_GRAPHS = [f"{_MODEL}/visual.onnx", f"{_MODEL}/textual.onnx"]
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_COUNT = 49152 - 256 - 2  # merges that CLIP's tokenizer uses
_LONGEST = 64 << 20  # bytes of the unpacked file; the real one has 3.2 MB
_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def _needed(names: Collection[str], form: str | None) -> list[str] | None:
    """As `layout.Adapter` says."""
    if not any(re.fullmatch(r"(.*/)?(visual|textual)\.onnx", name) for name in names):
        return None
    if form is not None:
        raise InputError(f"the model of rclip has no form `{form}`.", remedy="Leave # and what follows it away.")
    lacks(names, [*_GRAPHS, _MERGES], "rclip's model")
    return [*_GRAPHS, _MERGES, *(name for graph in _GRAPHS for name in weights_beside(names, graph))]


def _read(folder: Path, other: Path | None, form: str | None) -> Layout:
    """As `layout.Adapter` says."""
    files = {name: folder / name for name in _needed(names_in(folder), form) or ()}
    preprocess = Preprocess(height=_SIDE, width=_SIDE, resize="shortest", mean=_MEAN, std=_STD)
    merges = folder / _MERGES
    text = Text(
        graph=folder / _GRAPHS[1],
        outputs=("output",),
        tokenizer=lambda: _tokenizer(merges),
        source=merges,
        length=77,
        pad=0,
        whole=True,
        clean="lower",
        vocabulary=49408,
        fixed=((_START, 49406), (_END, 49407)),
    )
    return Layout(NAME, _MODEL, folder, files, Vision(folder / _GRAPHS[0], ("output",), preprocess), text)


def _tokenizer(file: Path) -> Any:
    """CLIP's tokenizer of its file of merges: 256 bytes, the same at the end of a word, the merges, two marks."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    try:
        with gzip.open(file) as packed:
            lines = packed.read(_LONGEST).decode().split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be unpacked ({error}).", where=str(file), remedy=AGAIN) from error
    merges = [tuple(line.split()) for line in lines[1 : _COUNT + 1]]
    if len(merges) != _COUNT or any(len(merge) != 2 for merge in merges):
        raise InputError("is not CLIP's file of merges.", where=str(file), remedy=AGAIN)
    letters = _letters()
    names = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge) for merge in merges), _START, _END]
    ids = {name: number for number, name in enumerate(names)}
    pairs = [(merge[0], merge[1]) for merge in merges]
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=pairs, end_of_word_suffix="</w>", fuse_unk=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    marks = [(_START, ids[_START]), (_END, ids[_END])]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{_START} $A {_END}", special_tokens=marks)
    return tokenizer


def _letters() -> list[str]:
    """A visible letter for each byte, in the order of CLIP's tokenizer: first the bytes that are visible themselves."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in seen] + [chr(256 + at) for at in range(256 - len(seen))]


ADAPTER = Adapter(NAME, _needed, _read)
