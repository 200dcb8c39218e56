"""Words that a model does not know: what is said of them, and a list without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tagprism.errors import InputError

if TYPE_CHECKING:
    from tagprism.tagging.learned import Learned
    from tagprism.tagging.ranker import LabelModel

_NAMED = 10  # words that a remark names at most


def known_labels(
    tagger: LabelModel,
    labels: Mapping[str, Sequence[str]],
    remark: Callable[[str], None],
    learned: Learned | None = None,
    where: str = "--labels",
) -> dict[str, tuple[str, ...]]:
    """The labels of a word list that a model has vectors for, each with those of its other spellings that it has.

    Args:
        tagger: the model.
        labels: with their other spellings.
        remark: told once which words are unknown, with the nearest known ones.
        learned: what an index knows of labels beside the model.
        where: the words come from, for the error.

    Raises:
        InputError: none of them is known.
    """
    spellings = [spelling for label, others in labels.items() for spelling in (label, *others)]
    unknown = set(tagger.unknown([one for one in spellings if learned is None or not learned.is_known(one)]))
    if not unknown:
        return {label: tuple(others) for label, others in labels.items()}
    named = [_strange(word, tagger) for word in sorted(unknown)[:_NAMED]]
    more = f" and {len(unknown) - _NAMED:,} more" if len(unknown) > _NAMED else ""
    groups = ([word for word in (label, *others) if word not in unknown] for label, others in labels.items())
    known = {label: tuple(others) for label, *others in filter(None, groups)}
    are = "is" if len(unknown) == 1 else "are"
    what = f"{len(unknown):,} of the words {are} unknown to this model: {', '.join(named)}{more}."
    if not known:
        tagger.embed(sorted(unknown)[:_NAMED])  # its error says what would help
        raise InputError(what, where=where, remedy="Use other words.")
    remark(f"{what} The others are used.")
    return known


def _strange(label: str, tagger: LabelModel) -> str:
    """An unknown label by the words that make it so, with the nearest known ones."""
    words = tagger.unknown_words(label)
    near = {word: ", ".join(nearest_known(tagger, word)) for word in words}
    said = " and ".join(f"`{word}`" + (f" (nearest: {its})" if its else "") for word, its in near.items())
    return said + (f" in `{label}`" if words != [label] else "")


def nearest_known(tagger: LabelModel, label: str, n: int = 3) -> list[str]:
    """Words that are spelt most like an unknown one: the encoders', then the vocabulary's; none of a number."""
    if not any(map(str.isalpha, label)):
        return []
    encoders = tagger.label_space.encoders.values() if tagger.label_space is not None else ()
    near = [word for encoder in encoders for word in encoder.nearest_known(label, n)]
    letters = set(label.casefold().replace(" ", ""))
    near += [name for name in tagger.vocabulary.nearest_names(label, n) if letters & set(name.casefold())]
    return list(dict.fromkeys(near))[:n]


def no_vectors(tagger: LabelModel, phrases: Sequence[str]) -> InputError:
    """The error that phrases have no vector, as no text encoder is here; with the nearest known ones, and a remedy."""
    near = {phrase: ", ".join(tagger.vocabulary.nearest_names(phrase, 3)) for phrase in phrases[:10]}
    from tagprism.tagging.text_encoders import encoder_folders

    missing = [name for name, folder in encoder_folders(tagger.bundle).items() if folder is None]
    remedy = "This bundle has no text encoders: use words of its vocabulary"
    if tagger.bundle.text is not None:
        remedy += (
            f", or make the encoder it was trained with ({', '.join(missing)}) on this machine: "
            f'`tagprism labels build-encoder --for {tagger.bundle.path}` (needs `pip install "tagprism[train]"`)'
        )
    more = f" and {len(phrases) - len(near)} more" if len(phrases) > len(near) else ""
    return InputError(
        f"no vector for {'; '.join(f'`{label}` (near: {names})' for label, names in near.items())}{more}.",
        where=str(tagger.bundle.path),
        remedy=f"{remedy}.",
    )
