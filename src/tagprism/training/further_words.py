"""Words that a bundle shall know beside the labels of its run. Trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tagprism.labels.label_space import LabelSpace
from tagprism.labels.phrases import normalise_phrase, variants
from tagprism.labels.vocabulary import Role, Vocabulary


def with_words(labels: Vocabulary, space: LabelSpace, words: Mapping[str, Sequence[str]]) -> Vocabulary:
    """The vocabulary of a run and further words.

    Args:
        labels: of the run.
        space: of the run.
        words: each with its other spellings.

    A word that is another spelling of a label of the run (or an alias that is) becomes an alias of that label, so that
    no picture gets both.
    """
    spelling_of = {spelling: name for name in labels.names for spelling in variants(name)}
    aliases: dict[str, list[str]] = {}
    new: dict[str, list[str]] = {}
    taken = {normalise_phrase(name) for name in labels.names}
    for word, others in words.items():
        spellings = [one for one in (word, *others) if normalise_phrase(one) not in taken]
        known = [spelling_of[key] for one in (word, *others) if (key := normalise_phrase(one)) in spelling_of]
        taken |= {normalise_phrase(one) for one in spellings}
        if known:
            aliases.setdefault(known[0], []).extend(spellings)
        elif spellings:
            new[spellings[0]] = spellings[1:]
    other: Role = "other"
    return Vocabulary(
        (*labels.names, *new),
        np.concatenate([labels.vectors, space.embed(list(new)).vectors]),
        (*labels.roles, *(other for _ in new)),
        {name: tuple(others) for name, others in (*aliases.items(), *new.items()) if others},
        labels.several,
    )
