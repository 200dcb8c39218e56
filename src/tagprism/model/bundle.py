"""A bundle: the folder that everything needs to use a model, and nothing needs more. Knows its own files only.

`model.onnx` (pixels -> ranking matrices), `vocabulary.safetensors`, `config.json`, `trained_on.safetensors`
(digests of the training pictures, for the leak check), `README.md` (model card)
and optionally `text/` (encoders and label space).
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tagprism.errors import InputError
from tagprism.files import digest_file, write_json
from tagprism.model.onnx_model import OnnxModel

FORMAT = 1
MODEL, VOCABULARY, CONFIG, TRAINED_ON, CARD, TEXT = (
    "model.onnx",
    "vocabulary.safetensors",
    "config.json",
    "trained_on.safetensors",
    "README.md",
    "text",
)


class BundleConfig(BaseModel):
    """`config.json` of a bundle.

    Args:
        format: version of the bundle's layout.
        name: of the recipe.
        vectors: M.
        dimension: D, length of a label vector; ranking matrices are (M, D + 1).
        standardised: whether scores are comparable between images.
        preprocess: settings of `images.Preprocess`.
        encoders: encoder name of each part of the label space -> folder below `text/`.
        label_space: digest of the label space.
        seen: labels trained on.
        places: (h, w) of the feature map where the network can say what each place adds, else None.
        provenance: recipe, seed, versions, digests of data, split and vocabulary, commit.
        digests: SHA-256 of the bundle's files, checked when it is opened.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str
    vectors: int
    dimension: int
    standardised: bool
    preprocess: dict[str, Any]
    encoders: dict[str, str]
    label_space: str
    seen: tuple[str, ...]
    places: tuple[int, int] | None = None
    provenance: dict[str, Any]
    digests: dict[str, str]


class Bundle:
    """A bundle on disk, checked when it is opened.

    Args:
        path: the bundle's folder, or a RUN that holds one.

    Raises:
        InputError: no bundle there, a newer format, a damaged or exchanged file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / "bundle" if (path / "bundle" / CONFIG).is_file() else path
        file = self.path / CONFIG
        if not file.is_file():
            unfinished = (path / "recipe.toml").is_file()
            remedy = "Run the same `tagprism train` again: it continues." if unfinished else "Name a RUN or a BUNDLE."
            raise InputError(
                "is a run that has not finished." if unfinished else "is not a bundle: it has no config.json.",
                where=str(path),
                remedy=remedy,
            )
        self.config = _read_config(file)
        self._verify(text=False)

    def _verify(self, *, text: bool) -> None:
        for name, digest in self.config.digests.items():
            if name.startswith(f"{TEXT}/") != text:
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

    @cached_property
    def model(self) -> OnnxModel:
        """The network, loaded on first use."""
        return OnnxModel(self.path / MODEL, threads=1)  # whoever has many pictures calls it from several threads

    def matrices(self, pixels: Float32[np.ndarray, "B 3 H W"]) -> Float32[np.ndarray, "B M D1"]:
        """Ranking matrices (B, M, D + 1) of prepared pixels."""
        return self.model(pixels)

    @property
    def places(self) -> tuple[int, int]:
        """(h, w) places of a picture that a tag can come from.

        Raises:
            InputError: this bundle's network does not say where anything comes from.
        """
        if self.config.places is None:
            raise InputError(
                "cannot say where in a picture a tag comes from: its backbone's features are not the plain mean of a "
                "feature map, or an older tagprism made it.",
                where=str(self.path),
                remedy="Train with a backbone that averages its last map, such as tf_efficientnet_lite0.",
            )
        return self.config.places

    def placed_matrices(
        self, pixels: Float32[np.ndarray, "B 3 H W"]
    ) -> tuple[Float32[np.ndarray, "B M D1"], Float32[np.ndarray, "B P M D"]]:
        """Ranking matrices, and what each of the h * w places (row by row) adds to their first D columns.

        Raises:
            InputError: as `places`.
        """
        _ = self.places
        return self.model.placed(pixels)

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
        """SHA-256 of `config.json`, which names the digests of all other files."""
        return digest_file(self.path / CONFIG)


def write_trained_on(folder: Path, digests: frozenset[str]) -> None:
    """Store digests of training pictures, sorted so that the file is a function of the set."""
    rows = b"".join(bytes.fromhex(digest) for digest in sorted(digests))
    save_file({"sha256": np.frombuffer(rows, np.uint8).reshape(-1, 32)}, folder / TRAINED_ON)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write `config.json` with the digests of the files that stand beside it."""
    digests = {
        str(file.relative_to(folder).as_posix()): digest_file(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in (CONFIG, CARD)
    }
    checked = BundleConfig.model_validate({**config, "format": FORMAT, "digests": digests})
    write_json(folder / CONFIG, checked.model_dump(mode="json"))


def _read_config(file: Path) -> BundleConfig:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        version = values["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"is not a bundle's config ({error}).", where=str(file)) from error
    if version != FORMAT:
        raise InputError(
            f"has bundle format {version}; this tagprism reads format {FORMAT}.",
            where=str(file),
            remedy="Install the tagprism version that wrote it, or a newer one.",
        )
    try:
        return BundleConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(f"is not a bundle's config: {error.errors()[0]['msg']}.", where=str(file)) from error
