"""JSON that people wrote: every way it can be wrong becomes one clear error. Knows nothing of its meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tagprism.errors import InputError


def read_json(path: Path, *, remedy: str) -> Any:
    """Read a JSON file strictly.

    Args:
        path: the file, UTF-8 (a byte order mark is allowed).
        remedy: what to do when it cannot be used.

    Returns:
        Its value.

    Raises:
        InputError: when it is missing, not UTF-8, not JSON, nested too deep, or names something twice in one object.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"'{twice}' is named twice in one object.", where=str(path), remedy="Keep one of them.")
        return value

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror}).", where=str(path), remedy=remedy) from error
    except UnicodeDecodeError as error:
        raise InputError("the file is not UTF-8 text.", where=str(path), remedy=remedy) from error
    except RecursionError as error:
        raise InputError("the JSON is nested too deep.", where=str(path), remedy=remedy) from error
    except json.JSONDecodeError as error:
        place = f"{path}, line {error.lineno}, column {error.colno}"
        raise InputError(f"this is not JSON ({error.msg}).", where=place, remedy=remedy) from error
