"""Give the RUN of photos-lite its probabilities, from photos that other heads never trained on (yardstick.py).

  python recipes/photos_lite/calibrate.py RUN tagged:DATA HALVES.npz COUNTS.json... [--drawings openclipart]

Fitted: the map from score, best score and commonness of a word to a probability, for words trained on and for others.
COUNTS say which words stand in each photo's captions: how common a word is. Captions leave out what nobody asked for:
probabilities are divided by the share of what is there that they name, which the likeliest pairs tell (Elkan and Noto
2008, equation 2). And a logistic regression that tells photographs from drawings and from pages of text drawn here.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from names import place
from PIL import Image, ImageDraw, ImageFont
from sklearn.linear_model import LogisticRegression

from tagprism.app import console
from tagprism.bundle.bundle import CALIBRATION, Bundle
from tagprism.bundle.card import read_model_card
from tagprism.bundle.record import Records
from tagprism.bundle.write import Content, write_bundle
from tagprism.datasets.registry import open_dataset
from tagprism.labels.phrases import variants
from tagprism.labels.vocabulary import Role
from tagprism.tagging.calibration import Calibration, MonotoneMap, WordKnowledge, background_statistics
from tagprism.tagging.tagger import Tagger, load
from tagprism.training.monotone_fit import fit_monotone

BACKGROUND, PHOTOS, DRAWINGS, PAGES = 256, 500, 250, 80
EVERY = 3  # of the photos that the map is fitted on
HIGHEST = 0.97  # probability: a name was wrong on about so many of the photos where nothing spoke against it
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


def fit_map(features: Float32[np.ndarray, "n 3"], listed: Bool[np.ndarray, " n"]) -> tuple[MonotoneMap, float]:
    """A map of the three features of a calibration, and the weight of commonness."""
    its = fit_monotone(features, listed, rising=1)
    chance = np.sort(its(features))[::-1]
    top = np.argsort(-its(features), kind="stable")[: max(len(chance) // 2000, 100)]
    named = float(min(listed[top].mean() / HIGHEST, 1.0))  # of what is there
    there = np.minimum(0.5 * (1 + np.tanh(its.logits / 2)) / named, HIGHEST)
    logits = np.maximum.accumulate(np.log(there / (1 - there)))
    console.say(f"{len(listed):,} pairs, {listed.sum():,} listed; captions name {100 * named:.0f} % of what is there")
    score, best, weight = its.weights
    return MonotoneMap(np.array([0.0, score, best]), its.knots, logits), float(weight)


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


def look(tagger: Tagger, pictures: list[Path]) -> Records:
    """Records of pictures, those that cannot be read left out."""
    found = tagger.records(pictures, progress=console.progress(quiet=False))
    return Records.joined(one for _, one, _ in found if isinstance(one, Records))


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
    seen, its_weight = fit_map(*pairs(halves, common, complete, trained=True))
    unseen, weight = fit_map(*pairs(halves, common, complete, trained=False))
    roles = np.array(vocabulary.roles)
    of_words = commonness(vocabulary.names, given.counts)
    offsets = np.where(roles == "seen", its_weight, weight).astype(np.float32) * of_words
    asked = of_words[
        of_words > of_words.min() + 1e-6
    ]  # another word that someone asks for is as common as half of these
    photos = [table.files[row] for row in sorted(range(len(table)), key=lambda row: place(table.keys[row]))[-PHOTOS:]]
    drawings = open_dataset(given.drawings).files
    step = len(drawings) // DRAWINGS
    with tempfile.TemporaryDirectory() as folder:
        text = [Path(folder) / f"{number}.png" for number in range(PAGES)]
        for path, page in zip(text, pages(PAGES), strict=True):
            page.save(path)
        own, strange = look(tagger, photos), look(tagger, [*drawings[: step * DRAWINGS : step], *text])
    rows = {name: vocabulary.find(name) for name in (*KINDS, *(kind for kinds in KINDS.values() for kind in kinds))}
    kinds = [(rows[name], rows[kind]) for name, its in KINDS.items() for kind in its]
    words = WordKnowledge(
        offsets,
        weight * float(np.median(asked)),
        familiar(own, strange),
        np.array([(a, b) for a, b in kinds if a is not None and b is not None], np.int32).reshape(-1, 2),
    )
    maps: dict[Role, MonotoneMap] = {"seen": seen, "unseen": unseen, "other": unseen}
    fitted = calibration(tagger, own[:BACKGROUND].astype(np.float16), maps, words)
    kept = [name for name in bundle.config.digests if name != CALIBRATION]
    files: dict[str, Content] = {name: partial(shutil.copyfile, bundle.path / name) for name in kept}
    config = bundle.config.model_dump(mode="json", exclude={"digests"}) | {"calibration": {"background": BACKGROUND}}
    write_bundle(bundle.path, {**files, CALIBRATION: fitted.save}, config, read_model_card(bundle.path) or "")


if __name__ == "__main__":
    main()
