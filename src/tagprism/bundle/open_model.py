"""Open a model by its name: a RUN or bundle, or a public CLIP or SigLIP in a layout of its own.

Names of models on a hub (`hf-hub:owner/name[@revision][#form]`), of packaged bundles (a bare word) and paths look
different. A folder with the name of a packaged bundle is written `./NAME`, so that what lies in the working folder
never changes what a name means. A model with several views of each picture is written `NAME#views=5`, so that whoever
keeps a model's name keeps its views too.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tagprism.bundle.bundle import CONFIG, VOCABULARY, Bundle
from tagprism.bundle.hub import HUB, HubName, fetch_model, fetch_partner
from tagprism.errors import InputError
from tagprism.images.views import check_views
from tagprism.progress import Progress, silent

if TYPE_CHECKING:
    from tagprism.bundle.foreign.model import ForeignModel

DEFAULT = "photos-lite"
BUNDLES = Path(__file__).parents[1] / "bundles"  # those that this installation brings


def open_model(
    model: str | os.PathLike[str], *, views: int | None = None, renew: bool = False, progress: Progress = silent
) -> Bundle | ForeignModel:
    """Open a model.

    Args:
        model: as text `hf-hub:owner/name[@revision][#form]`, the name of a packaged bundle, or the path of a RUN, a
            BUNDLE or a foreign model, with `#form` after it where that has several, and `#views=5` at the end where
            pictures are to be looked at in several views; as a path always a folder.
        views: of each picture, one of `images.views.VIEWS`; None for what the name says, or 1.
        renew: ask the hub for a newer one.
        progress: told of what is fetched and computed.

    Raises:
        InputError: there is none, it is damaged, or holds what is not understood.
        MachineError: the hub does not answer, or the disk is full.
    """
    if isinstance(model, str):
        model, named = split_views(model)
        views = views if views is not None else named
    views = 1 if views is None else check_views(views)
    if isinstance(model, str) and model.startswith(HUB):
        name = HubName.parse(model)
        folder = fetch_model(name, renew=renew, progress=progress)
        return _opened(folder, name.form, fetch_partner(folder, name, renew, progress), views, progress, folder.name)
    text, form = os.fspath(model), None
    if "#" in text and not Path(text).exists():
        text, _, form = text.rpartition("#")
    return _opened(find_bundle(text) if isinstance(model, str) else Path(text), form, None, views, progress)


def _opened(
    folder: Path,
    form: str | None,
    partner: Path | None,
    views: int,
    progress: Progress,
    revision: str | None = None,
) -> Bundle | ForeignModel:
    if any((folder / file).is_file() for file in (VOCABULARY, f"bundle/{CONFIG}", "recipe.toml")):
        return Bundle(folder, views=views)
    from tagprism.bundle.foreign.find import read_layout  # they load Pillow and ONNX Runtime; words need neither
    from tagprism.bundle.foreign.model import ForeignModel

    layout = read_layout(folder, form, partner)
    if layout is None:
        return Bundle(folder)  # which says what is wrong
    return ForeignModel(layout, revision=revision, views=views, progress=progress)


def find_bundle(name: str) -> Path:
    """Folder of a model by its name.

    Args:
        name: `hf-hub:owner/name[@revision]`, the name of a packaged bundle, or the path of a RUN or BUNDLE.

    Returns:
        A folder for `Bundle`. A path is returned as it is; `Bundle` says what is wrong with it.

    Raises:
        InputError: the hub has no such repository or revision, it holds no bundle, or there is nothing of that name.
        MachineError: the hub does not answer.
    """
    name, _ = split_views(name)
    if name.startswith(HUB):
        return fetch_model(HubName.parse(name))
    if re.fullmatch(r"[\w.-]+", name):
        packaged = BUNDLES / name
        if (packaged / CONFIG).is_file():
            return packaged
        if not Path(name).exists():
            raise _nothing(name)
    return Path(name)


def packaged_bundles() -> list[str]:
    """Names of the bundles that this installation brings."""
    return sorted(path.parent.name for path in BUNDLES.glob(f"*/{CONFIG}"))


def _nothing(name: str) -> InputError:
    what = f"there is no model `{name}`: no such folder, and no packaged bundle"
    if name == DEFAULT:
        what, remedy = f"the bundle {name} is not part of this installation.", "Install tagprism from its wheel"
        return InputError(what, remedy=f"{remedy}, or name a RUN or a BUNDLE with --model.")
    remedy = "Name a RUN or a BUNDLE, a packaged bundle, or hf-hub:owner/name."
    return InputError(f"{what} (packaged: {', '.join(packaged_bundles()) or 'none'}).", remedy=remedy)


def split_views(name: str) -> tuple[str, int | None]:
    """A model's name without its views, and these; None where it does not say.

    Raises:
        InputError: there are no so many views.
    """
    found = re.fullmatch(r"(.+)#views=(\d{1,4})", name)
    return (found[1], check_views(int(found[2]))) if found else (name, None)


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
