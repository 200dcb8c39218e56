"""Build the wheels of tagprism and of its text encoder, install them in a fresh environment without torch, use them.

    python .ci/check_wheel.py BUNDLE PICTURE

BUNDLE is one without text encoders whose label space uses `minilm` alone, or `-` for the packaged `photos-lite`. Run it
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


def main(bundle: str, picture: str) -> None:
    """Tag the picture before and after the text encoder is installed."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        wheels, python = folder / "wheels", folder / "venv/bin/python"
        pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels)
        _run(*pip, ROOT)
        _run(ROOT / "packages/tagprism-text-minilm/build.sh", wheels)
        venv.create(folder / "venv", with_pip=True)
        main_wheel, text_wheel = next(wheels.glob("tagprism-0*.whl")), next(wheels.glob("tagprism_text_*.whl"))
        _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", main_wheel)
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
        refused = _run(*program, *tagging, "--labels", words, place=folder, code=2, stream="stderr").decode()
        assert "build-encoder --for" in refused and "tagprism-text-minilm" in refused, refused
        _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", text_wheel)
        row = json.loads(_run(*program, *tagging, "--labels", words, place=folder))
        assert [tag["label"] for tag in row["tags"]] == [_PHRASE], row
        sizes = ", ".join(f"{wheel.name} {wheel.stat().st_size / 1e6:.1f} MB" for wheel in (main_wheel, text_wheel))
        print(f"wheels work without torch: {sizes}")


def _run(*command: str | Path, place: Path | None = None, code: int = 0, stream: str = "stdout") -> bytes:
    """Run a command (with a cache of its own where `place` is given) and return what it wrote."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if place is not None:
        environment = {"PATH": "/usr/bin:/bin", "TAGPRISM_CACHE": str(place / "cache"), "HOME": str(place)}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    if done.returncode != code:
        raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}")
    return bytes(getattr(done, stream))


if __name__ == "__main__":
    main(*sys.argv[1:])
