"""A bundle, the folder that everything needs to use a model and nothing needs more; and how any model is opened.

Names of models on a hub (`hf-hub:owner/name[@revision][#form]`), of packaged bundles (a bare word) and paths look
different. A folder with the name of a packaged bundle is written `./NAME`, so that what lies in the working folder
never changes what a name means. A model with several views of each picture is written `NAME#views=5`, so that whoever
keeps a model's name keeps its views too.
"""

from __future__ import annotations

import json
import os
import re
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tagprism.bundle.config import CLASSES, CONFIG, FORMAT, MODEL, REFERRING, TEXT, TRAINED_ON, VOCABULARY, BundleConfig
from tagprism.bundle.record import ClassAffinity, Records, Shape
from tagprism.bundle.views import digest_of_views, records_of_views
from tagprism.errors import InputError
from tagprism.files import digest_file
from tagprism.images.views import check_views
from tagprism.labels.encoders.encoder import HUB
from tagprism.labels.vocabulary import Vocabulary
from tagprism.progress import Progress, silent

if TYPE_CHECKING:
    from tagprism.bundle.foreign.model import ForeignModel
    from tagprism.bundle.onnx_model import RecordNetwork
    from tagprism.bundle.referring import ReferringNetwork

DEFAULT = "photos-lite"
BUNDLES = Path(__file__).parents[1] / "bundles"  # those that this installation brings
_LONGEST_CONFIG = 64 << 20  # bytes; a hundred thousand labels need 2 MB


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
    form, partner, revision = None, None, None
    if isinstance(model, str) and model.startswith(HUB):
        from tagprism.bundle.hub import HubName, fetch_model, fetch_partner

        name = HubName.parse(model)
        folder = fetch_model(name, renew=renew, progress=progress)
        form, partner, revision = name.form, fetch_partner(folder, name, renew, progress), folder.name
    else:
        text = os.fspath(model)
        if "#" in text and not Path(text).exists():
            text, _, form = text.rpartition("#")
        folder = find_bundle(text) if isinstance(model, str) else Path(text)
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
        A folder for `Bundle`, which says what is wrong with a path.

    Raises:
        InputError: the hub has no such repository or revision, it holds no bundle, or there is nothing of that name.
        MachineError: the hub does not answer.
    """
    name, _ = split_views(name)
    if name.startswith(HUB):
        from tagprism.bundle.hub import HubName, fetch_model

        return fetch_model(HubName.parse(name))
    if re.fullmatch(r"[\w.-]+", name):
        packaged = BUNDLES / name
        if (packaged / CONFIG).is_file():
            return packaged
        if not Path(name).exists():
            from tagprism.bundle.names import no_such_model

            raise no_such_model(name)
    return Path(name)


def split_views(name: str) -> tuple[str, int | None]:
    """A model's name without its views, and these; None where it does not say.

    Raises:
        InputError: there are no so many views.
    """
    found = re.fullmatch(r"(.+)#views=(\d{1,4})", name)
    return (found[1], check_views(int(found[2]))) if found else (name, None)


class Bundle:
    """A bundle on disk, checked when it is opened.

    Args:
        path: the bundle's folder, or a RUN that holds one.
        views: of each picture, one of `images.views.VIEWS`.

    Raises:
        InputError: no bundle there, a newer format, a damaged or exchanged file.
    """

    def __init__(self, path: Path, *, views: int = 1) -> None:
        self.views = views
        self.path = path / "bundle" if (path / "bundle" / CONFIG).is_file() else path
        if not (file := self.path / CONFIG).is_file():
            what, remedy = "is not a bundle: it has no config.json.", "Name a RUN or a BUNDLE."
            if not path.exists():
                what = "there is no such folder."
            elif (path / "recipe.toml").is_file():
                what, remedy = "is a run that has not finished.", "Run the same `tagprism train` again: it continues."
            raise InputError(what, where=str(path), remedy=remedy)
        self.config = _read_config(file)
        if lacking := [name for name in (MODEL, VOCABULARY, TRAINED_ON) if name not in self.config.digests]:
            raise InputError(f"names no digest of {lacking[0]}.", where=str(file), remedy="Copy the bundle again.")
        self._verify(text=False)

    def _verify(self, *, text: bool) -> None:
        for name, digest in self.config.digests.items():
            if name.startswith(f"{TEXT}/") != text or (self.config.foreign and name.startswith("network/")):
                continue
            if not (self.path / name).is_file() or digest_file(self.path / name) != digest:
                raise InputError(
                    "is missing, damaged or belongs to another bundle.",
                    where=str(self.path / name),
                    remedy="Copy the bundle again.",
                )

    @cached_property
    def text(self) -> Path | None:
        """The folder of text encoders, its files checked on first use; None where the bundle has none."""
        if not any(name.startswith(f"{TEXT}/") for name in self.config.digests):
            return None
        self._verify(text=True)
        return self.path / TEXT

    def encoder_folder(self, name: str) -> Path | None:
        """Folder of a text encoder that the bundle brings, its files checked; None where it brings none."""
        folder = f"{TEXT}/{self.config.encoders[name]}"
        brought = any(file.startswith(f"{folder}/") for file in self.config.digests)
        return self.path / folder if brought and self.text else None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The labels with their vectors.

        Raises:
            InputError: the file is damaged or does not fit the config.
        """
        found = Vocabulary.load(self.path / VOCABULARY)
        if found.dimension != self.config.dimension:
            raise InputError(
                f"its label vectors have {found.dimension} numbers, its config says {self.config.dimension}.",
                where=str(self.path / VOCABULARY),
                remedy="Copy the bundle again.",
            )
        return found

    @property
    def shape(self) -> Shape:
        """Size of a picture's record; the network is loaded and checked, but for a foreign one, which is large."""
        its = self.config
        one = Shape(its.vectors, its.dimension, 1 + its.class_columns) if its.foreign else self.model.shape
        return one._replace(vectors=one.vectors * self.views)

    @cached_property
    def model(self) -> RecordNetwork | ReferringNetwork:
        """The network, loaded on first use.

        Raises:
            InputError: it cannot be run, does not fit the config, or the foreign model that it takes is not here.
        """
        from tagprism.bundle.onnx_model import RecordNetwork  # it loads ONNX Runtime, which words do not need

        # In one thread, as whoever has many pictures calls it from several.
        model = RecordNetwork(self.path / MODEL, self.config.dimension, threads=1)
        whole: RecordNetwork | ReferringNetwork = model
        if self.foreign is not None:
            from tagprism.bundle.referring import on_foreign  # which opens bundles, too

            whole = on_foreign(self, self.foreign, model)
        self._check_shapes(whole)
        return whole

    @cached_property
    def foreign(self) -> ForeignModel | None:
        """The foreign model that this bundle is on top of, its files checked; None where it holds its whole network.

        Raises:
            InputError: it is not on this machine, or its files are others.
        """
        if self.config.foreign is None:
            return None
        from tagprism.bundle.referring import open_reference  # which opens bundles, too

        return open_reference(self.config.foreign, self.path)

    def _check_shapes(self, model: RecordNetwork | ReferringNetwork) -> None:
        config = self.config
        pixels = [3, config.preprocess.get("height"), config.preprocess.get("width")]
        found = next(iter(model.shapes.values()))
        shape = Shape(config.vectors, config.dimension, 1 + config.class_columns)
        if found[1:] != pixels or model.shape != shape:
            raise InputError(
                f"its network turns {found} into records of {model.shape}; its config says otherwise.",
                where=str(self.path / MODEL),
                remedy="Copy the bundle again.",
            )

    @cached_property
    def class_affinity(self) -> ClassAffinity | None:
        """Affinities of labels to the classes of the class columns; None where there are no such columns.

        Raises:
            InputError: their file cannot be used.
        """
        its = self.config
        return ClassAffinity.load(self.path / CLASSES, its.dimension, its.class_columns) if its.class_columns else None

    def records(self, pixels: Float32[np.ndarray, "B C H W"]) -> Records:
        """Records of prepared pictures, C = 3 V channels of the V views of each."""
        if self.views == 1:
            return self.model.records(pixels)
        return records_of_views(self.model.records, pixels, self._reference)

    @cached_property
    def _reference(self) -> Float32[np.ndarray, "S D"] | None:
        """Vectors of the labels over which scores are standardised."""
        if not self.config.standardised:
            return None
        vectors: Float32[np.ndarray, "S D"] = self.vocabulary.vectors[np.array(self.vocabulary.roles) == "seen"]
        return vectors

    @cached_property
    def trained_images(self) -> frozenset[str]:
        """SHA-256 of the pictures it was trained or chosen on, 64 hex digits each."""
        try:
            digests = load_file(self.path / TRAINED_ON)["sha256"]
        except (OSError, KeyError, SafetensorError) as error:
            raise InputError(f"cannot be read ({error}).", where=str(self.path / TRAINED_ON)) from error
        return frozenset(row.tobytes().hex() for row in digests)

    @property
    def digest(self) -> str:
        """SHA-256 of `config.json`, which names the digests of all other files; and of the views, where it has some."""
        return self._of_views(digest_file(self.path / CONFIG))

    @property
    def former_digests(self) -> tuple[str, ...]:
        """Digests of earlier copies that give the same numbers."""
        return tuple(map(self._of_views, self.config.formerly))

    def _of_views(self, digest: str) -> str:
        return digest if self.views == 1 else digest_of_views(digest, self.views)

    @property
    def explains(self) -> bool:
        """Whether it says where in a picture a tag comes from."""
        return self.views > 1 or self.config.places is not None


