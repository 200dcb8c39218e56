"""What a result was made with: versions, commit, machine. Knows nothing of results."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import tagprism

_PACKAGES = ("numpy", "pillow", "onnxruntime", "tokenizers", "torch", "timm", "lightning", "transformers")


@cache
def made_with() -> dict[str, Any]:
    """Versions of what computes, the commit of a source checkout (None for an installed package), and the cores."""
    versions = {"tagprism": tagprism.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "commit": _commit(), "platform": platform.platform(), "cores": os.cpu_count()}


def _commit() -> str | None:
    """Commit of the checkout that this package runs from, with `+changes` where files differ from it."""
    package = Path(__file__).resolve().parent
    if package.parent.name != "src":
        return None
    try:
        commit = _git(package, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(package, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
