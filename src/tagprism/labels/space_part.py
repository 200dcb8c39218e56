"""One encoder's share of a label space: its settings, its vectors of phrases, and their mean. Knows no other part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Int64
from pydantic import BaseModel, ConfigDict, Field, field_validator

from tagprism.errors import InputError
from tagprism.labels.descriptions import Descriptions
from tagprism.labels.encoders.encoder import LabelEncoder, unit_rows
from tagprism.labels.encoders.word_table import WordTable
from tagprism.labels.phrases import normalise_phrase, spoken_phrase, without_identifier

_WEIGHT = "weight"  # stored with every part, always 1: files and digests stay those of older versions
Encoded: TypeAlias = tuple[Float32[np.ndarray, "V _"], Bool[np.ndarray, " V"]]  # unit vectors; which are known


@dataclass(frozen=True)
class Wording:
    """Phrases, and the sentences that stand for each; mostly the phrase alone.

    Args:
        phrases: L of them.
        sentences: of each; none where the phrase stands for itself.
    """

    phrases: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, phrases: tuple[str, ...], descriptions: Descriptions) -> Wording:
        """Phrases with those of the sentences that describe them, in any case and spacing."""
        known = {normalise_phrase(name): tuple(its) for name, its in descriptions.items()}
        return cls(phrases, tuple(known.get(normalise_phrase(phrase), ()) for phrase in phrases))

    @property
    def owners(self) -> Int64[np.ndarray, " V"]:
        """The phrase of each text."""
        return np.repeat(np.arange(len(self.phrases)), [max(len(its), 1) for its in self.sentences])

    @property
    def starts(self) -> Int64[np.ndarray, " L"]:
        """The first text of each phrase."""
        return np.searchsorted(self.owners, np.arange(len(self.phrases)))

    def texts(self, template: str) -> list[str]:
        """V texts: sentences as they are, phrases without any in the template."""
        written = (
            its or (template.replace("{}", without_identifier(phrase)) if spoken_phrase(phrase) else "",)
            for phrase, its in zip(self.phrases, self.sentences, strict=True)
        )
        return [text for its in written for text in its]


class SpacePart(BaseModel):
    """One encoder's share of a label space.

    Args:
        encoder: name of the encoder (`minilm`, `glove100`, `file:PATH`, ...).
        template: text around a phrase, for sentence encoders; holds `{}` once. Of several the mean vector is taken.
        centre: subtract the mean over the seen labels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str
    template: str | Annotated[tuple[str, ...], Field(min_length=1)] = "{}"
    centre: bool = False

    @field_validator("template")
    @classmethod
    def _holds_the_phrase_once(cls, template: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if any(one.count("{}") != 1 for one in ((template,) if isinstance(template, str) else template)):
            raise ValueError("must hold {} once, where the phrase goes")
        return template

    @property
    def templates(self) -> tuple[str, ...]:
        """All of them."""
        return (self.template,) if isinstance(self.template, str) else self.template


def stored_part(part: SpacePart) -> dict[str, Any]:
    """A part as it is stored."""
    return part.model_dump() | {_WEIGHT: 1.0}


def read_part(stored: dict[str, Any]) -> SpacePart:
    """A part as stored; older versions could give it another weight than 1 before the parts were joined."""
    values = dict(stored)
    if (weight := values.pop(_WEIGHT, 1.0)) != 1.0:
        raise InputError(
            f"gives the encoder {values.get('encoder')} a weight of {weight}, which tagprism no longer has.",
            where="label space",
            remedy="Train the model again with `tagprism train RECIPE`.",
        )
    return SpacePart.model_validate(values)


def encoder_of(part: SpacePart, encoders: Mapping[str, LabelEncoder]) -> LabelEncoder:
    """The encoder of a part among those given.

    Raises:
        InputError: it is not among them, or is a table of words and the part has a template.
    """
    if part.encoder not in encoders:
        given = ", ".join(sorted(encoders)) or "none"
        raise InputError(f"encoder `{part.encoder}` is not given (given: {given}).", where="label space")
    encoder = encoders[part.encoder]
    if part.templates != ("{}",) and isinstance(encoder, WordTable):
        raise InputError(
            f"a template is for sentence encoders; `{part.encoder}` averages words, also those of the template.",
            where="label space",
            remedy="Leave `template` out of this part.",
        )
    return encoder


def encode(part: SpacePart, encoder: LabelEncoder, wording: Wording) -> Encoded:
    """The encoder's vectors of the texts, the mean over the part's templates, and which texts it knows."""
    if isinstance(encoder, WordTable):  # a sentence would be the mean of its words, most of them beside the point
        units = encoder.encode(Wording.of(wording.phrases, {}).texts("{}"))[wording.owners]
    else:
        found = [encoder.encode(wording.texts(one)) for one in part.templates]
        units = found[0] if len(found) == 1 else unit_rows(np.mean(found, axis=0))
    return units, np.asarray(units.any(axis=1))


def averaged(encoded: Encoded, wording: Wording) -> tuple[Float32[np.ndarray, "L _"], Bool[np.ndarray, " L"]]:
    """The mean over each phrase's texts, at unit length."""
    units, _ = encoded
    if len(units) == len(wording.phrases):
        return encoded
    means = unit_rows(np.add.reduceat(units, wording.starts, axis=0))
    return means, np.asarray(means.any(axis=1))


def seen_mean(
    part: SpacePart, units: Float32[np.ndarray, "L E"], known: Bool[np.ndarray, " L"]
) -> Float32[np.ndarray, " E"]:
    """The mean over the seen labels that the encoder knows; zeros where the part is not centred.

    Raises:
        InputError: it is to be centred, and fewer than two are known.
    """
    if not part.centre:
        return np.zeros(units.shape[1], dtype=np.float32)
    if known.sum() < 2:
        raise InputError(
            f"centring needs two seen labels or more that `{part.encoder}` knows; there are {int(known.sum())}.",
            where="label space",
            remedy="Set `centre = false` for this part.",
        )
    return np.asarray(units[known].mean(axis=0, dtype=np.float64), dtype=np.float32)
