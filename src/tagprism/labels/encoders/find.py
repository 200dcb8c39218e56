"""A model's text encoder on this machine: in the cache, or brought by an installed package. Makes none."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from tagprism.files import cache_dir
from tagprism.labels.encoders.encoder import CARD_FILE, read_card

ENTRY_POINTS = "tagprism.encoders"
"""Group of a distribution's entry points `ENCODER = "package"`; the package holds the folder `ENCODER`."""


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
    for entry in metadata.entry_points(group=ENTRY_POINTS, name=encoder_id):
        package = importlib.util.find_spec(entry.value)  # its code does not run
        for place in (package.submodule_search_locations or ()) if package else ():
            if (Path(place) / encoder_id / CARD_FILE).is_file():
                yield Path(place) / encoder_id
