"""The label space: raw label vectors to those that the model trains against, fitted once, applied alike ever after.

Knows no images and no training; its encoders are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from pydantic import ValidationError

from tagprism.counted import counted
from tagprism.errors import InputError
from tagprism.files import digest_bytes, read_tensors, tensor_bytes, write_tensors
from tagprism.labels.descriptions import Descriptions
from tagprism.labels.encoders.encoder import LabelEncoder, unit_rows
from tagprism.labels.phrases import listed, normalise_phrase
from tagprism.labels.space_part import (
    Encoded,
    SpacePart,
    Wording,
    averaged,
    encode,
    encoder_of,
    read_part,
    seen_mean,
    stored_part,
)

SPACE_FILE = "label_space.safetensors"
_KIND, _VERSION = "label space", 1
_NAMED = 10  # phrases that an error names at most


class UnknownPhrasesError(InputError):
    """Phrases that no encoder of the label space knows.

    Args:
        nearest: each unknown phrase with known words that are spelt like it.
    """

    def __init__(self, nearest: Mapping[str, Sequence[str]]) -> None:
        self.nearest = {phrase: tuple(words) for phrase, words in nearest.items()}
        listed = [
            f"`{phrase}`" + (f" (nearest known: {', '.join(words)})" if words else "")
            for phrase, words in list(self.nearest.items())[:_NAMED]
        ]
        more = f" and {len(self.nearest) - _NAMED} more" if len(self.nearest) > _NAMED else ""
        super().__init__(
            f"no encoder knows {', '.join(listed)}{more}.",
            where="labels",
            remedy="Mend the spelling, use another word, or add a sentence encoder such as `minilm`.",
        )


@dataclass(frozen=True, eq=False)
class Embedding:
    """Label vectors of some phrases.

    Args:
        vectors: (V, D) unit vectors; one a phrase, but with `apart` one a sentence.
        missing: phrases that some, but not all, encoders lack, each with those encoders' ids.
        owners: (V,) the phrase that each vector is of, rising.
    """

    vectors: Float32[np.ndarray, "V D"]
    missing: dict[str, tuple[str, ...]]
    owners: Int64[np.ndarray, " V"]


class LabelSpace:
    """A fitted transform from phrases to unit label vectors; make it with `fit` or `load`.

    Per part: the encoder's unit vector; minus the mean over the seen labels that have one, and unit again (`centre`);
    zeros where the encoder lacks the phrase. Then the parts are joined to one unit vector, and `reduce` maps it on a
    basis of the seen labels, unit again.

    Args:
        parts: the parts, with `encoder` the encoder's id.
        encoders: the encoders by id.
        means: per part the mean over the seen labels, or zeros.
        basis: (joined size, D) with orthonormal columns, or None.

    Example:
        >>> from pathlib import Path
        >>> from tagprism import LabelSpace
        >>> from tagprism.labels.encoders.encoder import load_encoder
        >>> from tagprism.labels.space_part import SpacePart
        >>> from tagprism.network.encoder_sources import encoder_folder
        >>> _ = Path("words.txt").write_text("cat 1 0 0\\ndog 1 1 0\\nsea 0 0 1\\n")
        >>> words = load_encoder(encoder_folder("file:words.txt"))
        >>> space = LabelSpace.fit([SpacePart(encoder="words", centre=True)], {"words": words}, seen=["cat", "sea"])
        >>> space.embed(["dog", "cats"]).vectors.shape  # also of labels that are not seen, and of other spellings
        (2, 3)
    """

    def __init__(
        self,
        parts: Sequence[SpacePart],
        encoders: Mapping[str, LabelEncoder],
        means: Sequence[np.ndarray],
        basis: Float32[np.ndarray, "J D"] | None,
    ) -> None:
        self.parts, self.encoders = tuple(parts), dict(encoders)
        self._means, self._basis = tuple(means), basis

    @classmethod
    def fit(
        cls,
        parts: Sequence[SpacePart],
        encoders: Mapping[str, LabelEncoder],
        seen: Sequence[str],
        *,
        unseen: Sequence[str] = (),
        descriptions: Descriptions | None = None,
        reduce: int | None = None,
        seed: int = 0,
    ) -> LabelSpace:
        """Fit the transform on the seen labels of a run.

        Args:
            parts: at least one.
            encoders: an encoder for every `part.encoder`.
            seen: the labels that the model trains on.
            unseen: the labels kept out; only used to make sure that none of them is among the seen ones.
            descriptions: as for `embed`; every seen label counts once, however many sentences it has.
            reduce: size D of the result, from 1 to the rank of the seen labels' vectors; None keeps all.
            seed: of the random rotation that follows the reduction (Adam is not rotation-invariant, so axes that mean
                something would help or harm by accident).

        Returns:
            The space; `parts` then name the encoders by their ids.

        Raises:
            InputError: no parts, an encoder is not given, a template for a word table, a label on both sides, fewer
                than two seen labels where `centre` is set, or `reduce` out of range.
            UnknownPhrasesError: a seen label that no encoder knows.
        """
        seen, unseen = listed(seen, "seen"), listed(unseen, "unseen")
        if both := sorted({normalise_phrase(name) for name in seen} & {normalise_phrase(name) for name in unseen}):
            raise InputError(
                f"{counted(len(both), 'label')} both seen and unseen, among them `{both[0]}`.",
                where="label space",
                remedy="A label space is never fitted on unseen labels: take them off one side.",
            )
        chosen = [encoder_of(part, encoders) for part in parts]
        if not chosen:
            raise InputError("a label space needs at least one part.", where="label space")
        by_id = {encoder.id: encoder for encoder in chosen}
        named = [part.model_copy(update={"encoder": its.id}) for part, its in zip(parts, chosen, strict=True)]
        wording = Wording.of(seen, descriptions or {})
        encoded = [averaged(encode(*pair, wording), wording) for pair in zip(named, chosen, strict=True)]
        means = [seen_mean(part, *its) for part, its in zip(named, encoded, strict=True)]
        space = cls(named, by_id, means, None)
        vectors = space._join(seen, encoded, np.arange(len(seen))).vectors  # refuses seen labels that no encoder knows
        return space if reduce is None else cls(named, by_id, means, _rotated_basis(vectors, reduce, seed))

    @property
    def dimension(self) -> int:
        """Size D of a label vector."""
        return sum(len(mean) for mean in self._means) if self._basis is None else int(self._basis.shape[1])

    @property
    def digest(self) -> str:
        """SHA-256 of the transform: parts, encoder ids, means and basis."""
        return digest_bytes(tensor_bytes(_KIND, _VERSION, self._header(), self._tensors()))

    def lift(self, parts: Sequence[int]) -> Float32[np.ndarray, "E D"]:
        """The linear map that puts a vector of an encoder's own space where the encoder's parts lie in this one.

        Args:
            parts: numbers of the parts made by that encoder, at least one.

        Returns:
            (E, D): `v @ lift` times the vector of a phrase is `v` times the phrase's vector in each of these parts.
        """
        blocks = [
            np.eye(len(self._means[parts[0]]), len(mean), dtype=np.float32) * (at in parts)
            for at, mean in enumerate(self._means)
        ]
        joined: Float32[np.ndarray, "E J"] = np.concatenate(blocks, axis=1)
        return joined if self._basis is None else joined @ self._basis

    def embed(
        self, phrases: Sequence[str], descriptions: Descriptions | None = None, *, apart: bool = False
    ) -> Embedding:
        """Label vectors of phrases, whether trained on or not.

        Args:
            phrases: L phrases.
            descriptions: sentences for some of them, which sentence encoders read as they are in place of the phrase; a
                table of word vectors reads the phrase itself.
            apart: one vector for each sentence, in place of one from the mean over a phrase's sentences.

        Returns:
            Their unit vectors, and which encoders lacked which phrase.

        Raises:
            UnknownPhrasesError: phrases that no encoder knows.
        """
        phrases = listed(phrases, "phrases")
        wording = Wording.of(phrases, descriptions or {})
        encoded = [encode(part, self.encoders[part.encoder], wording) for part in self.parts]
        if apart:
            return self._join(phrases, encoded, wording.owners)
        return self._join(phrases, [averaged(its, wording) for its in encoded], np.arange(len(phrases)))

    def _join(self, phrases: Sequence[str], encoded: Sequence[Encoded], owners: Int64[np.ndarray, " V"]) -> Embedding:
        blocks = [
            unit_rows(np.where(known[:, None], units - mean, np.float32(0)))
            for mean, (units, known) in zip(self._means, encoded, strict=True)
        ]
        vectors = unit_rows(np.concatenate(blocks, axis=1))
        if self._basis is not None:
            vectors = unit_rows(vectors @ self._basis)
        if unknown := [phrases[of] for of in owners[~vectors.any(axis=1)]]:
            raise UnknownPhrasesError({phrase: self._nearest(phrase) for phrase in unknown})
        lacking = {
            phrases[of]: tuple(
                part.encoder for part, (_, known) in zip(self.parts, encoded, strict=True) if not known[row]
            )
            for row, of in enumerate(owners)
        }
        return Embedding(vectors, {phrase: ids for phrase, ids in lacking.items() if ids}, owners)

    def save(self, folder: Path) -> None:
        """Write the transform (not the encoders) as `label_space.safetensors` into a folder."""
        write_tensors(folder / SPACE_FILE, _KIND, _VERSION, self._header(), self._tensors())

    @classmethod
    def load(cls, folder: Path, encoders: Mapping[str, LabelEncoder]) -> LabelSpace:
        """Read what `save` wrote.

        Args:
            folder: where `label_space.safetensors` is.
            encoders: encoders by id, all that the space uses; more are ignored.

        Returns:
            The space.

        Raises:
            InputError: the file is absent or damaged, or an encoder is not given or has another vector size.
        """
        path = folder / SPACE_FILE
        header, tensors = read_tensors(path, _KIND, _VERSION)
        try:
            parts = [read_part(part) for part in header["parts"]]
            means = [tensors[f"mean_{at}"] for at in range(len(parts))]
            basis = tensors.get("basis")
            size = sum(len(mean) for mean in means)
            if any(mean.ndim != 1 for mean in means) or (basis is not None and basis.shape[:-1] != (size,)):
                raise TypeError("its arrays do not fit together")
        except (KeyError, TypeError, ValidationError) as error:
            raise InputError(f"damaged ({error}).", where=str(path), remedy="Copy or make it again.") from error
        used = {part.encoder: encoder_of(part, encoders) for part in parts}
        for part, mean in zip(parts, means, strict=True):
            if used[part.encoder].dimension != len(mean):
                sizes = f"{used[part.encoder].dimension} numbers, the label space wants {len(mean)}"
                raise InputError(f"the vectors of encoder {part.encoder} have {sizes}.", where=str(path))
        return cls(parts, used, means, basis)

    def _nearest(self, phrase: str) -> list[str]:
        near = [word for encoder in self.encoders.values() for word in encoder.nearest_known(phrase, 3)]
        return list(dict.fromkeys(near))[:3]

    def _header(self) -> dict[str, Any]:
        return {"parts": [stored_part(part) for part in self.parts]}

    def _tensors(self) -> dict[str, np.ndarray]:
        means = {f"mean_{at}": mean for at, mean in enumerate(self._means)}
        return means if self._basis is None else {**means, "basis": self._basis}


def _rotated_basis(vectors: Float32[np.ndarray, "L J"], size: int, seed: int) -> Float32[np.ndarray, "J D"]:
    """The strongest directions of the seen labels (not centred: the parts are, where asked), randomly rotated."""
    _, strengths, directions = np.linalg.svd(vectors.astype(np.float64), full_matrices=False)
    floor = strengths.max(initial=0.0) * max(vectors.shape) * np.finfo(np.float32).eps
    rank = int((strengths > floor).sum())
    if not 1 <= size <= rank:
        raise InputError(
            f"reduce = {size} is not between 1 and {rank}, the rank of the seen labels' vectors.",
            where="label space",
            remedy="Choose a smaller size, or leave `reduce` out.",
        )
    # QR of a Gaussian matrix with the signs of R's diagonal taken out is uniform over the rotations and reflections.
    rotation, upper = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    rotation *= np.sign(np.diag(upper))
    return np.asarray(directions[:size].T @ rotation, dtype=np.float32)
