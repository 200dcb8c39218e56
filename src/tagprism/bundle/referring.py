"""A bundle on top of a foreign model: the foreign network gives vectors, the bundle's own makes records of them.

The foreign files are referred to by revision and digest. They are looked for in the bundle itself, in the hub's cache,
or in the folder that they were in; nothing is fetched, and files with another digest are refused.
"""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from tagprism.bundle.bundle import Bundle, open_model
from tagprism.bundle.config import MODEL
from tagprism.bundle.foreign.find import layout_of, read_layout
from tagprism.bundle.foreign.graph import Graph
from tagprism.bundle.foreign.layout import Layout, names_in
from tagprism.bundle.foreign.model import ForeignModel
from tagprism.bundle.foreign.text import TextTower
from tagprism.bundle.hub import HubName, cached_model
from tagprism.bundle.names import lasting_name
from tagprism.bundle.onnx_model import RecordNetwork
from tagprism.bundle.record import Records, Shape
from tagprism.bundle.write import Content
from tagprism.errors import InputError
from tagprism.labels.encoders.encoder import CachedEncoder, ForeignReference, read_card
from tagprism.progress import Progress, silent

NETWORK = "network"
"""Folder of a bundle with the foreign files, where it brings them."""
_MODEL = "model"


class ReferringNetwork:
    """Pixels -> vectors by the foreign network -> records by the bundle's own; as `RecordNetwork`.

    Args:
        foreign: the foreign network of pictures.
        own: takes its vectors (B, E).
        size: (H, W) of the pixels.

    Attributes:
        shape: of a record.
    """

    def __init__(self, foreign: Graph, own: RecordNetwork, size: tuple[int, int]) -> None:
        self._foreign, self._own = foreign, own
        self.shape: Shape = own.shape
        self.shapes: dict[str, list[int | str]] = {"pixels": ["batch", 3, *size]}

    def records(self, pixels: Float32[np.ndarray, "B 3 H W"]) -> Records:
        """Records of B prepared pictures."""
        return self._own.records(self._foreign(pixels))


def on_foreign(bundle: Bundle, foreign: ForeignModel, own: RecordNetwork) -> ReferringNetwork:
    """A network that takes the foreign model's vectors, as one that takes pixels.

    Raises:
        InputError: the vectors do not fit.
    """
    size = (bundle.config.preprocess.get("height"), bundle.config.preprocess.get("width"))
    found = next(iter(own.shapes.values()))
    its = foreign.layout.vision.preprocess
    if found[1:] != [foreign.config.dimension] or (its.height, its.width) != size:
        what = f"its network takes {found[1:]} numbers or other pictures than the foreign network gives and takes."
        raise InputError(what, where=str(bundle.path / MODEL), remedy="Copy the bundle again.")
    return ReferringNetwork(foreign.model, own, (its.height, its.width))


def open_foreign(name: str, *, progress: Progress = silent) -> tuple[ForeignModel, ForeignReference]:
    """A foreign model by its name, fetched where it is not here, and what refers to it from now on.

    Args:
        name: `hf-hub:owner/name[@revision][#form]`, or a folder.
        progress: told of what is fetched.

    Raises:
        InputError: there is none, or it is a bundle.
        MachineError: it cannot be fetched.
    """
    model = open_model(name, progress=progress)
    if not isinstance(model, ForeignModel):
        raise InputError(
            "is a bundle; `onnx:` wants a public CLIP or SigLIP.",
            where=name,
            remedy="`tagprism models list` names some.",
        )
    return model, ForeignReference(name=lasting_name(name, model.path), files=model.config.digests)


def open_reference(reference: ForeignReference, bundle: Path | None = None) -> ForeignModel:
    """The foreign model that something refers to.

    Args:
        reference: of it.
        bundle: the folder of the bundle, which may bring the files.

    Raises:
        InputError: it is not on this machine, or its files are others.
    """
    layout = _find_layout(reference, bundle)
    if layout is None:
        raise InputError(
            f"the network that this model was trained on is not on this machine: {reference.name}.",
            where=str(bundle) if bundle else None,
            remedy=_remedy(reference),
        )
    model = ForeignModel(layout)
    its = model.config.digests
    if other := [name for name in sorted({*its, *reference.files}) if its.get(name) != reference.files.get(name)]:
        raise InputError(
            f"is not the network that the model was trained on: {other[0]} is missing or another file.",
            where=str(layout.folder),
            remedy=_remedy(reference),
        )
    return model


def _remedy(reference: ForeignReference) -> str:
    brought = "a bundle that brings it is made by `tagprism export MODEL --with-network --into FOLDER` where it is"
    if reference.on_hub:
        return f"Run `tagprism models fetch {reference.name}`, once, where a network is; {brought}."
    return f"Put the folder back; {brought}."


def _find_layout(reference: ForeignReference, bundle: Path | None) -> Layout | None:
    """The layout of a reference; None where nothing is in its places."""
    name, _, form = reference.name.partition("#") if reference.on_hub else reference.name.rpartition("#")
    if not reference.on_hub and (not re.fullmatch(r"\w+", form) or not name or Path(reference.name).exists()):
        name, form = reference.name, ""  # a # in the path itself
    if bundle is not None and (bundle / NETWORK).is_dir():
        halves = sorted((bundle / NETWORK).glob(f"{_MODEL}*"))
        return read_layout(halves[-1], form or None) if halves else None  # of two halves the network of pictures
    if not reference.on_hub:
        return read_layout(Path(name), form or None) if Path(name).is_dir() else None
    hub = HubName.parse(reference.name)
    if (folder := cached_model(hub)) is None:
        return None
    found = layout_of(names_in(folder), hub.form)
    other = None if found is None else found[0].partner(hub.repository)
    return read_layout(folder, hub.form, None if other is None else cached_model(HubName(other)))


def network_files(model: ForeignModel) -> dict[str, Content]:
    """Content of a bundle's `network/`: all files that the model uses, in the layout that they came in."""
    between = "-" if model.layout.layout == "fastembed" else "/"  # whose two folders are told apart by their names
    files = model.layout.files.items()
    return {f"{NETWORK}/{_MODEL}{between}{name}": partial(shutil.copyfile, file) for name, file in files}


def text_encoder(model: ForeignModel, encoder_id: str) -> CachedEncoder:
    """The text network of a foreign model as a label encoder; its vectors are those that the plain model keeps."""
    tower = TextTower(encoder_id, model.layout.text, model.config.dimension)
    return CachedEncoder(tower, model.phrase_file)


def foreign_encoder(
    folder: Path, source_digest: str | None = None, at_hand: ForeignModel | None = None
) -> CachedEncoder:
    """Open the folder of an encoder that is the text network of a foreign model; for `load_encoder`.

    Args:
        folder: the encoder's.
        source_digest: digest that its card must name; None takes any.
        at_hand: a foreign model, which is taken where it is the one meant.

    Raises:
        InputError: the encoder is of another model, or the foreign model is not here.
    """
    card = read_card(folder)
    its = card.foreign
    if its is None or (source_digest is not None and card.digest != source_digest) or its.digest != card.digest:
        what = f"this encoder {card.id} belongs to another model than the one that was trained with it."
        raise InputError(what, where=str(folder), remedy="Copy the bundle again.")
    here = at_hand is not None and at_hand.config.digests == its.files
    return text_encoder(at_hand if here and at_hand is not None else open_reference(its), card.id)
