"""Pictures and words in, tags out: a bundle put to use. Needs no torch; knows neither data sets nor training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import Float32, Int64
from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from tagprism.bundle.bundle import DEFAULT, Bundle, open_model
from tagprism.bundle.config import CALIBRATION
from tagprism.bundle.record import Records, scoring_vectors
from tagprism.errors import InputError, PictureError
from tagprism.files import digest_file, digest_json, state_path
from tagprism.images.picture_file import MAX_PIXELS
from tagprism.labels.encoders.encoder import find_encoder
from tagprism.labels.phrases import SMALL_WORDS, normalise_phrase
from tagprism.labels.vocabulary import Vocabulary
from tagprism.progress import Progress, silent
from tagprism.tagging.calibration import Calibration
from tagprism.tagging.tags import ImageTags, LabelRanker, Labels, Tag
from tagprism.tagging.unknown import known_labels, no_vectors

if TYPE_CHECKING:  # and imported where they are needed: for words of the vocabulary alone none of them is
    from tagprism.bundle.foreign.model import ForeignModel
    from tagprism.images.preprocess import Preprocess, ViewedPreprocess
    from tagprism.images.stream import Processed
    from tagprism.labels.label_space import LabelSpace

_WORDS = 1000  # phrases embedded at once: some seconds of work
_Path = str | os.PathLike[str]
_T = TypeVar("_T")


class Tagger:
    """A model in use.

    Args:
        bundle: an opened bundle or foreign model.

    Attributes:
        network: pixels (B, 3 V, H, W) of V views -> records of B pictures; the bundle's ONNX model unless replaced.
    """

    def __init__(self, bundle: Bundle | ForeignModel) -> None:
        self.bundle = bundle
        self.network: Callable[[np.ndarray], Records] = bundle.records
        self.vocabulary: Vocabulary = bundle.vocabulary

    @cached_property
    def preprocess(self) -> Preprocess | ViewedPreprocess:
        """What is done to each picture; read on first use, as searching by words looks at none.

        Raises:
            InputError: the bundle's settings cannot be used.
        """
        from tagprism.images.preprocess import Preprocess, ViewedPreprocess

        try:
            each = Preprocess.model_validate(self.bundle.config.preprocess)
        except ValidationError as error:
            raise InputError(
                f"its preprocessing cannot be used: {error.errors()[0]['msg']}.",
                where=str(self.bundle.path),
                remedy="Copy the bundle again, or update tagprism.",
            ) from error
        return each if self.bundle.views == 1 else ViewedPreprocess(each, self.bundle.views)

    @cached_property
    def encoder_folders(self) -> dict[str, Path | None]:
        """Folder of every text encoder by its id: in the bundle, else on this machine; None where it is not here."""
        digests = self.bundle.config.encoder_digests
        return {
            name: self.bundle.encoder_folder(name) or (find_encoder(name, digests[name]) if name in digests else None)
            for name in self.bundle.config.encoders
        }

    @property
    def cut(self) -> float | None:
        """Least score of a tag worth showing, of a model without probabilities whose scores have a known scale."""
        return None if isinstance(self.bundle, Bundle) or self.calibrated else self.bundle.cut

    @cached_property
    def own_calibration(self) -> Path | None:
        """The file of the probabilities that a person fitted with `tagprism models calibrate`; None without."""
        file = own_calibration_file(self.bundle.digest)
        return file if file.is_file() else None

    @property
    def best_rows(self) -> int:
        """How many of a picture's rows a label's score is the mean of; 1 is the maximum."""
        return self.bundle.config.best_rows

    @property
    def calibrated(self) -> bool:
        """Whether tags carry probabilities."""
        return self.own_calibration is not None or self.bundle.config.calibration is not None

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides a tag: the model, and a calibration of one's own."""
        own = self.own_calibration
        return self.bundle.digest if own is None else digest_json([self.bundle.digest, digest_file(own)])

    @cached_property
    def calibration(self) -> Calibration | None:
        """What makes probabilities of scores: a person's own, else the bundle's; None where there is neither."""
        if self.own_calibration is not None:
            from tagprism.tagging.own_calibration import read_own

            return read_own(self.own_calibration, self.bundle)[0]
        return self.built_in_calibration

    @property
    def built_in_calibration(self) -> Calibration | None:
        """What the bundle itself brings, or None."""
        bundle = self.bundle
        if bundle.config.calibration is None:
            return None
        return Calibration.load(
            bundle.path / CALIBRATION, bundle.config.dimension, bundle.class_affinity, self.best_rows
        )

    @cached_property
    def label_space(self) -> LabelSpace | None:
        """The transform and encoders of the training, or None where an encoder or the whole of `text/` is absent."""
        if not isinstance(self.bundle, Bundle):
            return self.bundle.label_space
        folders = {name: folder for name, folder in self.encoder_folders.items() if folder is not None}
        if self.bundle.text is None or len(folders) < len(self.encoder_folders):
            return None
        from tagprism.bundle.referring import open_encoder
        from tagprism.labels.label_space import LabelSpace

        digests = self.bundle.config.encoder_digests
        foreign = self.bundle.foreign
        encoders = {
            name: open_encoder(at, source_digest=digests.get(name), foreign=foreign, cached=True)
            for name, at in folders.items()
        }
        return LabelSpace.load(self.bundle.text, encoders)

    def embed(self, labels: Sequence[str], *, progress: Progress = silent) -> Float32[np.ndarray, "L D"]:
        """Vectors (L, D) of words and phrases: stored ones where the vocabulary has them, else by the text encoders.

        Args:
            labels: words and phrases, any number.
            progress: told of those that go through the encoders, where these are many.

        Raises:
            InputError: phrases that nothing here can embed, with the nearest known ones.
        """
        rows = {label: self.vocabulary.find_alike(label) for label in labels}
        vectors = {label: self.vocabulary.vectors[row] for label, row in rows.items() if row is not None}
        new = [label for label, row in rows.items() if row is None]
        if new:
            if self.label_space is None:
                raise no_vectors(self, new)
            with (progress if len(new) > _WORDS else silent)("reading words", len(new)) as advance:
                for start in range(0, len(new), _WORDS):
                    some = new[start : start + _WORDS]
                    vectors |= dict(zip(some, self.label_space.embed(some).vectors, strict=True))
                    advance(len(some))
        return np.stack([vectors[label] for label in labels]).astype(np.float32)

    def unknown(self, labels: Iterable[str]) -> list[str]:
        """Words and phrases that hold a word which is unknown here (`unknown_words`)."""
        return [label for label in labels if self.unknown_words(label)]

    def unknown_words(self, label: str) -> list[str]:
        """The words of a phrase that neither the vocabulary holds, alone or in a name, nor a text encoder here knows.

        Where no encoder is here it is the whole phrase. The list is empty where the phrase is known.
        """
        if self._knows(label):
            return []
        words = [word for word in label.split() if any(map(str.isalpha, word)) and word.lower() not in SMALL_WORDS]
        if self.label_space is None or not words:
            return [label]
        named = self.vocabulary.words_of_names
        return [word for word in words if not self._knows(word) and normalise_phrase(word) not in named]

    def _knows(self, phrase: str) -> bool:
        if self.vocabulary.find_alike(phrase) is not None:
            return True
        return self.label_space is not None and any(one.knows(phrase) for one in self.label_space.encoders.values())

    def nearest_known(self, label: str, n: int = 3) -> list[str]:
        """Words that are spelt most like an unknown one: the encoders', then the vocabulary's; none of a number."""
        if not any(map(str.isalpha, label)):
            return []
        encoders = self.label_space.encoders.values() if self.label_space is not None else ()
        near = [word for encoder in encoders for word in encoder.nearest_known(label, n)]
        letters = set(label.casefold().replace(" ", ""))
        near += [name for name in self.vocabulary.nearest_names(label, n) if letters & set(name.casefold())]
        return list(dict.fromkeys(near))[:n]

    def embed_apart(
        self, labels: Sequence[str], *, progress: Progress = silent
    ) -> tuple[Float32[np.ndarray, "V D"], Int64[np.ndarray, " V"]]:
        """Vectors (V, D) of words and phrases, all of those that have several, and the place of each one's label.

        Arguments and errors as for `embed`.
        """
        words, vectors = self.vocabulary, self.embed(labels, progress=progress)
        if not words.several:
            return vectors, np.arange(len(labels))
        names = ["" if (row := words.find_alike(label)) is None else words.names[row] for label in labels]
        own = [words.several.get(name, vectors[at : at + 1]) for at, name in enumerate(names)]
        return np.concatenate(own), np.repeat(np.arange(len(labels)), [len(one) for one in own])

    def scoring_vectors(self, labels: Sequence[str]) -> Float32[np.ndarray, "L Q"]:
        """What scores words and phrases on records (`bundle.record`); errors as for `embed`."""
        return self.scoring_vectors_of(labels, self.embed(labels))

    def scoring_vectors_of(
        self, labels: Sequence[str], vectors: Float32[np.ndarray, "L D"]
    ) -> Float32[np.ndarray, "L Q"]:
        """The same, for labels whose vectors are at hand."""
        classes = self.bundle.class_affinity
        if classes is None:
            return scoring_vectors(vectors)
        words = self.vocabulary
        if tuple(labels) == words.names and np.array_equal(vectors, words.vectors):
            return self._vocabulary_scoring_vectors
        return scoring_vectors(vectors, classes, np.array(words.roles_of(labels)) == "seen")

    @cached_property
    def _vocabulary_scoring_vectors(self) -> Float32[np.ndarray, "L Q"]:
        """Those of the whole vocabulary: half a second's work for each call of `tag` of a program."""
        words = self.vocabulary
        found = scoring_vectors(words.vectors, self.bundle.class_affinity, np.array(words.roles) == "seen")
        found.flags.writeable = False
        return found

    def records(
        self,
        paths: Iterable[_Path],
        *,
        total: int | None = None,
        max_pixels: int = MAX_PIXELS,
        progress: Progress = silent,
    ) -> Iterator[tuple[int, Records | PictureError, str]]:
        """Records of pictures, in order, each with the SHA-256 of the picture's bytes ('' with an error).

        Args:
            paths: N picture files; fetched as they are needed.
            total: N for the progress, where `paths` does not know it.
            max_pixels: cap on the size of a picture.
            progress: told of every picture.

        Yields:
            (place in `paths`, record of the one picture or the reason why there is none, digest).
        """
        for place, one in enumerate(self._process(paths, self.network, total, max_pixels, progress)):
            yield place, one.output, one.digest

    def _process(
        self,
        paths: Iterable[_Path],
        network: Callable[[np.ndarray], Iterable[_T]],
        total: int | None,
        max_pixels: int,
        progress: Progress,
    ) -> Iterator[Processed[_T]]:
        from tagprism.images.stream import process_pictures

        if total is None:
            total = len(paths) if isinstance(paths, Sized) else 0
        with progress("looking at pictures", total) as advance:
            for one in process_pictures(paths, self.preprocess, network, max_pixels=max_pixels):
                advance(1)
                yield one

    def tag(
        self,
        paths: Iterable[_Path] | _Path,
        labels: Labels = None,
        top_k: int | None = 10,
        min_probability: float | None = None,
        *,
        all_names: bool = False,
    ) -> list[ImageTags]:
        """Tag picture files.

        Args:
            paths: picture files, or a single one.
            labels: a word or phrase, several to choose from, or these with their other spellings (a label then has the
                best of its spellings' scores); the bundle's vocabulary when None.
            top_k: tags per picture at most, 1 or more; None for all.
            min_probability: least probability of a tag, 0..1; needs a calibrated bundle.
            all_names: give every name of a thing, where the vocabulary is chosen from. Else the name that is likely and
                common has the others as `Tag.also`. Labels that are given are all ranked.

        Returns:
            One row per path, in order; a picture that cannot be used carries its error.

        Raises:
            InputError: words without a vector, words of which none is known, what is no word, limits out of range, or a
                probability asked of a bundle without calibration.

        Example:
            >>> import tagprism
            >>> tagger = tagprism.load()
            >>> (row,) = tagger.tag("tests/photos/chelsea.jpg", ["cat", "dog", "rocket"], top_k=1)
            >>> row.tags[0].label
            'cat'
        """
        files = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        return list(self.tag_each(files, labels, top_k, min_probability, all_names=all_names))

    def tag_each(
        self,
        paths: Iterable[_Path],
        labels: Labels = None,
        top_k: int | None = 10,
        min_probability: float | None = None,
        *,
        min_score: float | None = None,
        all_names: bool = False,
        total: int | None = None,
        max_pixels: int = MAX_PIXELS,
        progress: Progress = silent,
    ) -> Iterator[ImageTags]:
        """Tag picture files one after the other, in bounded memory; arguments and errors (at once) as for `tag`.

        `min_score` is the least score of a tag of a model that has no probabilities; another model passes it over.
        """
        if min_probability is not None and not self.calibrated:
            raise InputError(
                "this model is not calibrated, so it has no probabilities.",
                where=str(self.bundle.path),
                remedy="Leave --min-probability away and use --top-k, or fit them with `tagprism models calibrate`.",
            )
        _check_limits(top_k, min_probability)
        ranker = LabelRanker(self, labels, progress, all_names=all_names)
        if labels is not None and all(self.unknown([word]) for word in ranker.words):
            known_labels(self, dict.fromkeys(ranker.words, ()), lambda remark: None, where="labels")
        _ = self.preprocess, self.bundle.model  # a damaged network is an error now, not after the first line of output

        def network(pixels: np.ndarray) -> list[tuple[Tag, ...]]:
            return ranker.best(self.network(pixels), top_k, min_probability, min_score)

        def rows() -> Iterator[ImageTags]:
            with threadpool_limits(1, "blas"):  # each thread ranks its own pictures
                for one in self._process(paths, network, total, max_pixels, progress):
                    if isinstance(one.output, PictureError):
                        yield ImageTags(Path(one.path), (), one.output)
                    else:
                        yield ImageTags(Path(one.path), one.output, remark=one.remark)

        return rows()


