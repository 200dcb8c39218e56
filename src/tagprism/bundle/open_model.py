"""Open a model by its name: a RUN or bundle, or a public CLIP or SigLIP in a layout of its own."""

from __future__ import annotations

import os
from pathlib import Path

from tagprism.bundle.bundle import CONFIG, HUB, VOCABULARY, Bundle, find_bundle
from tagprism.bundle.foreign.find import layout_of, read_layout
from tagprism.bundle.foreign.layout import names_in
from tagprism.bundle.foreign.model import ForeignModel
from tagprism.bundle.hub import HubName, fetch_model
from tagprism.progress import Progress, silent


def open_model(
    model: str | os.PathLike[str], *, renew: bool = False, progress: Progress = silent
) -> Bundle | ForeignModel:
    """Open a model.

    Args:
        model: as text `hf-hub:owner/name[@revision][#form]`, the name of a packaged bundle, or the path of a RUN, a
            BUNDLE or a foreign model, with `#form` after it where that has several; as a path always a folder.
        renew: ask the hub for a newer one.
        progress: told of what is fetched and computed.

    Raises:
        InputError: there is none, it is damaged, or holds what is not understood.
        MachineError: the hub does not answer, or the disk is full.
    """
    if isinstance(model, str) and model.startswith(HUB):
        name = HubName.parse(model)
        return _opened(fetch_model(name, renew=renew, progress=progress), name.form, name, progress)
    text, form = os.fspath(model), None
    if "#" in text and not Path(text).exists():
        text, _, form = text.rpartition("#")
    return _opened(find_bundle(text) if isinstance(model, str) else Path(text), form, None, progress)


def _opened(folder: Path, form: str | None, name: HubName | None, progress: Progress) -> Bundle | ForeignModel:
    if any((folder / file).is_file() for file in (VOCABULARY, f"bundle/{CONFIG}", "recipe.toml")):
        return Bundle(folder)
    layout = read_layout(folder, form, _partner(folder, form, name, progress))
    if layout is None:
        return Bundle(folder)  # which says what is wrong
    return ForeignModel(layout, revision=folder.name if name else None, progress=progress)


def _partner(folder: Path, form: str | None, name: HubName | None, progress: Progress) -> Path | None:
    """The repository with the other half of a foreign model of the hub, where its layout has halves."""
    found = layout_of(names_in(folder), form) if name is not None else None
    if name is None or found is None:
        return None
    other = found[0].partner(name.repository)
    return None if other is None else fetch_model(HubName(other), progress=progress)
