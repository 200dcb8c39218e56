"""Give the RUN of photos-lite its probabilities, from photos that other heads never trained on (yardstick.py).

  python recipes/photos_lite/calibrate.py RUN tagged:DATA HALVES.npz COUNTS.json... [--drawings openclipart]

Fitted: the map from score, best score and commonness of a word to a probability, for words trained on and for others.
COUNTS say which words stand in each photo's captions: how common a word is. Captions leave out much of what is there:
odds are raised by what was seen on a sample of pairs that no caption names. And a logistic regression that tells
photographs from drawings and from pages of text drawn here.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from names import place
from PIL import Image, ImageDraw, ImageFont
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression

from tagprism.app import console
from tagprism.bundle.bundle import CALIBRATION, Bundle
from tagprism.bundle.card import read_model_card
from tagprism.bundle.record import Records
from tagprism.bundle.write import Content, write_bundle
from tagprism.datasets.registry import open_dataset
from tagprism.files import replaced_whole
from tagprism.labels.phrases import normalise_phrase, variants
from tagprism.labels.vocabulary import Role
from tagprism.tagging.calibration import Calibration, MonotoneMap, WordKnowledge, background_statistics
from tagprism.tagging.monotone_fit import fit_monotone
from tagprism.tagging.tagger import Tagger, load

BACKGROUND, PHOTOS, DRAWINGS, PAGES = 256, 500, 250, 80
EVERY = 3  # of the photos that the map is fitted on
OMITTED = 3.0  # odds that a thing is there, of those that two captions name it: judged by eye (docs/photos_lite.md)
LITTLE = 4  # photos that list a word, by which its own offset counts half
UNCALIBRATED = re.compile(r"- Scores rank; they are not probabilities\..*\n(  .*\n)*")  # of the model card
CALIBRATED = (
    "- The probabilities were fitted by recipes/photos_lite/calibrate.py, on photos of two sources; "
    "on others they may be off."
)
KINDS = {"person": ("man", "woman", "people", "boy", "girl", "child", "baby", "men", "lady", "couple", "crowd")}


def commonness(words: tuple[str, ...], files: list[Path]) -> Float32[np.ndarray, " W"]:
    """Logarithm of the share of photos that a word stands in a caption of, mean over the data sets."""
    shares = []
    for file in files:
        counts = json.loads(file.read_text())
        column = {spelling: at for at, word in enumerate(words) for spelling in variants(word)}
        found = np.full(len(words), 0.5)
        for of_photo in counts.values():
            for at in {column[one] for word in of_photo for one in variants(word) & column.keys()}:
                found[at] += 1
        shares.append(np.log(found / len(counts)))
    mean: Float32[np.ndarray, " W"] = np.mean(shares, axis=0).astype(np.float32)
    return mean


def pairs(
    halves: dict[str, np.ndarray], common: np.ndarray, complete: np.ndarray, *, trained: bool
) -> tuple[Float32[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """Score, best score and commonness of pairs, and whether the word is listed.

    Args:
        halves: what yardstick.py kept.
        common: of its words.
        complete: (W,) true for words that Corel-5k lists wherever they are.
        trained: whether of words trained on.
    """
    features, truth = [], []
    for half in (0, 1):
        rows = np.arange(len(halves[f"scores_{half}"]))[::EVERY]
        scores, listed = halves[f"scores_{half}"][rows], halves[f"listed_{half}"][rows]
        best = scores[:, halves[f"trained_{half}"]].max(axis=1)
        known = halves[f"captions_{half}"][rows, None] | complete[None]
        known = known & (halves[f"trained_{half}"] == trained)[None]
        at, word = np.nonzero(known)
        features.append(np.stack([scores[at, word], best[at], common[word]], axis=1))
        truth.append(listed[at, word])
    return np.concatenate(features), np.concatenate(truth)


def present(its: MonotoneMap) -> MonotoneMap:
    """The map to what is there, of the map to what captions list."""
    return replace(its, logits=its.logits + np.log(OMITTED))


def three(its: MonotoneMap) -> MonotoneMap:
    """A map of the features of a calibration, of one whose last feature is commonness."""
    score, best, _ = its.weights
    return replace(its, weights=np.array([0.0, score, best]))


def own_offsets(
    halves: dict[str, np.ndarray], maps: dict[bool, MonotoneMap], common: np.ndarray, complete: np.ndarray
) -> Float32[np.ndarray, " W"]:
    """What to add to each word's sums so that it is as often probable as it is listed; little for rare words."""
    sums: list[list[np.ndarray]] = [[] for _ in common]
    listed = np.zeros(len(common))
    for half in (0, 1):
        scores, trained = halves[f"scores_{half}"], halves[f"trained_{half}"]
        best = scores[:, trained].max(axis=1)
        for word in range(len(common)):
            known = halves[f"captions_{half}"] | complete[word]
            its = maps[bool(trained[word])]
            score, at_best, weight = its.weights
            total = score * scores[known, word] + at_best * best[known] + weight * common[word]
            sums[word].append(np.interp(total, its.knots, its.logits))
            listed[word] += halves[f"listed_{half}"][known, word].sum()
    low, high = np.full(len(common), -3.0), np.full(len(common), 3.0)
    logits = [np.concatenate(parts) for parts in sums]
    expected = np.array([(1 / (1 + np.exp(-one))).sum() for one in logits])
    larger = np.maximum(listed, expected)
    target = expected + (listed - expected) * larger / (larger + LITTLE)
    for _ in range(12):
        middle = (low + high) / 2
        found = np.array([(1 / (1 + np.exp(-one - shift))).sum() for one, shift in zip(logits, middle, strict=True)])
        low, high = np.where(found < target, middle, low), np.where(found < target, high, middle)
    slope = float(np.median(np.diff(maps[True].logits)[2:] / np.diff(maps[True].knots)[2:]))
    shifts = (low + high) / 2 - complete * np.log(OMITTED) / 2  # where Corel-5k looks for a word, less is left out
    return (shifts / slope).astype(np.float32)


