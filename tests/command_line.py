"""Call the command line as people do, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def tagprism(
    *arguments: str | Path | bytes,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """`python -m tagprism ARGUMENTS`, with its exit code and what it wrote."""
    command = [sys.executable, "-m", "tagprism", *arguments]
    return subprocess.run(
        command, env=_environment(environment), cwd=cwd, input=stdin, capture_output=True, check=False
    )


def python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """`python -c CODE ARGUMENTS`."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=_environment(None), capture_output=True, check=False
    )


def _environment(changes: Mapping[str, str] | None) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"} | dict(changes or {})