def own_calibration_file(digest: str) -> Path:
    """Where a model's own calibration is, by the model's digest; beside what must not be lost."""
    return state_path("calibrations") / f"{digest}.safetensors"


def _check_limits(top_k: object, min_probability: object) -> None:
    if top_k is not None and not (isinstance(top_k, Integral) and int(top_k) >= 1):
        raise InputError(f"top_k is {top_k!r}.", remedy="Give a whole number from 1, or None for all tags.")
    if min_probability is not None and not (isinstance(min_probability, Real) and 0 <= float(min_probability) <= 1):
        raise InputError(f"min_probability is {min_probability!r}.", remedy="Give a number from 0 to 1, or None.")


def load(model: _Path = DEFAULT, *, views: int | None = None, progress: Progress = silent) -> Tagger:
    """Open a model for use.

    Args:
        model: as text a RUN, a BUNDLE, the name of a packaged bundle, `hf-hub:owner/name` or the folder of a public
            CLIP or SigLIP (see `bundle.bundle.open_model`); as a `Path` always a folder.
        views: of each picture, the best of which scores a label: 1, 2, 3, 5, 6, 10 or 15 (`images.views.VIEWS`).
        progress: told of what is fetched and computed before a foreign model can be used.

    Raises:
        InputError: there is none, or it is damaged.
        MachineError: the hub does not answer.

    Example:
        >>> import tagprism
        >>> tagger = tagprism.load()  # the bundle in the package; RUN, BUNDLE and hf-hub:owner/name are opened alike
        >>> [row.tags[0].label for row in tagger.tag(["tests/photos/chelsea.jpg"], ["cat", "rocket"])]
        ['cat']
    """
    return Tagger(open_model(model, views=views, progress=progress))
