"""Build the wheel of tagprism, install it in a fresh environment without torch, tag with known words and with a phrase.

    python .ci/check_wheel.py BUNDLE PICTURE

BUNDLE is one whose label space uses `minilm` alone, or `-` for the packaged `photos-lite`. Run it
from an environment with `tagprism[train]`; pip fetches the base packages from its index.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PHRASE = "a very odd phrase of our own"
_LARGEST = 65  # MB of the wheel, the model and the text encoder in it


def main(bundle: str, picture: str) -> None:
    """Tag the picture in an environment that has the wheel and nothing else."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        wheels, python = folder / "wheels", folder / "venv/bin/python"
        _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, ROOT)
        venv.create(folder / "venv", with_pip=True)
        (wheel,) = wheels.glob("tagprism-*.whl")
        _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
        program = [folder / "venv/bin/tagprism"]
        assert b"export" in _run(*program, "--help")
        absent = "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ('torch', 'onnx', 'transformers'))))"
        _run(python, "-c", absent)
        model = () if bundle == "-" else ("--model", bundle)
        tagging = ("tag", picture, *model, "--format", "jsonl", "--quiet")
        row = json.loads(_run(*program, *tagging, place=folder))
        assert row["tags"], row
        words = folder / "words.txt"
        words.write_text(f"{_PHRASE}\n")
        row = json.loads(_run(*program, *tagging, "--labels", words, place=folder))
        assert [tag["label"] for tag in row["tags"]] == [_PHRASE], row
        size = wheel.stat().st_size / 1e6
        assert size <= _LARGEST, f"the wheel has {size:.1f} MB"
        print(f"the wheel works without torch: {wheel.name} {size:.1f} MB")


def _run(*command: str | Path, place: Path | None = None) -> bytes:
    """Run a command (with a cache of its own where `place` is given) and return what it wrote."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if place is not None:
        environment = {"PATH": "/usr/bin:/bin", "TAGPRISM_CACHE": str(place / "cache"), "HOME": str(place)}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}")
    return bytes(done.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
