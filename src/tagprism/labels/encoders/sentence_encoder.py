"""An encoder that runs a text network (ONNX) on whole phrases. Knows no words and no label space."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from tagprism.errors import InputError
from tagprism.labels.encoders.encoder import FolderEncoder, unit_rows
from tagprism.labels.encoders.tokenizer_file import encode_texts, open_tokenizer
from tagprism.labels.english import is_english
from tagprism.labels.phrases import spoken_phrase

if TYPE_CHECKING:
    from tagprism.onnx_graph import OnnxGraph

MODEL_FILE, TOKENIZER_FILE = "model.onnx", "tokenizer.json"
_ENGLISH = ("minilm",)  # encoders that learnt English alone
_BATCH = 64  # phrases per run
_PHRASES_A_PICTURE = 16  # phrases that are as much work as a picture at most: the time limit is a picture's
_LISTS = 4  # of phrases that are remembered


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
        rows = [rows[place] for place in np.argsort(lengths, kind="stable")]  # of like length together: little padding
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
