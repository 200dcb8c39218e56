"""An embedded index in a folder that can only be read: it is searched in a copy, as the engine writes even to read."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tagprism.errors import MachineError
from tagprism.files import machine_errors
from tagprism.search.edge_index import RECALL, SHARD, EdgeIndex


class ReadOnlyIndex(EdgeIndex):
    """An `Index` that refuses changes. Nobody may change the folder while it is opened; afterwards it is not needed.

    Args:
        folder: where it is kept.
        shape: (M, Q) of its matrices.
        storage: as it was made.

    Raises:
        InputError: there is no shard, or one that does not fit.
        MachineError: there is no room for the copy, or it cannot be read.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], storage: str) -> None:
        self._kept, self._copy = folder, tempfile.TemporaryDirectory(prefix="tagprism-")
        copy = Path(self._copy.name)
        try:
            with machine_errors(copy):
                for path in (*(folder / SHARD).rglob("*"), *folder.glob(RECALL)):
                    if path.is_file():
                        there = copy / path.relative_to(folder)
                        there.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(path, there)
            super().__init__(copy, shape, storage)
        except BaseException:
            self._copy.cleanup()
            raise

    def _write(self, operation: object, count: int) -> None:
        raise MachineError("is read-only.", where=str(self._kept), remedy="Mend the permission, or copy it elsewhere.")

    def close(self) -> None:
        """Let go of the copy."""
        super().close()
        self._copy.cleanup()


def is_read_only(folder: Path) -> bool:
    """Whether some file of an index cannot be written."""
    shard = folder / SHARD
    return any(not os.access(path, os.W_OK) for path in (shard, *shard.rglob("*")) if path.exists())
