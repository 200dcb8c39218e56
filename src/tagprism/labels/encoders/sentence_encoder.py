"""An encoder that runs a text network (ONNX) on whole phrases. Knows no words and no label space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from tagprism.errors import InputError
from tagprism.labels.encoders.encoder import EncoderCard, unit_rows
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


class SentenceEncoder:
    """A text network with its tokenizer; every phrase that is not empty is known.

    Args:
        folder: the encoder's folder.
        card: its `encoder.json`.
    """

    def __init__(self, folder: Path, card: EncoderCard) -> None:
        self.card, self._folder = card, folder

    @property
    def id(self) -> str:
        """Name of the encoder."""
        return self.card.id

    @property
    def dimension(self) -> int:
        """Size of its vectors."""
        return self.card.dimension

    @cached_property
    def _graph(self) -> OnnxGraph:
        from tagprism.onnx_graph import OnnxGraph  # here, as it loads ONNX Runtime

        return OnnxGraph(self._folder / MODEL_FILE)

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
        rows = sorted((row for row, text in enumerate(texts) if text), key=lambda row: len(texts[row]))
        for start in range(0, len(rows), _BATCH):  # phrases of like length together: little padding
            batch = rows[start : start + _BATCH]
            tokens = encode_texts(self._tokenizer, [texts[row] for row in batch], self._folder / TOKENIZER_FILE)
            feeds = {
                "input_ids": np.array([token.ids for token in tokens], dtype=np.int64),
                "attention_mask": np.array([token.attention_mask for token in tokens], dtype=np.int64),
            }
            pictures = 1 + len(batch) // _PHRASES_A_PICTURE
            (found,) = self._graph.run(["vectors"], feeds, pictures=pictures)
            if found.shape != (len(batch), self.dimension):
                what = f"its network gives {found.shape} numbers for {len(batch)} phrases, not {self.dimension} each."
                raise InputError(what, where=str(self._folder / MODEL_FILE), remedy="Copy it again.")
            vectors[batch] = found
        return unit_rows(vectors)

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
