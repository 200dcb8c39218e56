"""An encoder that runs a text network (ONNX) on whole phrases. Knows no words and no label space.

A `tokenizer.json` may be a stranger's, and the tokenizers package ends the process where memory is not enough: what
would make a short text very long is refused before it sees one.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from tagprism.errors import InputError
from tagprism.labels.encoders.encoder import FolderEncoder, unit_rows
from tagprism.labels.english import is_english
from tagprism.labels.phrases import spoken_phrase

if TYPE_CHECKING:
    from tagprism.onnx_graph import OnnxGraph

MODEL_FILE, TOKENIZER_FILE = "model.onnx", "tokenizer.json"
_ENGLISH = ("minilm",)  # encoders that learnt English alone
_BATCH = 64  # phrases per run
_PHRASES_A_PICTURE = 16  # phrases that are as much work as a picture at most: the time limit is a picture's
_LISTS = 4  # of phrases that are remembered
_LONGEST = 10_000  # times that a text may grow by normalisation
_PIECES = 64  # that a template may put together
_GROWTH = {"NFD": 4, "NFC": 3, "Lowercase": 3, "BertNormalizer": 12, "ByteLevel": 4}
_GROWTH |= dict.fromkeys(("Strip", "StripAccents", "Nmt"), 1)
_PADDING = 1024  # tokens that a short text may be filled up to
_UNICODE = 18  # the most that any normalisation of Unicode makes of a character
_AGAIN = "Copy the model again, or use another one."


class SentenceEncoder(FolderEncoder):
    """A text network with its tokenizer; every phrase that is not empty is known.

    Args:
        folder: the encoder's folder.
        card: its `encoder.json`.
    """

    @cached_property
    def _graph(self) -> OnnxGraph:
        from tagprism.onnx_graph import OnnxGraph  # here, as it loads ONNX Runtime

        # Batches of phrases run side by side instead: several threads in one call cost a third more processor time.
        return OnnxGraph(self._folder / MODEL_FILE, threads=1)

    @cached_property
    def _tokenizer(self) -> Any:
        return open_tokenizer(self._folder / TOKENIZER_FILE)

    def encode(self, phrases: Sequence[str]) -> Float32[np.ndarray, "L D"]:
        """Unit vectors of L phrases, normalised first; a row of zeros where a phrase is empty."""
        return self._remembered(tuple(map(spoken_phrase, phrases))).copy()

    @cached_property
    def _remembered(self) -> Callable[[tuple[str, ...]], Float32[np.ndarray, "L D"]]:
        """`_encode` of the last few lists; whole lists, as the last digits depend on what is in a batch together."""
        return lru_cache(_LISTS)(self._encode)

    def _encode(self, texts: tuple[str, ...]) -> Float32[np.ndarray, "L D"]:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        rows = [row for row, text in enumerate(texts) if text]
        tokens = self._tokens([texts[row] for row in rows]) if rows else []
        lengths = [sum(one.attention_mask) for one in tokens]
        rows = [
            rows[position] for position in np.argsort(lengths, kind="stable")
        ]  # of like length together: little padding
        batches = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]

        def run(batch: list[int]) -> Float32[np.ndarray, "B D"]:
            return self._run([texts[row] for row in batch])

        if len(batches) == 1:
            vectors[batches[0]] = run(batches[0])
        elif batches:
            _ = self._graph  # loaded once, before several threads ask for it
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for batch, found in zip(batches, pool.map(run, batches), strict=True):
                    vectors[batch] = found
        return unit_rows(vectors)

    def _tokens(self, texts: Sequence[str]) -> list[Any]:
        return encode_texts(self._tokenizer, texts, self._folder / TOKENIZER_FILE)

    def _run(self, texts: Sequence[str]) -> Float32[np.ndarray, "B D"]:
        """The network's vectors of one batch."""
        tokens = self._tokens(texts)
        feeds = {
            "input_ids": np.array([token.ids for token in tokens], dtype=np.int64),
            "attention_mask": np.array([token.attention_mask for token in tokens], dtype=np.int64),
        }
        pictures = 1 + len(texts) // _PHRASES_A_PICTURE
        (found,) = self._graph.run(["vectors"], feeds, pictures=pictures)
        if found.shape != (len(texts), self.dimension):
            what = f"its network gives {found.shape} numbers for {len(texts)} phrases, not {self.dimension} each."
            raise InputError(what, where=str(self._folder / MODEL_FILE), remedy="Copy it again.")
        return found

    def knows(self, phrase: str) -> bool:
        """Whether a phrase is of the encoder's language, where that is known; else whether there is a word in it."""
        return is_english(phrase, self._pieces) if self.id in _ENGLISH else bool(spoken_phrase(phrase))

    @cached_property
    def _pieces(self) -> frozenset[str]:
        """Words that the tokenizer has whole: frequent ones, names among them."""
        return frozenset(self._tokenizer.get_vocab())

    def nearest_known(self, phrase: str, n: int = 3) -> list[str]:
        """Nothing: every phrase is known."""
        return []


