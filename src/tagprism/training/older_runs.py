"""Recipes and weights of older versions under today's names, so that an old RUN is read, continued and exported."""

from __future__ import annotations

import re
from typing import Any

from tagprism.errors import InputError

RENAMED = {
    ("model", "anchor"): "prior",
    ("model", "conse"): "class_columns",
    ("model", "conse_rank"): "class_columns_rank",
}
# A setting that is gone -> the one value that today's code still has; None where it changed no result.
_REMOVED: dict[tuple[str, str], Any] = {
    ("model", "anchor_temperature"): 2.0,
    ("model", "conse_sharp"): True,
    ("training", "accumulate"): 1,
    ("training", "batch_norm"): "train",
    ("training", "checkpoint_batches"): None,
}
_FORMER_RANK = 96  # of ConSE where a recipe said nothing
_PART_WEIGHT = 1.0  # of `labels.parts`, as above
_PRIOR = re.compile(r"(head|network|network\.1)\.anchor\.")  # in a RUN; in checkpoints of a head, of a whole network
_CLASS_COLUMNS = re.compile(r"classes\.")


def current_settings(values: dict[str, Any], *, where: str) -> dict[str, Any]:
    """The values of a recipe with settings of older versions renamed or left out.

    Args:
        values: as read from TOML, by table.
        where: their origin, for errors.

    Raises:
        InputError: a setting asks for what is no longer there, or is given under both names.
    """
    tables = {name: dict(table) if isinstance(table, dict) else table for name, table in values.items()}
    model, labels, training = (tables.get(name) for name in ("model", "labels", "training"))
    if isinstance(model, dict):
        if model.get("conse"):  # what the former defaults were
            model.setdefault("conse_sharp", False)
            model.setdefault("conse_rank", _FORMER_RANK)
        else:  # they said how, and nothing was wanted
            model.pop("conse_sharp", None)
            model.pop("conse_rank", None)
        if not model.get("anchor"):
            model.pop("anchor_temperature", None)
    if isinstance(training, dict) and not training.get("end_to_end"):
        training.pop("batch_norm", None)
    for (table, old), only in _REMOVED.items():
        if isinstance(tables.get(table), dict) and old in tables[table]:
            _check_removed(f"{table}.{old}", tables[table].pop(old), only, where)
    if isinstance(labels, dict) and isinstance(labels.get("parts"), list | tuple):
        labels["parts"] = [_without_weight(part, where) for part in labels["parts"]]
    for (table, old), new in RENAMED.items():
        if isinstance(tables.get(table), dict) and old in tables[table]:
            if new in tables[table]:
                raise InputError(f"`{table}.{old}` is the old name of `{table}.{new}`; both are given.", where=where)
            tables[table][new] = tables[table].pop(old)
    return tables


def _check_removed(setting: str, value: Any, only: Any, where: str) -> None:
    if only is not None and value != only:
        raise InputError(
            f"`{setting} = {value}` is a setting that tagprism no longer has.",
            where=where,
            remedy=f"tagprism behaves as with `{setting} = {only}`. Train an older run anew: leave the setting out of "
            "a copy of its recipe, and give `tagprism train` another --out.",
        )


def _without_weight(part: Any, where: str) -> Any:
    if not isinstance(part, dict) or "weight" not in part:
        return part
    _check_removed("labels.parts.weight", part["weight"], _PART_WEIGHT, where)
    return {name: value for name, value in part.items() if name != "weight"}


def current_names(weights: dict[str, Any]) -> dict[str, Any]:
    """The weights of a network, or of the part of it that a checkpoint holds, under today's names."""
    return {_current_name(name): value for name, value in weights.items()}


def _current_name(name: str) -> str:
    if found := _PRIOR.match(name):
        return f"{found[1]}.prior.{name[found.end() :]}"
    return _CLASS_COLUMNS.sub("class_columns.", name, count=1) if _CLASS_COLUMNS.match(name) else name
