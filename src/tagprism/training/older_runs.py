"""Recipes and weights of older versions under today's names, so that an old RUN is read, continued and exported."""

from __future__ import annotations

from typing import Any

from tagprism.errors import InputError

_RENAMED = {
    ("model", "anchor"): "prior",
    ("model", "conse"): "class_columns",
    ("model", "conse_rank"): "class_columns_rank",
}
# A setting that is gone -> its one value that today's code still has.
_REMOVED: dict[tuple[str, str], Any] = {
    ("model", "anchor_temperature"): 2.0,
    ("model", "conse_sharp"): True,
}
_WEIGHTS = {"head.anchor.": "head.prior.", "classes.": "class_columns."}


def current_settings(values: dict[str, Any], *, where: str) -> dict[str, Any]:
    """The values of a recipe with settings of older versions renamed or left out.

    Args:
        values: as read from TOML, by table.
        where: their origin, for errors.

    Raises:
        InputError: a setting asks for what is no longer there, or is given under both names.
    """
    tables = {name: dict(table) if isinstance(table, dict) else table for name, table in values.items()}
    model = tables.get("model")
    if isinstance(model, dict) and not model.get("conse"):
        model.pop("conse_sharp", None)  # it said how, and nothing was wanted
    for (table, old), only in _REMOVED.items():
        if isinstance(tables.get(table), dict) and old in tables[table] and (value := tables[table].pop(old)) != only:
            raise InputError(
                f"`{table}.{old} = {value}` is a setting that tagprism no longer has.",
                where=where,
                remedy=f"Leave it out: tagprism behaves as with `{table}.{old} = {only}`. Train an older run anew.",
            )
    for (table, old), new in _RENAMED.items():
        if isinstance(tables.get(table), dict) and old in tables[table]:
            if new in tables[table]:
                raise InputError(f"`{table}.{old}` is the old name of `{table}.{new}`; both are given.", where=where)
            tables[table][new] = tables[table].pop(old)
    return tables


def current_names(weights: dict[str, Any]) -> dict[str, Any]:
    """The weights of a network under today's names."""
    return {
        next((new + name.removeprefix(old) for old, new in _WEIGHTS.items() if name.startswith(old)), name): value
        for name, value in weights.items()
    }
