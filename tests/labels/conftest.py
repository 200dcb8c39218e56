"""Small encoders that the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tagprism.labels.encoders.encoder import EncoderCard
from tagprism.labels.encoders.word_table import WordTable, write_word_table

MakeTable = Callable[..., WordTable]


@pytest.fixture
def make_table(tmp_path: Path) -> MakeTable:
    """Build a word table: `make_table({"cat": [1, 0]}, id="tiny")`."""

    def make(words: dict[str, Sequence[float]], id: str = "tiny") -> WordTable:
        folder = tmp_path / id
        folder.mkdir()
        vectors = np.array(list(words.values()), dtype=np.float32)
        card = EncoderCard(
            id=id, kind="words", dimension=vectors.shape[1], licence="none", source="a test", digest="0" * 64
        )
        write_word_table(folder, card, list(words), vectors)
        return WordTable(folder, card)

    return make
