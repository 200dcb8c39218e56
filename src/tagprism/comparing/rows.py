"""The rows of a comparison that are finished models, or methods of a user's own. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagprism.bundle.bundle import Bundle, open_model
from tagprism.bundle.foreign.model import ForeignModel
from tagprism.counted import counted
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable, first_ten
from tagprism.errors import InputError
from tagprism.labels.phrases import spoken_phrase
from tagprism.training.recipe import Recipe, load_recipe

_OWN = 'Give a function of the table, a split and a seed, with a name for its row: OwnMethod("mine", function).'
_ROWS = "Give recipes, RUNs or bundles, or an OwnMethod."


@dataclass(frozen=True)
class OwnMethod:
    """A row that a function of your own computes, such as a model with another loss.

    Args:
        name: of the row.
        run: called with the table, a split and a seed (0, 1, ...) for every split and seed. Gives what `evaluate`
            measures: a model, a finished Run or its path, or scores (N, L) of the test pictures. Nothing is kept.
        seeded: whether another seed gives another result; else it is measured once a split, as a finished model is.
        is_plain_clip: whether it is a CLIP or SigLIP without training, which the other rows should beat.
        trained_on: the seen labels of a finished model; empty where they are not known.

    Raises:
        InputError: `run` cannot be called.

    Example:
        >>> import numpy as np
        >>> from tagprism import ImageTable, OwnMethod, Split, compare
        >>> pictures = [("coffee.jpg", ["cup"]), ("chelsea.jpg", ["cat"]), ("rocket.jpg", ["sky"])]
        >>> table = ImageTable.from_labels(pictures, folder="tests/photos")
        >>> split = Split(seen=["cup"], unseen=["cat", "sky"], train=["coffee.jpg"], test=["chelsea.jpg", "rocket.jpg"])
        >>> def by_chance(table, split, seed):  # scores of the test pictures, for the seen and then the unseen labels
        ...     return np.random.default_rng(seed).random((len(split.test), len(split.seen) + len(split.unseen)))
        >>> list(compare([OwnMethod("chance", by_chance)], table, split, seeds=2).results)
        ['chance']
    """

    name: str
    run: Callable[[ImageTable, Split, int], Any]
    seeded: bool = True
    is_plain_clip: bool = False
    trained_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be called before another row is trained."""
        run: Any = self.run
        if not callable(run):
            what = f"its `run` is {type(run).__name__}, which cannot be called."
            raise InputError(what, where=self.name, remedy=_OWN)


def rows_given(methods: Any) -> list[Any]:
    """The rows of a comparison, from what a caller may give as one: recipes, models, and methods of both kinds.

    Args:
        methods: one, or several of: a `Recipe` or the path of its TOML file, a finished Run, the path of a RUN or
            BUNDLE or a name as `load` takes it, an `OwnMethod`, a `methods.Method`.

    Raises:
        InputError: one is none of these, or is a model that cannot be opened.
    """
    several = isinstance(methods, Iterable) and not isinstance(methods, str | os.PathLike | Recipe)
    given = list(methods) if several else [methods]
    paths = [os.fspath(one) if isinstance(one, str | os.PathLike) else None for one in given]
    models = iter(finished([path for path in paths if path and not path.endswith(".toml")]))
    rows: list[Any] = []
    for one, path in zip(given, paths, strict=True):
        if path is not None and not path.endswith(".toml"):
            rows.append(next(models))
        elif path is not None or isinstance(one, Recipe):
            from tagprism.comparing.methods import Method  # needs torch, and a comparison of finished models does not

            recipe = one if isinstance(one, Recipe) else load_recipe(str(path))
            rows.append(Method(recipe.name, recipe))
        elif hasattr(one, "name"):
            rows.append(one)
        else:
            what = f"a {type(one).__name__} is no row of a comparison."
            raise InputError(what, where="methods", remedy=_OWN if callable(one) else _ROWS)
    return rows


def finished(models: Sequence[str]) -> list[OwnMethod]:
    """Rows of finished models, however they were trained: end to end, imported, by others.

    Args:
        models: paths of RUNs or BUNDLEs, or names as `load` takes them; one is measured on splits that it was not
            trained on, or refused.

    Raises:
        InputError: one is not there, or is no finished model.
    """
    opened = [open_model(model) for model in models]  # before another row is trained
    short = [Path(model).name or model for model in models]
    names = short if len(set(short)) == len(short) else list(models)
    return [
        OwnMethod(
            name,
            lambda *_, its=its: its,
            seeded=False,
            is_plain_clip=isinstance(model, ForeignModel),
            trained_on=tuple(model.config.seen) if isinstance(model, Bundle) else (),
        )
        for name, its, model in zip(names, models, opened, strict=True)
    ]


def check_protocol(row: Any, split: Split) -> None:
    """Refuse a finished model beside published numbers that was trained on other labels than these were.

    Args:
        row: of a comparison.
        split: one of it; only that of a published protocol says what must have been trained on.

    Raises:
        InputError: naming the labels that are missing, and those that are others.
    """
    if split.protocol is None or not isinstance(row, OwnMethod) or not row.trained_on:
        return
    wanted, found = set(map(spoken_phrase, split.seen)), set(map(spoken_phrase, row.trained_on))
    if wanted == found:
        return
    sides = ((wanted - found, "of them are missing"), (found - wanted, "are others"))
    apart = "; ".join(f"{len(labels)} {what}, {first_ten(sorted(labels))}" for labels, what in sides if labels)
    raise InputError(
        f"was trained on {counted(len(row.trained_on), 'label')}, and {split.name} on {len(split.seen)}: {apart}.",
        where=row.name,
        remedy="Leave the row out: beside the published numbers it would be of another protocol. `tagprism evaluate` "
        "measures it alone.",
    )
