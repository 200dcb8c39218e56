"""Pictures and words in, tags out: a bundle put to use. Needs no torch; knows neither data sets nor training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from tagprism.bundle.bundle import DEFAULT, Bundle, open_model
from tagprism.bundle.record import Records
from tagprism.errors import InputError, PictureError
from tagprism.files import digest_file, digest_json
from tagprism.images.picture_file import MAX_PIXELS
from tagprism.progress import Progress, silent
from tagprism.tagging.ranker import LabelModel, LabelRanker
from tagprism.tagging.tags import ImageTags, Labels, Tag
from tagprism.tagging.unknown import known_labels

if TYPE_CHECKING:  # and imported where they are needed: for words of the vocabulary alone none of them is
    from tagprism.images.preprocess import Preprocess, ViewedPreprocess
    from tagprism.images.stream import Processed

_Path = str | os.PathLike[str]
_T = TypeVar("_T")


class Tagger(LabelModel):
    """A model in use.

    Args:
        bundle: an opened bundle or foreign model.
    """

    @cached_property
    def network(self) -> Callable[[np.ndarray], Records]:
        """Pixels (B, 3 V, H, W) of V views -> records of B pictures; the bundle's ONNX model unless replaced."""
        return self.bundle.records

    @property
    def cut(self) -> float | None:
        """Least score of a tag worth showing, of a model without probabilities whose scores have a known scale."""
        return None if isinstance(self.bundle, Bundle) or self.calibrated else self.bundle.cut

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides a tag: the model, and a calibration of one's own."""
        own = self.own_calibration
        return self.bundle.digest if own is None else digest_json([self.bundle.digest, digest_file(own)])

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
            (position in `paths`, record of the one picture or the reason why there is none, digest).
        """
        for position, one in enumerate(self._process(paths, self.network, total, max_pixels, progress)):
            yield position, one.output, one.digest

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
