"""End to end against frozen features by the processor time that each took.

    python benchmarks/end_to_end.py recipes/corel5k.toml tagged:DIR FILE#0 OUT

Every form is `tagprism train` with other settings, then `tagprism evaluate`. The time is user and system time of the
training and its processes, with the look at every training picture: OUT has a cache of its own, which gets what is made
once (encoders, backbones in ONNX) from yours, and no features. What was measured is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from tagprism.files import cache_dir, write_json

AUGMENTED = "augment.flip=0.5 augment.crop_scale=0.5"
TUNED = f"training.end_to_end=true training.batch_size=32 training.learning_rate=5e-4 {AUGMENTED}"
SMALL = "model.image_size=96"
FORMS = {
    "frozen, 224 px, 20 epochs": "",
    "end to end, 96 px, 1 epoch": f"{TUNED} {SMALL} training.epochs=1",
    "end to end, 96 px, 2 epochs": f"{TUNED} {SMALL} training.epochs=2",
    "frozen, 96 px, 20 epochs": SMALL,
}


def main() -> None:
    """Train and measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("data")
    parser.add_argument("split")
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", action="append", default=[], help="key=value over every form, as for `tagprism train`")
    parser.add_argument("--forms", type=int, default=len(FORMS), help="only the first so many")
    arguments = parser.parse_args()
    recipe, out = arguments.recipe, arguments.out
    source, cache = ("--data", arguments.data, "--split", arguments.split, "--quiet"), out / "cache"
    if not cache.exists():
        for name in ("backbones", "encoders", "phrases"):
            shutil.copytree(cache_dir(name), cache / name)
    os.environ["TAGPRISM_CACHE"] = str(cache)
    print("| | ZSL mAP | GZSL mAP | processor time, s |\n|---|---:|---:|---:|")
    for number, (name, own) in enumerate(list(FORMS.items())[: arguments.forms]):
        run, file = out / str(number), out / f"{number}.json"
        if not file.is_file():
            shutil.rmtree(run, ignore_errors=True)
            shutil.rmtree(cache / "features", ignore_errors=True)
            settings = ["calibration.folds=0", *own.split(), *arguments.set]
            sets = [part for one in settings for part in ("--set", one)]
            before = spent()
            subprocess.run(
                [sys.executable, "-m", "tagprism", "train", recipe, *source, *sets, "--out", run], check=True
            )
            seconds = spent() - before
            command = [sys.executable, "-m", "tagprism", "evaluate", run, *source, "--format", "json"]
            result = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            write_json(file, {"zsl": result["zsl"]["mAP"], "gzsl": result["gzsl"]["mAP"], "seconds": seconds})
        its = json.loads(file.read_text())
        print(f"| {name} | {its['zsl']:.1f} | {its['gzsl']:.1f} | {its['seconds']:.0f} |", flush=True)


def spent() -> float:
    """Processor seconds of all processes that have ended."""
    its = resource.getrusage(resource.RUSAGE_CHILDREN)
    return its.ru_utime + its.ru_stime


if __name__ == "__main__":
    main()