def open_tokenizer(file: Path) -> Any:
    """The `tokenizers.Tokenizer` of a file.

    Raises:
        InputError: it is damaged, or would make a short text very long.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
        longer = _growth(_settings(tokenizer.normalizer)) * _split(_settings(tokenizer.pre_tokenizer))
        padding = tokenizer.padding or {}
        filled = max(padding.get("length") or 0, padding.get("pad_to_multiple_of") or 0)
        pieces = _pieces(_settings(tokenizer.post_processor))
    except Exception as error:  # the tokenizers package raises bare Exception
        raise InputError(f"is not a readable tokenizer ({error}).", where=str(file), remedy=_AGAIN) from error
    if longer > _LONGEST or pieces > _PIECES or filled > _PADDING:
        raise InputError("would make a short text too long to be read.", where=str(file), remedy=_AGAIN)
    return tokenizer


def encode_texts(tokenizer: Any, texts: Sequence[str], where: Path) -> list[Any]:
    """Encodings of texts.

    Raises:
        InputError: the tokenizer fails.
    """
    try:
        return list(tokenizer.encode_batch(list(texts)))
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # which is none, but Rust's
            raise
        raise InputError(f"cannot read a text ({error}).", where=str(where), remedy=_AGAIN) from error


def _settings(part: Any) -> dict[str, Any]:
    found: dict[str, Any] = {} if part is None else json.loads(part.__getstate__())
    return found


def _growth(part: dict[str, Any]) -> int:
    """How many times longer a normaliser makes a text at most."""
    kind = part.get("type")
    if kind is None:
        return 1
    if kind == "Sequence":
        return math.prod(map(_growth, part["normalizers"]))
    if kind == "Replace":
        return 1 + len(part["content"])  # a pattern may match between letters
    if kind == "Prepend":
        return 1 + len(part["prepend"])
    if kind == "Precompiled":
        return _longest_replacement(part["precompiled_charsmap"])
    return _GROWTH.get(kind, _UNICODE)


def _split(part: dict[str, Any]) -> int:
    """How many times longer a pre-tokenizer makes a text at most: bytes may be written as two."""
    if part.get("type") == "Sequence":
        return math.prod(map(_split, part["pretokenizers"]))
    return 2 if part.get("type") == "ByteLevel" else 1


def _longest_replacement(charsmap: str) -> int:
    """Of SentencePiece's table: the size of a trie in four bytes, the trie, and the replacements with zeros between."""
    try:
        table = base64.b64decode(charsmap, validate=True)
    except binascii.Error:
        return _LONGEST + 1
    replacements = table[4 + int.from_bytes(table[:4], "little") :]
    return max(map(len, replacements.split(b"\0")), default=1) or 1


def _pieces(part: dict[str, Any]) -> int:
    """How many pieces a text is put together from by templates."""
    if part.get("type") == "Sequence":
        return math.prod(map(_pieces, part["processors"]))
    return max(1, len(part.get("single", ())))
