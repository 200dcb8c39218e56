"""Messages between the server and the process of its library: a line of JSON and some bytes. Nothing is unpickled."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

_LENGTH = struct.Struct(">Q")


def write_frame(file: BinaryIO, header: dict[str, Any], data: bytes = b"") -> None:
    """Send one message.

    Args:
        file: a pipe; one thread at a time writes to it.
        header: of JSON values.
        data: any bytes.

    Raises:
        OSError: nobody reads any more.
    """
    line = json.dumps(header).encode()
    file.write(_LENGTH.pack(len(line)) + _LENGTH.pack(len(data)) + line)
    file.write(data)
    file.flush()


def read_frame(file: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Wait for one message; None once the other side has gone."""
    try:
        lengths = file.read(2 * _LENGTH.size)
        if len(lengths) < 2 * _LENGTH.size:
            return None
        of_line, of_data = (length for (length,) in _LENGTH.iter_unpack(lengths))
        line, data = file.read(of_line), file.read(of_data)
    except (OSError, ValueError):
        return None
    return (json.loads(line), data) if (len(line), len(data)) == (of_line, of_data) else None
