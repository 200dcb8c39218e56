"""`tagprism keywords show`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Literal

from rich.markup import escape
from rich.table import Table

from tagprism.app import console
from tagprism.errors import NothingToDoError, PictureError
from tagprism.images.walk import find_pictures
from tagprism.keywords.sidecar import Naming, read_keywords


def show_keywords(photos: list[Path], naming: Naming, format: Literal["table", "jsonl"]) -> int:
    """Print whose keywords are whose; the exit code is 4 when a sidecar cannot be read."""
    files = find_pictures(photos)
    if not files:
        raise NothingToDoError("there are no pictures.", where=", ".join(map(str, photos)))
    table = Table("picture", "yours", "tagprism's", "taken away")
    skipped = []
    for photo in files:
        name = os.fsdecode(photo)
        try:
            keywords = read_keywords(photo, naming)
        except PictureError as error:
            skipped.append((name, error.message))
            continue
        lists = {"yours": keywords.yours, "ours": keywords.still_ours, "taken_away": keywords.taken_away}
        if format == "jsonl":
            sys.stdout.write(json.dumps({"path": name, **lists}) + "\n")
        else:
            table.add_row(*map(escape, (repr(name)[1:-1], *map(", ".join, lists.values()))))
    if format == "table":
        console.data.print(table)
    return console.report_skipped(skipped)
