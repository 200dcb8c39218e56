"""The text encoders of a bundle, by which it reads phrases that its vocabulary lacks: found and opened."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tagprism.bundle.bundle import Bundle
from tagprism.bundle.referring import foreign_encoder
from tagprism.labels.encoders.encoder import find_encoder, load_encoder
from tagprism.labels.label_space import LabelSpace

if TYPE_CHECKING:
    from tagprism.bundle.foreign.model import ForeignModel


def encoder_folders(bundle: Bundle | ForeignModel) -> dict[str, Path | None]:
    """Folder of every text encoder by its id: in the bundle, else on this machine; None where it is not here."""
    digests = bundle.config.encoder_digests
    return {
        name: bundle.encoder_folder(name) or (find_encoder(name, digests[name]) if name in digests else None)
        for name in bundle.config.encoders
    }


def open_label_space(bundle: Bundle) -> LabelSpace | None:
    """The transform and encoders of the training, or None where an encoder or the whole of `text/` is absent."""
    all_folders = encoder_folders(bundle)
    folders = {name: folder for name, folder in all_folders.items() if folder is not None}
    if bundle.text is None or len(folders) < len(all_folders):
        return None
    digests, foreign = bundle.config.encoder_digests, partial(foreign_encoder, at_hand=bundle.foreign)
    encoders = {
        name: load_encoder(at, source_digest=digests.get(name), cached=True, foreign=foreign)
        for name, at in folders.items()
    }
    return LabelSpace.load(bundle.text, encoders)