def pages(count: int) -> list[Image.Image]:
    """Pages of text in several sizes and colours, as documents and screenshots have them."""
    random = np.random.default_rng(0)
    words = Path(__file__).with_name("vocabulary.txt").read_text(encoding="utf-8").split()
    found = []
    for number in range(count):
        dark, size = number % 4 == 3, int(random.integers(11, 40))
        page = Image.new("RGB", ((1280, 800), (800, 1100), (600, 1200))[number % 3], "#1e1e1e" if dark else "#ffffff")
        draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
        left = int(random.integers(10, 200))
        if number % 2:  # a bar and a column, as programs have them
            draw.rectangle((0, 0, page.width, 3 * size), fill=tuple(random.integers(0, 256, 3).tolist()))
            draw.rectangle((0, 3 * size, left, page.height), fill="#333333" if dark else "#eeeeee")
        for top in range(4 * size, page.height - size, int(size * random.uniform(1.2, 2.2))):
            line = " ".join(random.choice(words, int(random.integers(1, 14))))
            draw.text((left + 10, top), line, fill="#dddddd" if dark else "#222222", font=font)
        found.append(page)
    return found


def look(tagger: Tagger, photos: list[Path], drawings: list[Path], keep: Path) -> tuple[Records, Records]:
    """Records of photographs, and of drawings and pages; kept beside the run, whose network stays."""
    if not keep.exists():
        with tempfile.TemporaryDirectory() as folder:
            text = [Path(folder) / f"{number}.png" for number in range(PAGES)]
            for path, page in zip(text, pages(PAGES), strict=True):
                page.save(path)
            found = {}
            for kind, files in (("photos", photos), ("strange", [*drawings, *text])):
                looked = tagger.records(files, progress=console.progress(quiet=False))
                records = Records.joined(one for _, one, _ in looked if isinstance(one, Records))
                found |= {f"{kind}_rows": records.rows, f"{kind}_shared": records.shared}
        with replaced_whole(keep) as beside:
            save_file(found, beside)
    found = load_file(keep)
    photos_records, strange = (
        Records(found[f"{kind}_rows"], found[f"{kind}_shared"]) for kind in ("photos", "strange")
    )
    return photos_records, strange


def numbers(records: Records) -> Float32[np.ndarray, "n Q"]:
    """What familiarity is seen by: the mean row and the shared numbers."""
    return np.concatenate([records.rows.mean(axis=1), records.shared], axis=1).astype(np.float32)


