"""A bundle: the folder that everything needs to use a model, and nothing needs more. Knows its own files only.

`model.onnx` (pixels -> picture records), `vocabulary.safetensors`, `config.json`, `trained_on.safetensors`
(digests of the training pictures, for the leak check), `README.md` (model card), `text/` (the label space; its
encoders may be elsewhere) and optionally `calibration.safetensors` (probabilities) and `classes.safetensors` (the
affinities of labels to the classes of the class columns). A bundle on top of a foreign model (`referring`) refers to
its files or has them in `network/`.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tagprism.bundle.record import SHARPNESS, ClassAffinity, Records, Shape
from tagprism.bundle.views import records_of_views
from tagprism.errors import InputError
from tagprism.files import digest_file, digest_json
from tagprism.labels.encoders.encoder import ForeignReference
from tagprism.labels.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tagprism.bundle.foreign.model import ForeignModel
    from tagprism.bundle.onnx_model import RecordNetwork
    from tagprism.bundle.referring import ReferringNetwork

FORMAT = 2  # of format 1 the network's output is another (`onnx_model.RecordNetwork`)
REFERRING = 3  # the network takes the vectors of a foreign one (`referring`); older versions cannot read it
MODEL, VOCABULARY, CONFIG, TEXT = "model.onnx", "vocabulary.safetensors", "config.json", "text"
TRAINED_ON, CALIBRATION, CLASSES = "trained_on.safetensors", "calibration.safetensors", "classes.safetensors"
_VIEWS = 1  # version of what is made of several views: an index of another one does not fit
_LONGEST_CONFIG = 64 << 20  # bytes; a hundred thousand labels need 2 MB


def digest_of_views(digest: str, views: int) -> str:
    """Digest of a model with so many views of each picture; one view is the model itself."""
    return digest if views == 1 else digest_json([digest, "views", views, _VIEWS])


def _stays_inside(name: str) -> str:
    """Refuse a file name that leads out of the bundle's folder, on any system, or that no disk can hold."""
    path = PurePosixPath(name)
    if name != str(path) or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"{name!r} is not a path inside the bundle")
    if PureWindowsPath(name).drive or "\\" in name or max(len(part.encode()) for part in path.parts or [""]) > 255:
        raise ValueError(f"{name[:300]!r} is not a file name that every system has")
    return name


