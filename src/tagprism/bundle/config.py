"""What stands in a bundle's folder: the names of its files, and what its `config.json` says. Reads nothing.

`model.onnx` (pixels -> picture records), `vocabulary.safetensors`, `config.json`, `trained_on.safetensors`
(digests of the training pictures, for the leak check), `README.md` (model card), `text/` (the label space; its
encoders may be elsewhere) and optionally `calibration.safetensors` (probabilities) and `classes.safetensors` (the
affinities of labels to the classes of the class columns). A bundle on top of a foreign model (`referring`) refers to
its files or has them in `network/`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tagprism.labels.encoders.encoder import ForeignReference

FORMAT = 2  # of format 1 the network's output is another (`onnx_model.RecordNetwork`)
REFERRING = 3  # the network takes the vectors of a foreign one (`referring`); older versions cannot read it
MODEL, VOCABULARY, CONFIG, TEXT = "model.onnx", "vocabulary.safetensors", "config.json", "text"
TRAINED_ON, CALIBRATION, CLASSES = "trained_on.safetensors", "calibration.safetensors", "classes.safetensors"

_File = Annotated[str, Field(min_length=1, max_length=1000)]
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