def familiar(photos: Records, strange: Records) -> Float32[np.ndarray, " Q1"]:
    """The logistic regression between photographs and what is none; half of both judges, then all fit."""
    values = np.concatenate([numbers(photos), numbers(strange)])
    kind = np.arange(len(values)) < len(photos)
    mean, deviation = values.mean(axis=0), values.std(axis=0) + 1e-6
    scaled = (values - mean) / deviation
    model = LogisticRegression(C=0.01, max_iter=1000)
    judge = np.arange(len(values)) % 2 == 1
    right = model.fit(scaled[~judge], kind[~judge]).predict_proba(scaled[judge])[:, 1]
    lost, kept = (right[kind[judge]] < 0.5).mean(), (right[~kind[judge]] >= 0.5).mean()
    console.say(
        f"half kept back: {100 * lost:.1f} % of the photographs look strange, {100 * kept:.1f} % of the rest familiar"
    )
    model.fit(scaled, kind)
    weights = model.coef_[0] / deviation
    return np.append(weights, model.intercept_[0] - weights @ mean).astype(np.float32)


def calibration(
    tagger: Tagger, background: Records, maps: dict[Role, MonotoneMap], words: WordKnowledge
) -> Calibration:
    """All of it, for the vocabulary of a bundle."""
    vocabulary, classes = tagger.vocabulary, tagger.bundle.class_affinity
    trained = np.array(vocabulary.roles) == "seen"
    return Calibration(
        background, maps, background_statistics(background, vocabulary.vectors, classes, trained), classes, words
    )


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data")
    parser.add_argument("halves", type=Path)
    parser.add_argument("counts", type=Path, nargs="+")
    parser.add_argument("--drawings", default="openclipart")
    given = parser.parse_args()
    table, tagger = open_dataset(given.data), load(given.run)
    bundle, vocabulary = tagger.bundle, tagger.vocabulary
    assert isinstance(bundle, Bundle)
    with np.load(given.halves) as file:
        halves = dict(file)
    corel = next(row for row, key in enumerate(table.keys) if key.startswith("corel5k/"))
    looked_for = {v for at in (*table.positive[corel], *table.negative[corel]) for v in variants(table.labels[int(at)])}
    complete = np.array([bool(variants(word) & looked_for) for word in halves["words"]])
    common = commonness(tuple(halves["words"]), given.counts)
    listed = {
        trained: fit_monotone(*pairs(halves, common, complete, trained=trained), rising=1) for trained in (True, False)
    }
    seen, unseen = (three(present(listed[trained])) for trained in (True, False))
    own = dict[str, float]()
    for word, offset in zip(halves["words"], own_offsets(halves, listed, common, complete), strict=True):
        own |= dict.fromkeys(variants(word), float(offset))
    roles, of_words = np.array(vocabulary.roles), commonness(vocabulary.names, given.counts)
    weights = np.where(roles == "seen", listed[True].weights[2], listed[False].weights[2])
    offsets = weights * of_words + [own.get(normalise_phrase(name), 0.0) for name in vocabulary.names]
    asked = of_words[
        of_words > of_words.min() + 1e-6
    ]  # a word of a user's own is taken for as common as the middle one
    photos = [table.files[row] for row in sorted(range(len(table)), key=lambda row: place(table.keys[row]))[-PHOTOS:]]
    drawings = open_dataset(given.drawings).files
    step = len(drawings) // DRAWINGS
    records, strange = look(tagger, photos, list(drawings[: step * DRAWINGS : step]), given.run / "looks.safetensors")
    rows = {name: vocabulary.find(name) for name in (*KINDS, *(kind for kinds in KINDS.values() for kind in kinds))}
    kinds = [(rows[name], rows[kind]) for name, its in KINDS.items() for kind in its]
    words = WordKnowledge(
        offsets.astype(np.float32),
        float(listed[False].weights[2] * np.median(asked)),
        familiar(records, strange),
        np.array([(a, b) for a, b in kinds if a is not None and b is not None], np.int32).reshape(-1, 2),
    )
    never = three(listed[False])  # nothing says that captions leave out words that nobody uses
    maps: dict[Role, MonotoneMap] = {"seen": seen, "unseen": unseen, "other": never}
    fitted = calibration(tagger, records[:BACKGROUND].astype(np.float16), maps, words)
    kept = [name for name in bundle.config.digests if name != CALIBRATION]
    files: dict[str, Content] = {name: partial(shutil.copyfile, bundle.path / name) for name in kept}
    config = bundle.config.model_dump(mode="json", exclude={"digests"}) | {"calibration": {"background": BACKGROUND}}
    card = UNCALIBRATED.sub(f"{CALIBRATED}\n", read_model_card(bundle.path) or "")
    write_bundle(bundle.path, {**files, CALIBRATION: fitted.save}, config, card)


if __name__ == "__main__":
    main()
