"""Labels described by sentences: how they are read from a file. Knows no vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from tagprism.errors import InputError
from tagprism.exchange import read_at_most
from tagprism.labels.phrases import normalise_phrase, spoken_phrase

Descriptions: TypeAlias = Mapping[str, Sequence[str]]
"""Labels, each with the sentences that say what it is."""

_LARGEST = 256 << 20  # bytes of a file
_FORM = 'Write one object: {"cat": ["a small animal with whiskers", "a pet that purrs"], "sky": ["..."]}.'


def read_descriptions(path: Path | str, labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read a JSON object of label -> sentences, as language models and prompt ensembles give it.

    Args:
        path: the file; a single sentence may stand for a list of one.
        labels: that must be described, in any case and spacing; what else the file describes is left out.

    Returns:
        The labels in order, each with its sentences.

    Raises:
        InputError: no such file, of another form, or without one of the labels, which is named.
    """
    where = str(path)
    try:
        given = json.loads(read_at_most(Path(path).expanduser(), _LARGEST))
    except OSError as error:
        reason = f"the descriptions cannot be read ({error.strerror or error})."
        raise InputError(reason, where=where, remedy="Name a JSON file.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({error}).", where=where, remedy=_FORM) from error
    if not isinstance(given, dict):
        raise InputError("is no object of labels.", where=where, remedy=_FORM)
    found: dict[str, tuple[str, ...]] = {}
    for name, its in given.items():
        sentences = (its,) if isinstance(its, str) else tuple(its) if isinstance(its, list) else ()
        if not sentences or not all(isinstance(one, str) and spoken_phrase(one) for one in sentences):
            raise InputError(f"`{name}` has no sentences, or something else among them.", where=where, remedy=_FORM)
        if (key := normalise_phrase(name)) in found:
            raise InputError(f"`{name}` is described twice.", where=where, remedy="Keep one of them.")
        found[key] = tuple(dict.fromkeys(sentences))
    missing = [name for name in labels if normalise_phrase(name) not in found]
    if missing:
        more = f" and {len(missing) - 10:,} more" if len(missing) > 10 else ""
        raise InputError(
            f"has no description of {', '.join(f'`{name}`' for name in missing[:10])}{more}.",
            where=where,
            remedy="Describe every label of the run, seen and unseen: a mixture would tell described labels apart.",
        )
    return {name: found[normalise_phrase(name)] for name in labels}
