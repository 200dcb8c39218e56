"""The pictures of a job, looked for once and kept in a file: their number is known, and a bucket is listed once."""

from __future__ import annotations

import json
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tagprism.errors import NothingToDoError
from tagprism.files import digest_json, machine_errors
from tagprism.images.elsewhere import Item, as_path, each_item, is_url
from tagprism.images.picture_list import named_paths, refuse_absent, why_none
from tagprism.images.walk import WalkReport

PART = 64
"""Pictures that a worker gets at once, a multiple of `stream.BATCH`: they meet the network in the batches in which one
machine would take them, and so get the same numbers."""
_OF_PARQUET = 1024  # rows of one Parquet file at once, as a group of them is decoded from its beginning


class Listing:
    """The pictures that were named; as an iterable it gives their names, in order.

    Args:
        paths: files, folders, patterns, URLs (`images.elsewhere`), and `-` for the listed ones.
        listed: paths that are taken as they are.
        null: whether these are separated by zero bytes.
        exclude: patterns for folders of this machine.

    Attributes:
        count: how many pictures there are.
        report: what was left out of them.
        asked: digests of what was named and of what was excluded, by which the same job is known again.

    Raises:
        NothingToDoError: there are none.
        InputError: none of the paths is there, an archive is damaged, or a URL leads nowhere.
        MachineError: a server does not answer, or the disk is full.
    """

    def __init__(
        self, paths: Sequence[str], listed: bytes = b"", *, null: bool = False, exclude: Sequence[str] = ()
    ) -> None:
        if not any(map(is_url, local := [*map(as_path, paths)])):  # a URL is looked for by its server
            refuse_absent(local)
        self.asked = {"paths": digest_json([*paths]), "exclude": digest_json([*exclude])}
        self.report, self.count = WalkReport(), 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the listing)
        weakref.finalize(self, self._file.close)
        for item in each_item(named_paths(paths, listed, null=null), exclude=exclude, report=self.report):
            with machine_errors(Path(tempfile.gettempdir())):
                self._file.write(json.dumps(item).encode() + b"\n")
            self.count += 1
        if not self.count:
            raise NothingToDoError("there are no pictures.", where=", ".join(paths), remedy=why_none(self.report))

    def __iter__(self) -> Iterator[str]:
        return (item.name for item in self.items())

    def items(self) -> Iterator[Item]:
        """Where each picture is; several may go through them, one after the other."""
        self._file.seek(0)
        for line in self._file:
            yield Item(*json.loads(line))


def parts_of(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Cut a job into what a worker gets at once: consecutive pictures, of an archive only those of one file."""
    waiting: list[Item] = []
    for item in items:
        if waiting:
            of_parquet = waiting[0].kind == "parquet"
            same = item.kind == waiting[0].kind and (not of_parquet or item.file == waiting[0].file)
            if not same or len(waiting) >= (_OF_PARQUET if of_parquet else PART):
                yield waiting
                waiting = []
        waiting.append(item)
    if waiting:
        yield waiting
