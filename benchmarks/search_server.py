"""Requests per second and waiting times of `tagprism serve` under many clients that ask all the time.

Run: python benchmarks/search_server.py [--pictures 10000] [--clients 50] [--seconds 20] [--seed 0]
The index holds made-up pictures: records of `photos-lite`'s own background with noise. Each client keeps one
connection and asks again as soon as it has its answer. Clients and server share the machine. Asked for, one after the
other: a tag, three tags (60 pictures each), completions, and the tags of an uploaded 12-megapixel JPEG.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from tagprism import load
from tagprism.bundle.record import Records
from tagprism.search.contract import Picture
from tagprism.search.create import create_collection, update_lock

_CHUNK = 1000
_NOISE = 0.3  # of the deviation of the background's numbers


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    labels = load().vocabulary.seen
    dice = random.Random(arguments.seed)
    upload = _form(_jpeg(arguments.seed))

    def tags(count: int) -> bytes:
        return _get(f"/api/search?query={quote(' AND '.join(dice.sample(labels, count)))}")

    kinds: dict[str, Callable[[], bytes]] = {
        "one tag": lambda: tags(1),
        "three tags": lambda: tags(3),
        "completion": lambda: _get(f"/api/labels?prefix={dice.choice(labels)[:2]}"),
        "upload": lambda: upload,
    }
    table = Table(title=f"{arguments.pictures:,} pictures, {arguments.clients} clients, {arguments.seconds:g} s each")
    for column in ("", "requests/s", "p50 ms", "p99 ms", "answers"):
        table.add_column(column, justify="left" if not column else "right")
    with tempfile.TemporaryDirectory() as place:
        index = Path(place) / "index"
        _make_index(index, arguments.pictures, arguments.seed)
        process, port = _serve(index)
        try:
            for name, request in kinds.items():
                asyncio.run(_load(port, request, 4, min(2.0, arguments.seconds)))  # warms up
                times, codes = asyncio.run(_load(port, request, arguments.clients, arguments.seconds))
                p50, p99 = np.percentile(times, [50, 99]) * 1000
                said = ", ".join(f"{count} x {code}" for code, count in sorted(codes.items()))
                table.add_row(name, f"{len(times) / arguments.seconds:.0f}", f"{p50:.0f}", f"{p99:.0f}", said)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()
    console = Console(width=120)
    console.print(table)
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}")


def _make_index(folder: Path, count: int, seed: int) -> None:
    with update_lock(str(folder)):
        collection = create_collection(str(folder), "photos-lite")
        calibration = collection.tagger.calibration
        assert calibration is not None
        known = calibration.background.astype(np.float32)
        random_numbers = np.random.default_rng(seed)
        for start in range(1, count + 1, _CHUNK):
            ids = range(start, min(start + _CHUNK, count + 1))
            chosen = known[random_numbers.integers(0, len(known), len(ids))]
            noisy = (
                part + _NOISE * part.std() * random_numbers.standard_normal(part.shape, np.float32)
                for part in (chosen.rows, chosen.shared)
            )
            rows = [Picture(one, f"/photos/{one}.jpg", 1, 1, f"{one:064x}", 4000, 3000) for one in ids]
            collection.index.add(rows, Records(*noisy))
        collection.close()


def _serve(index: Path) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "tagprism", "serve", str(index), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    found = re.search(r":(\d+) ", process.stderr.readline())
    assert found is not None
    return process, int(found[1])


async def _load(
    port: int, request: Callable[[], bytes], clients: int, seconds: float
) -> tuple[list[float], dict[int, int]]:
    """Seconds that answers took, and how many there were of each status code."""
    times: list[float] = []
    codes: dict[int, int] = {}
    end = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            began = time.perf_counter()
            writer.write(request())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            await reader.readexactly(int(length[1]))
            times.append(time.perf_counter() - began)
            code = int(head.split()[1])
            codes[code] = codes.get(code, 0) + 1
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return times, codes


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def _jpeg(seed: int) -> bytes:
    small = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((4000, 3000), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _form(data: bytes) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = head + data + b"\r\n--x--\r\n"
    lines = ("POST /api/tag HTTP/1.1", "Host: 127.0.0.1", "Content-Type: multipart/form-data; boundary=x")
    return "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode() + body


if __name__ == "__main__":
    main()
