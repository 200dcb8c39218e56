"""A foreign model as the rest of the program uses a model: pictures in, records of one row out.

A picture's cosines have no scale that pictures share, so they are standardised over one fixed list of common words. No
label is known to have been trained on, and there is no calibration.
"""

from __future__ import annotations

import re
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from tagprism.bundle.config import BundleConfig
from tagprism.bundle.foreign.graph import Graph
from tagprism.bundle.foreign.layout import AGAIN, Layout
from tagprism.bundle.foreign.text import TextTower
from tagprism.bundle.record import ClassAffinity, Records, Shape
from tagprism.bundle.views import digest_of_views, some_views, standardised_rows
from tagprism.errors import InputError
from tagprism.files import digest_bytes, digest_file, digest_json
from tagprism.labels.encoders.encoder import CachedEncoder
from tagprism.labels.label_space import LabelSpace
from tagprism.labels.space_part import SpacePart
from tagprism.labels.vocabulary import Role, Vocabulary
from tagprism.progress import Progress, silent

CUT = 2.5
"""Least score of a tag that is shown where nothing else is asked for: deviations above the mean of the common words."""
_WORDS = files("tagprism.bundle.foreign").joinpath("common_words.txt").read_bytes()
WORDS = tuple(_WORDS.decode().splitlines())
WORDS_DIGEST = digest_bytes(_WORDS)
_VERSION = 1  # of what is computed here: an index of another one does not fit
_AT_ONCE = 32  # words embedded and kept at once: some seconds of work


class ForeignModel:
    """A foreign model on disk, with what `tagging.Tagger` uses of a bundle.

    Args:
        layout: as its adapter read it.
        revision: of the hub's repository; None for a folder.
        views: of each picture, one of `images.views.VIEWS`.
        progress: told of the common words while their vectors are computed, once for each model.

    Raises:
        InputError: a file leads out of the folder, or the network of pictures cannot be used.
    """

    class_affinity: ClassAffinity | None = None
    text: Path | None = None
    foreign = None  # that it is on top of
    trained_images: frozenset[str] = frozenset()
    cut = CUT

    def __init__(
        self, layout: Layout, *, revision: str | None = None, views: int = 1, progress: Progress = silent
    ) -> None:
        self.layout, self.path, self.views, self._progress = layout, layout.folder, views, progress
        digests = {name: _digest(file) for name, file in sorted(layout.files.items())}
        encoder = re.sub(r"[^A-Za-z0-9._-]", "-", layout.name).lstrip("._-") or layout.layout
        self.config = BundleConfig(
            name=layout.name,
            vectors=1,
            dimension=self._dimension,
            standardised=True,
            preprocess=layout.vision.preprocess.model_dump(mode="json"),
            encoders={encoder: encoder},
            label_space=digest_json({"prompt": layout.prompt, "words": WORDS_DIGEST}),
            seen=(),
            provenance={
                "foreign": layout.layout,
                "form": layout.form,
                "revision": revision,
                "prompt": layout.prompt,
                "tokens": f"{layout.text.length}, {layout.text.clean}",
                "standardised_over": f"{len(WORDS)} common words",
                "words_digest": WORDS_DIGEST,
                "trained_on": "unknown: labels that count as unseen may have been seen",
            },
            digests=digests,
        )

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of its files and over all that decides a score, but for the place it lies in."""
        return digest_of_views(self._text_digest, self.views)

    @property
    def _text_digest(self) -> str:
        """The same for one view, by which vectors of phrases are kept."""
        its = self.layout
        settings = [_VERSION, its.layout, its.prompt, WORDS_DIGEST, self.config.preprocess, self.config.digests]
        return digest_json([*settings, its.text.clean, its.text.length, its.text.pad, its.text.end])

    @cached_property
    def model(self) -> Graph:
        """The network of pictures: prepared pixels to unit vectors."""
        its = self.layout.vision
        sizes = [3, its.preprocess.height, its.preprocess.width]
        graph = Graph(its.graph, [("image", "pixel_values", "input")], its.outputs, sizes, "pixels")
        if self.layout.dimension is not None and graph.dimension not in (None, self.layout.dimension):
            what = f"gives {graph.dimension} numbers, the settings beside it say {self.layout.dimension}."
            raise InputError(what, where=str(its.graph), remedy=AGAIN)
        return graph

    @property
    def _dimension(self) -> int:
        """D as the settings say, so that a search by words loads no network of pictures; else as that network does."""
        if (said := self.layout.dimension or self.model.dimension) is not None:
            return said
        its = self.layout.vision.preprocess
        return int(self.model(np.zeros((1, 3, its.height, its.width), np.float32)).shape[1])

    @cached_property
    def _encoder(self) -> CachedEncoder:
        (name,) = self.config.encoders
        return CachedEncoder(TextTower(name, self.layout.text, self.config.dimension), self.phrase_file)

    @property
    def phrase_file(self) -> str:
        """Name of the file in the cache that keeps the vectors of phrases."""
        (name,) = self.config.encoders
        return f"{name}-{self._text_digest[:16]}"

    @cached_property
    def label_space(self) -> LabelSpace:
        """Phrases in the model's prompt, through its own text network; what was computed once is kept on disk."""
        part = SpacePart(encoder=self._encoder.id, template=self.layout.prompt)
        mean = np.zeros(self.config.dimension, np.float32)
        return LabelSpace([part], {self._encoder.id: self._encoder}, [mean], None)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The common words, which pictures are tagged with where no others are given."""
        parts = []
        new = self._encoder.lacks([self.layout.prompt.replace("{}", word) for word in WORDS])
        with (self._progress if new else silent)("reading words", len(WORDS)) as advance:
            for start in range(0, len(WORDS), _AT_ONCE):
                parts.append(self.label_space.embed(WORDS[start : start + _AT_ONCE]).vectors)
                advance(len(parts[-1]))
        other: Role = "other"
        return Vocabulary(WORDS, np.concatenate(parts), (other,) * len(WORDS))

    @property
    def shape(self) -> Shape:
        """Size of a picture's record."""
        return Shape(self.views, self.config.dimension, 1)

    def records(self, pixels: Float32[np.ndarray, "B C H W"]) -> Records:
        """Records of prepared pictures: `a / sd` and `-mu / sd`, mu and sd over the common words' best cosines.

        C is 3 V channels of the V views of each; a row a is the vector of a view.
        """
        rows = np.concatenate([self.model(some) for some in some_views(pixels)])
        rows = rows.reshape(len(pixels), self.views, -1)  # (B, V, D)
        return Records(*standardised_rows(rows, self.vocabulary.vectors))

    @property
    def former_digests(self) -> tuple[str, ...]:
        """None: no earlier copy gave the same numbers."""
        return ()

    @property
    def explains(self) -> bool:
        """Whether it says where in a picture a tag comes from: only by views."""
        return self.views > 1

    def encoder_folder(self, name: str) -> Path | None:
        """None: its text network is no encoder folder."""
        return None


def _digest(file: Path) -> str:
    """SHA-256 of a file; the hub's cache keeps large ones under it, and they were checked when they were fetched."""
    real = file.resolve()
    return real.name if real.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", real.name) else digest_file(real)
