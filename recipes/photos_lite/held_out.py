"""What the probabilities of models are worth on photos that the bundle was neither trained nor fitted on.

  python recipes/photos_lite/held_out.py tagged:DATA CAPTION_COUNTS.json MODEL [MODEL ...]

DATA is the joined folder of `make photos-lite`; the photos are those of `names.kept_back`. What the numbers are not
independent of stands below their table in docs/photos_lite.md. COCO's 80 names are asked for on caption photos that
were read by eye (by_eye.toml), and again on all of them, where a name counts as there from one caption on and what
captions leave out counts as wrong; Corel-5k's own words are asked for on photos of it. Rows: precision and recall at
0.5, photos without a tag, tags above 0.8 and the wrong ones of them, photos with one, tags expected and true a photo,
expected calibration error (ten bins), mAP.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from names import ASKED, CAPTIONS, COCO, kept_back

from tagprism.datasets.registry import open_dataset
from tagprism.evaluation.metrics import average_precisions
from tagprism.labels.phrases import variants
from tagprism.tagging.tagger import Tagger, load

BINS = 10
PEOPLE = ("person", "people", "man", "woman", "boy", "girl", "child", "baby")


def row(
    probabilities: Float[np.ndarray, "N L"], truth: Bool[np.ndarray, "N L"], scores: Float[np.ndarray, "N L"]
) -> str:
    """One row of the table, shares in percent."""
    shown, sure = probabilities >= 0.5, probabilities >= 0.8
    right = (shown & truth).sum()
    at = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    gaps = [abs((probabilities[at == one] - truth[at == one]).sum()) for one in range(BINS)]
    precision = average_precisions(scores.astype(np.float32), truth.astype(np.int8))[truth.any(axis=0)].mean()
    return " | ".join(
        (
            f"{100 * right / max(shown.sum(), 1):.1f} | {100 * right / truth.sum():.1f}",
            f"{100 * (~shown.any(axis=1)).mean():.0f} %",
            f"{(sure & ~truth).sum()} of {sure.sum()} | {100 * sure.any(axis=1).mean():.0f} %",
            f"{probabilities.sum() / len(truth):.1f} of {truth.sum() / len(truth):.1f}",
            f"{100 * sum(gaps) / truth.size:.1f} | {precision:.1f}",
        )
    )


def said(tagger: Tagger, files: Sequence[Path], labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and scores (N, L)."""
    probabilities, scores = np.empty((2, len(files), len(labels)))
    column = {label: at for at, label in enumerate(labels)}
    for at, its in enumerate(tagger.tag(list(files), labels=labels, top_k=None, min_probability=0.0)):
        assert len(its.tags) == len(labels), its
        for tag in its.tags:
            probabilities[at, column[tag.label]], scores[at, column[tag.label]] = tag.probability or 0.0, tag.score
    return probabilities, scores


def main() -> None:
    """Measure and print."""
    table, counts = open_dataset(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    eye = tomllib.loads(Path(__file__).with_name("by_eye.toml").read_text(encoding="utf-8"))
    files = {key: Path(file) for key, file in zip(table.keys, table.files, strict=True) if kept_back(key)}
    captions = [key for key in files if key.startswith(ASKED)]
    corel = [key for key in files if not key.startswith(CAPTIONS)]
    read = [key for key in captions if key in eye]
    spelt = [
        {spelling for word in (PEOPLE if name == "person" else (name,)) for spelling in variants(word)} for name in COCO
    ]
    in_captions = [{s for word in counts[key.removeprefix(ASKED)] for s in variants(word)} for key in captions]
    rows = table.rows_of(corel).tolist()
    places = sorted({int(at) for one in rows for at in (*table.positive[one], *table.negative[one])})
    words = [table.labels[at] for at in places]
    known = {spelling for word in words for spelling in variants(word)}
    elsewhere = [at for at, name in enumerate(spelt) if not name & known]  # most are guesses that embarrass
    of_corel = np.array([[at in set(table.positive[one].tolist()) for at in places] for one in rows])
    of_captions = np.array([[bool(its & name) for name in spelt] for its in in_captions])
    of_eye = np.array([[name in eye[key] for name in COCO] for key in read])
    where = [captions.index(key) for key in read]
    print("precision | recall | no tag | above 0.8, wrong | photos with one | expected and true | ECE | mAP")
    for model in sys.argv[3:]:
        tagger = load(model)
        its, scores = said(tagger, [files[key] for key in captions], COCO)
        for title, photos, truth in (("read by eye", where, of_eye), ("by captions", slice(None), of_captions)):
            for kind, some in (("80 names", slice(None)), ("without person", slice(1, None))):
                found = row(its[photos][:, some], truth[:, some], scores[photos][:, some])
                print(f"{model} | {len(truth)} {title}, {kind} | {found}")
        its, scores = said(tagger, [files[key] for key in corel], words)
        print(f"{model} | {len(of_corel)} of Corel-5k, its {len(words)} words | {row(its, of_corel, scores)}")
        its, _ = said(tagger, [files[key] for key in corel], [COCO[at] for at in elsewhere])
        guessed = 100 * (its >= 0.5).any(axis=1).mean()
        print(f"{model} | {len(elsewhere)} names that Corel-5k has no word for: one on {guessed:.0f} % of its photos")


if __name__ == "__main__":
    main()