def _check_inside(name: str) -> None:
    """Refuse a file name that leads out of the bundle's folder, on any system, or that no disk can hold."""
    path = PurePosixPath(name)
    if name != str(path) or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"{name!r} is not a path inside the bundle")
    if PureWindowsPath(name).drive or "\\" in name or max(len(part.encode()) for part in path.parts or [""]) > 255:
        raise ValueError(f"{name[:300]!r} is not a file name that every system has")


def _read_config(file: Path) -> BundleConfig:
    try:
        if file.stat().st_size > _LONGEST_CONFIG:
            raise ValueError(f"{file.stat().st_size} bytes are too many")
        values = json.loads(file.read_text(encoding="utf-8"))
        version = values["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"is not a bundle's config ({error}).", where=str(file)) from error
    if version not in (1, FORMAT, REFERRING):
        raise InputError(
            f"has bundle format {version}; this tagprism reads formats 1 to {REFERRING}.",
            where=str(file),
            remedy="Install the tagprism version that wrote it, or a newer one.",
        )
    try:
        config = BundleConfig.model_validate(values)
        for name in config.digests:
            _check_inside(name)
        return config
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))[:100]
        raise InputError(f"is not a bundle's config: {field}: {first['msg']}.", where=str(file)) from error
    except ValueError as error:
        raise InputError(f"is not a bundle's config: digests: {error}.", where=str(file)) from error