_File = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_stays_inside)]
_Folder = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=255)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundleConfig(BaseModel):
    """`config.json` of a bundle.

    Args:
        format: version of the bundle's layout.
        name: of the recipe.
        vectors: M.
        dimension: D, length of a label vector and of a record's rows.
        class_columns: R + 1 of the shared numbers of a record (`bundle.record`), 0 for none.
        standardised: whether scores are comparable between images.
        best_rows: a label's score is the mean of this many of its best products with rows; 1 is the maximum.
        preprocess: settings of `images.Preprocess`.
        encoders: encoder name of each part of the label space -> folder below `text/`, which may be absent.
        encoder_digests: encoder name -> digest of its source, by which an encoder elsewhere is found or refused.
        label_space: digest of the label space.
        seen: labels trained on.
        places: (h, w) of the feature map where the network can say what each place adds, else None.
        calibration: how the probabilities were fitted; None where there are none.
        precision: how the network's weights are stored: `fp16` computes in float32, `int8` has int8 convolutions.
        provenance: recipe, seed, versions, digests of data, split and vocabulary, commit.
        foreign: the foreign model whose vectors `model.onnx` takes in place of pixels; None where it takes pixels.
        formerly: digests of earlier copies that give the same numbers; an index made with one still fits.
        digests: SHA-256 of the bundle's files, checked when it is opened.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1, 2, 3] = 2
    name: str
    vectors: Annotated[int, Field(ge=1, le=4096)]
    dimension: Annotated[int, Field(ge=1, le=1 << 16)]
    class_columns: Annotated[int, Field(ge=0, le=1 << 16)] = 0
    standardised: bool
    best_rows: Annotated[int, Field(ge=1, le=4096)] = 1
    preprocess: dict[str, Any]
    encoders: dict[_Folder, _Folder]
    encoder_digests: dict[_Folder, _Digest] = {}
    label_space: str
    seen: tuple[str, ...]
    places: tuple[int, int] | None = None
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    provenance: dict[str, Any]
    digests: dict[_File, _Digest]
    calibration: dict[str, int] | None = None
    formerly: tuple[_Digest, ...] = ()
    foreign: ForeignReference | None = None


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
        path = self.path / VOCABULARY
        found = Vocabulary.load(path)
        if found.dimension != self.config.dimension:
            raise InputError(
                f"its label vectors have {found.dimension} numbers, its config says {self.config.dimension}.",
                where=str(path),
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

        threads = 1  # whoever has many pictures calls it from several threads
        model = RecordNetwork(self.path / MODEL, self.config.dimension, threads=threads)
        whole = model if self.foreign is None else self.on_foreign(model)
        self._check_shapes(whole)
        return whole

    @cached_property
    def foreign(self) -> ForeignModel | None:
        """The foreign model that this bundle is on top of, its files checked; None where it holds its whole network.

        Raises:
            InputError: it is not on this machine, or its files are others.
        """
        from tagprism.bundle.referring import open_reference  # which opens bundles, too

        return None if self.config.foreign is None else open_reference(self.config.foreign, self.path)

    def on_foreign(self, own: RecordNetwork) -> ReferringNetwork:
        """A network that takes the foreign model's vectors, as one that takes pixels.

        Raises:
            InputError: the vectors do not fit.
        """
        from tagprism.bundle.referring import ReferringNetwork

        foreign, size = self.foreign, (self.config.preprocess.get("height"), self.config.preprocess.get("width"))
        found = next(iter(own.shapes.values()))
        its = None if foreign is None else foreign.layout.vision.preprocess
        if foreign is None or its is None or found[1:] != [foreign.config.dimension] or (its.height, its.width) != size:
            what = f"its network takes {found[1:]} numbers or other pictures than the foreign network gives and takes."
            raise InputError(what, where=str(self.path / MODEL), remedy="Copy the bundle again.")
        return ReferringNetwork(foreign.model, own, (its.height, its.width))

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
            InputError: the file is absent, damaged, of another size, or of the linear form that was given up.
        """
        if not self.config.class_columns:
            return None
        path = self.path / CLASSES
        try:
            found = load_file(path)
            if "vectors" not in found:
                raise InputError(
                    "is of the linear ConSE that tagprism no longer has.",
                    where=str(path),
                    remedy="Train it again with `tagprism train RECIPE`: the class columns of today are more accurate.",
                )
            affinity = ClassAffinity(
                found["basis"],
                found["vectors"],
                float(found["trained"].item()),
                float(found["sharpness"].item()) if "sharpness" in found else SHARPNESS,
            )
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise InputError(f"cannot be read ({error}).", where=str(path), remedy="Copy the bundle again.") from error
        shapes = (len(affinity.vectors), self.config.class_columns - 1), (len(affinity.basis), self.config.dimension)
        if (affinity.basis.shape, affinity.vectors.shape) != shapes:
            raise InputError("does not fit the bundle's config.", where=str(path), remedy="Copy the bundle again.")
        return affinity

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

    @property
    def places(self) -> tuple[int, int]:
        """(h, w) places of a picture that a tag can come from.

        Raises:
            InputError: this bundle's network does not say where anything comes from.
        """
        if self.config.places is None or self.config.foreign is not None:
            raise InputError(
                "cannot say where in a picture a tag comes from: its backbone's features are not the plain mean of a "
                "feature map, or an older tagprism made it.",
                where=str(self.path),
                remedy="Train with a backbone that averages its last map, such as tf_efficientnet_lite0.",
            )
        return self.config.places

    def placed_records(self, pixels: Float32[np.ndarray, "B 3 H W"]) -> tuple[Records, Float32[np.ndarray, "B P M D"]]:
        """Records, and what each of the h * w places (row by row) adds to their rows.

        Raises:
            InputError: as `places`.
        """
        from tagprism.bundle.onnx_model import RecordNetwork

        _ = self.places
        network = self.model
        assert isinstance(network, RecordNetwork), "a bundle on a foreign model has no places"
        return network.placed(pixels)

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
        return digest_of_views(digest_file(self.path / CONFIG), self.views)

    @property
    def former_digests(self) -> tuple[str, ...]:
        """Digests of earlier copies that give the same numbers."""
        return tuple(digest_of_views(one, self.views) for one in self.config.formerly)

    @property
    def explains(self) -> bool:
        """Whether it says where in a picture a tag comes from."""
        return self.views > 1 or self.config.places is not None


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
        return BundleConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))[:100]
        raise InputError(f"is not a bundle's config: {field}: {first['msg']}.", where=str(file)) from error
