"""A model's text encoder on this machine: in the cache, or in this package. Makes none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tagprism.files import cache_dir
from tagprism.labels.encoders.encoder import CARD_FILE, read_card

PACKAGED = Path(__file__).parents[2] / "bundles/encoders"
"""Encoders that this installation brings, each a folder of its name."""


def find_encoder(encoder_id: str, digest: str) -> Path | None:
    """Look for an encoder by its id and the digest of its source.

    Args:
        encoder_id: as in the model's label space.
        digest: SHA-256 of the source, from the model's config.

    Returns:
        Its folder, the float32 form before int8; None where there is none.

    Raises:
        InputError: the card of an encoder with this id is damaged.
        MachineError: the cache cannot be used.
    """
    fitting = []
    for folder in _candidates(encoder_id):
        card = read_card(folder)
        if (card.id, card.digest) == (encoder_id, digest):
            fitting.append((card.precision != "fp32", folder))
    return min(fitting)[1] if fitting else None


def _candidates(encoder_id: str) -> Iterator[Path]:
    for card in sorted(cache_dir("encoders").glob(f"{encoder_id}-*/{CARD_FILE}")):
        yield card.parent
    if (PACKAGED / encoder_id / CARD_FILE).is_file():
        yield PACKAGED / encoder_id
