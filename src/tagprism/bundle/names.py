"""Names of models, beyond opening them: with views, lasting ones, and those that this installation brings."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from tagprism.bundle.bundle import BUNDLES, DEFAULT, split_views
from tagprism.bundle.config import CONFIG
from tagprism.bundle.hub import HUB, HubName
from tagprism.errors import InputError
from tagprism.images.views import check_views


def packaged_bundles() -> list[str]:
    """Names of the bundles that this installation brings."""
    return sorted(path.parent.name for path in BUNDLES.glob(f"*/{CONFIG}"))


def no_such_model(name: str) -> InputError:
    """The error that there is no model of a name, with the names that there are."""
    what = f"there is no model `{name}`: no such folder, and no packaged bundle"
    if name == DEFAULT:
        what, remedy = f"the bundle {name} is not part of this installation.", "Install tagprism from its wheel"
        return InputError(what, remedy=f"{remedy}, or name a RUN or a BUNDLE with --model.")
    remedy = "Name a RUN or a BUNDLE, a packaged bundle, or hf-hub:owner/name."
    return InputError(f"{what} (packaged: {', '.join(packaged_bundles()) or 'none'}).", remedy=remedy)


def with_views(name: str, views: int | None) -> str:
    """A model's name with so many views, in place of those that it has; the name itself for None."""
    return name if views is None else f"{split_views(name)[0]}#views={check_views(views)}"


def lasting_name(model: str, folder: Path | None = None) -> str:
    """A model's name that means the same from another working folder, and on another day.

    Args:
        model: its name.
        folder: where it lies; of the hub's cache it tells the commit, which is then pinned.
    """
    model, views = split_views(model)
    if not model.startswith(HUB):
        model = model if model in packaged_bundles() else os.path.abspath(model)  # noqa: PTH100 (a text)
    elif folder is not None and folder.parent.name == "snapshots":
        model = str(replace(HubName.parse(model), revision=folder.name))
    return model if views in (None, 1) else with_views(model, views)
