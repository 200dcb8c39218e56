"""The text network of a foreign model as a label encoder. Knows no layouts: `layout.Text` says how it is fed."""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from tagprism.bundle.foreign.graph import Graph, in_threads
from tagprism.bundle.foreign.layout import AGAIN, Text
from tagprism.errors import InputError
from tagprism.labels.encoders.sentence_encoder import encode_texts
from tagprism.labels.phrases import spoken_phrase

_BATCH = 8  # phrases a run, where the graph takes more than one: more is no faster on a processor
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_INPUTS = (("text", "input_ids", "input"), ("attention_mask",))


class TextTower:
    """Phrases to unit vectors; every phrase that is not empty is known.

    Args:
        encoder_id: name of the encoder.
        settings: of the layout.
        dimension: D, length of the vectors of the network of pictures.
    """

    def __init__(self, encoder_id: str, settings: Text, dimension: int) -> None:
        self.id, self.dimension, self._settings = encoder_id, dimension, settings

    @cached_property
    def _graph(self) -> Graph:
        graph = Graph(self._settings.graph, _INPUTS, self._settings.outputs, [self._fixed_length], "tokens")
        if graph.dimension not in (None, self.dimension):
            raise InputError(
                f"gives {graph.dimension} numbers, the network of pictures {self.dimension}.",
                where=str(self._settings.graph),
                remedy=AGAIN,
            )
        return graph

    @property
    def _fixed_length(self) -> int | None:
        return self._settings.length if self._settings.whole else None

    @cached_property
    def _tokens(self) -> tuple[Any, int, int | None]:
        """The tokenizer, the id that fills up, and the id that must still be appended."""
        its, where = self._settings, str(self._settings.source)
        try:
            tokenizer = its.tokenizer()
        except InputError:
            raise
        except Exception as error:  # the tokenizers package raises bare Exception
            raise InputError(f"is not a readable tokenizer ({error}).", where=where, remedy=AGAIN) from error
        tokenizer.no_padding()  # what it brings of both is not how the network was trained
        tokenizer.no_truncation()
        for text, number in its.fixed:
            if tokenizer.token_to_id(text) != number:
                raise InputError(
                    f"is another tokenizer than the network's: `{text}` is {tokenizer.token_to_id(text)} in it, "
                    f"not {number}.",
                    where=where,
                    remedy=AGAIN,
                )
        if its.vocabulary is not None and tokenizer.get_vocab_size() > its.vocabulary:
            raise InputError(
                f"is another tokenizer than the network's: it has {tokenizer.get_vocab_size():,} tokens, the network "
                f"{its.vocabulary:,}.",
                where=where,
                remedy=AGAIN,
            )
        pad = its.pad if isinstance(its.pad, int) else self._id_of(tokenizer, its.pad)
        end = None if its.end is None else self._id_of(tokenizer, its.end)
        if end is not None and tokenizer.encode("a").ids[-1:] == [end]:
            end = None
        tokenizer.enable_truncation(its.length - (end is not None))
        return tokenizer, pad, end

    def _id_of(self, tokenizer: Any, text: str) -> int:
        number: int | None = tokenizer.token_to_id(text)
        if number is None:
            what = f"is another tokenizer than the network's: it has no token `{text}`."
            raise InputError(what, where=str(self._settings.source), remedy=AGAIN)
        return number

    def tokens(self, texts: Sequence[str]) -> tuple[Int64[np.ndarray, "L T"], Int64[np.ndarray, "L T"]]:
        """Ids of the tokens of texts, and 1 where one counts."""
        tokenizer, pad, end = self._tokens
        cleaned = [self._cleaned(text) for text in texts]
        rows = [one.ids for one in encode_texts(tokenizer, cleaned, self._settings.source)]
        rows = [row if end is None else [*row, end] for row in rows]
        width = self._graph.length or (self._settings.length if self._settings.whole else max(map(len, rows)))
        if max(map(len, rows)) > width:
            what = f"is another tokenizer than the network's: it makes {max(map(len, rows)):,} tokens of a phrase."
            raise InputError(what, where=str(self._settings.source), remedy=AGAIN)
        ids = np.full((len(rows), width), pad, np.int64)
        counts: Bool[np.ndarray, "L T"] = np.full(ids.shape, self._settings.whole)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            counts[at, : len(row)] = True
        return ids, counts.astype(np.int64)

    def _cleaned(self, text: str) -> str:
        if self._settings.clean == "canonicalize":
            text = text.replace("_", " ").translate(_NO_PUNCTUATION)
        if self._settings.clean != "whitespace":
            text = text.lower()
        return " ".join(text.split())

    def encode(self, phrases: Sequence[str]) -> Float32[np.ndarray, "L D"]:
        """Unit vectors of L phrases, normalised first; a row of zeros where a phrase is empty."""
        texts = [spoken_phrase(phrase) for phrase in phrases]
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        rows = sorted((row for row, text in enumerate(texts) if text), key=lambda row: len(texts[row]))
        step = 1 if self._graph.one_by_one else _BATCH  # phrases of like length together: little filling
        batches = [rows[start : start + step] for start in range(0, len(rows), step)]
        feeds = [self.tokens([texts[row] for row in batch]) for batch in batches]
        for batch, found in zip(batches, in_threads(self._graph, feeds), strict=True):
            if found.shape[1] != self.dimension:
                raise InputError(
                    f"gives {found.shape[1]} numbers, the network of pictures {self.dimension}.",
                    where=str(self._settings.graph),
                    remedy=AGAIN,
                )
            vectors[batch] = found
        return vectors

    def knows(self, phrase: str) -> bool:
        """Whether there is a word in it; which languages the network read is not known."""
        return bool(spoken_phrase(phrase))

    def nearest_known(self, phrase: str, n: int = 3) -> list[str]:
        """Nothing: every phrase is known."""
        return []
