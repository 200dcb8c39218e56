"""Give the RUN of photos-lite its probabilities, from photos that other heads never trained on (yardstick.py).

  python recipes/photos_lite/calibrate.py RUN tagged:DATA HALVES.npz COUNTS.json... [--drawings openclipart]

Fitted: the map from score, best score and commonness of a word to a probability, for words trained on and for others.
COUNTS say which words stand in each photo's captions: how common a word is. Captions leave out much of what is there:
odds are raised by what was seen on a sample of pairs that no caption names. And a logistic regression that tells
photographs from drawings and from pages of text and starry skies drawn here.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from names import COCO, KINDS, NOBODY, PEOPLE, copied, kept_back, place, same, used
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from tagprism.app import console
from tagprism.bundle.bundle import Bundle
from tagprism.bundle.card import read_model_card
from tagprism.bundle.config import CALIBRATION
from tagprism.bundle.record import Records
from tagprism.bundle.write import Content, write_bundle
from tagprism.datasets.registry import open_dataset
from tagprism.files import replaced_whole
from tagprism.images.picture_file import PictureFile
from tagprism.labels.phrases import normalise_phrase, variants
from tagprism.labels.vocabulary import Role
from tagprism.tagging.calibration import Calibration, MonotoneMap, WordKnowledge, background_statistics
from tagprism.tagging.monotone_fit import fit_monotone
from tagprism.tagging.tagger import Tagger, load
from tagprism.training.networks import class_kinds, class_names, imagenet_labels

BACKGROUND, PHOTOS, DRAWINGS, PAGES, SKIES = 256, 500, 250, 80, 40
EVERY = 3  # of the photos that the map is fitted on
OMITTED = 3.0  # odds that a thing is there, of those that two captions name it: judged by eye (docs/photos_lite.md)
SHIFT, SLOPE = 1.7, 1.2  # the same for words trained on, of a logit (docs/photos_lite.md)
PHOTOGRAPHS = 8.0  # of them to each other picture that people give: odds before looking (docs/photos_lite.md)
LOOKED_FOR = 0.5  # off the logit of what captions list, for Corel-5k's words (docs/photos_lite.md)
HALVES, FOLDS = (0, 1), (2, 3, 4, 5)  # of yardstick.py: heads without the words asked for, heads with them
HIGH = 8.0  # scores of names of classes that are fitted on
FARTHEST, HEAVIEST = 12.0, 60.0  # of an offset, and of the weight of the first shared number
NOBODY_TIMES = 10  # that a photo with nobody counts: then a fifth of all are unlike those trained on
LITTLE = 4  # photos that list a word, by which its own offset counts half
UNCALIBRATED = re.compile(r"- Scores rank; they are not probabilities\..*\n(  .*\n)*")  # of the model card
CALIBRATED = (
    "- The probabilities were fitted by recipes/photos_lite/calibrate.py, on photos of three sources; "
    "on others they may be off."
)
SELDOM_OMITTED = (  # captions leave these out less than things (docs/photos_lite.md)
    *("standing", "sitting", "walking", "playing", "running", "riding", "holding", "wearing", "jump", "jumping"),
    *("white", "black", "brown", "red", "green", "blue", "yellow", "pink", "little", "young", "small"),
)
LESS_OMITTED = 0.9  # off their last logit


def columns(words: np.ndarray, names: Iterable[str]) -> Bool[np.ndarray, " W"]:
    """Which words are one of the names, in any spelling."""
    spellings = {one for name in names for one in variants(name)}
    return np.array([bool(variants(word) & spellings) for word in words])


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


def without_kept_back(halves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is fitted on: no caption photo that tests the bundle, and one half of such photos of Corel-5k."""
    found = dict(halves)
    for part in (*HALVES, *FOLDS):
        keys = halves[f"keys_{part}"].tolist()
        fit = [not kept_back(key) for key in keys]
        names = ("scores", "listed", "captions", "keys", "first_shared")
        found |= {f"{name}_{part}": halves[f"{name}_{part}"][fit] for name in names}
    return found


def pairs(
    halves: dict[str, np.ndarray], common: np.ndarray, known: np.ndarray, *, trained: bool, nobody: bool = False
) -> tuple[Float32[np.ndarray, "n 4"], Bool[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Score, best score, commonness and first shared number of pairs, whether the word is listed, and its column.

    Args:
        halves: what yardstick.py kept.
        common: of its words.
        known: (W,) true for words that a photo of Corel-5k has only if it lists them.
        trained: pairs of words trained on, of the heads with all names; else of other words, of the other heads.
        nobody: pairs of words for people, on the photos that nobody is in; else of all other photos.
    """
    features, truth, words = [], [], []
    people = columns(halves["words"], PEOPLE)  # Corel-5k says `people` where a man is: `man` is absent where nobody is
    for part in FOLDS if trained else HALVES:
        scores, its = halves[f"scores_{part}"], halves[f"trained_{part}"]
        best = scores[:, its].max(axis=1)
        listed, captions = halves[f"listed_{part}"], halves[f"captions_{part}"][:, None]
        somebody = listed[:, people].any(axis=1, keepdims=True)
        of_nobody = np.char.startswith(halves[f"keys_{part}"], NOBODY)
        told = people if nobody else captions | np.where(people, ~somebody, known)
        at, word = np.nonzero((of_nobody == nobody)[:, None] & told & (its == trained))
        first = halves[f"first_shared_{part}"]
        first = first - first[~of_nobody].mean()  # each head has a level of its own
        features.append(np.stack([scores[at, word], best[at], common[word], first[at]], axis=1))
        truth.append(listed[at, word])
        words.append(word)
    return np.concatenate(features), np.concatenate(truth), np.concatenate(words)


def present(its: MonotoneMap, shift: float, slope: float = 1.0) -> MonotoneMap:
    """The map to what is there, of the map to what captions list."""
    return replace(its, logits=shift + slope * its.logits)


def three(its: MonotoneMap) -> MonotoneMap:
    """A map of the features of a calibration, of one whose last feature is commonness."""
    score, best, _ = its.weights
    return replace(its, weights=np.array([0.0, score, best]))


def own_offsets(
    its: MonotoneMap,
    sums: Float32[np.ndarray, " n"],
    listed: Bool[np.ndarray, " n"],
    words: Int64[np.ndarray, " n"],
    count: int,
) -> Float64[np.ndarray, " W"]:
    """What to add to each word's sums so that it is as often probable as it is listed; little for rare words."""
    order = np.argsort(words, kind="stable")
    sums, positives = sums[order], np.bincount(words, listed, count)
    starts, found = np.searchsorted(words[order], np.arange(count + 1)), np.zeros(count)
    for word in range(count):
        own = sums[starts[word] : starts[word + 1]]

        def expected(shift: float, own: np.ndarray = own) -> float:
            return float((1 / (1 + np.exp(-np.interp(own + shift, its.knots, its.logits)))).sum())

        before = expected(0.0)
        larger = max(positives[word], before)
        target = before + (positives[word] - before) * larger / (larger + LITTLE)
        low, high = -FARTHEST, FARTHEST
        for _ in range(14 if len(own) else 0):
            middle = (low + high) / 2
            low, high = (middle, high) if expected(middle) < target else (low, middle)
        found[word] = (low + high) / 2
    return found


def people_weight(
    its: MonotoneMap,
    people: tuple[Float32[np.ndarray, "n 4"], Bool[np.ndarray, " n"], Int64[np.ndarray, " n"]],
    nobody: tuple[Float32[np.ndarray, "m 4"], Bool[np.ndarray, " m"], Int64[np.ndarray, " m"]],
    count: int,
) -> float:
    """What the first shared number counts in the sums of words for people: the likeliest weight where photos with
    nobody stand beside those that heads train on, for which alone a word is as often probable as it is listed."""

    def loss(weight: float) -> float:
        (sums, listed, words), (others, _, their_words) = (
            (features[:, :3] @ its.weights + weight * features[:, 3], *rest) for features, *rest in (people, nobody)
        )
        offsets = own_offsets(its, sums, listed, words, count)
        logits, of_nobody = (
            np.interp(one + offsets[of], its.knots, its.logits) for one, of in ((sums, words), (others, their_words))
        )
        likely = np.logaddexp(0, np.where(listed, -logits, logits)).sum()
        return float(likely + NOBODY_TIMES * np.logaddexp(0, of_nobody).sum())

    found = minimize_scalar(loss, bounds=(0.0, HEAVIEST), method="bounded", options={"xatol": 0.1})
    assert found.x < 0.95 * HEAVIEST, found
    return float(found.x)


def word_offsets(
    halves: dict[str, np.ndarray],
    common: np.ndarray,
    known: np.ndarray,
    complete: np.ndarray,
) -> tuple[dict[bool, MonotoneMap], Float64[np.ndarray, " W"], float]:
    """The maps to what captions list, of words trained on and of others, every word's own offset, and what the first
    shared number counts for words for people."""
    maps, offsets, weight, people = {}, {}, 0.0, columns(halves["words"], PEOPLE)
    for trained in (True, False):
        features, listed, words = pairs(halves, common, known, trained=trained)
        some = slice(None, None, EVERY)
        maps[trained] = its = fit_monotone(features[some, :3], listed[some], rising=1)
        of_people = people[words]
        if trained:
            nobody = pairs(halves, common, known, trained=True, nobody=True)
            its_people = features[of_people], listed[of_people], words[of_people]
            weight = people_weight(its, its_people, nobody, len(common))
            console.say(f"the first shared number counts {weight:.2f} for words for people")
        sums = features[:, :3] @ its.weights + weight * of_people * features[:, 3]
        offsets[trained] = own_offsets(its, sums, listed, words, len(common))
    trained_on = np.array([halves[f"trained_{part}"] for part in FOLDS]).mean(axis=0) > 0.5
    slope = float(np.median(np.diff(maps[True].logits)[2:] / np.diff(maps[True].knots)[2:]))
    less = (complete * LOOKED_FOR + columns(halves["words"], SELDOM_OMITTED) * LESS_OMITTED / SLOPE) / slope
    return maps, np.where(trained_on, offsets[True] - less, offsets[False]), weight


def class_offset(its: MonotoneMap, halves: dict[str, np.ndarray], files: list[Path]) -> float:
    """What to add to the sums of names of ImageNet's classes, which people seldom write: their kinds say who is right.

    A caption photo is one of an espresso where a caption says espresso or coffee, of a spaniel where it says spaniel.
    Fitted on scores that are high for a class that no head trained on.
    """
    said = {f"{file.parent.name}/{key}": words for file in files for key, words in json.loads(file.read_text()).items()}
    column = {spelling: at for at, word in enumerate(halves["words"]) for spelling in variants(word)}
    spellings = [{one for word in words for one in variants(word)} for words in class_kinds()]
    columns = np.array([column[next(iter(variants(name) & column.keys()))] for name in class_names()])
    features, right = [], []
    for part in FOLDS:
        scores, trained = halves[f"scores_{part}"], halves[f"trained_{part}"]
        best = scores[:, trained].max(axis=1)
        high = (scores[:, columns] > HIGH) & ~trained[columns] & halves[f"captions_{part}"][:, None]
        for picture, its_class in zip(*np.nonzero(high), strict=True):
            words = said[str(halves[f"keys_{part}"][picture])]
            features.append((0.0, scores[picture, columns[its_class]], best[picture]))
            right.append(bool(spellings[its_class] & {one for word in words for one in variants(word)}))
    found = own_offsets(its, np.array(features) @ its.weights, np.array(right), np.zeros(len(right), int), 1)
    assert abs(found[0]) < 0.99 * FARTHEST, found
    console.say(f"names of classes: {len(right)} scores above {HIGH:g}, {100 * np.mean(right):.0f} % right")
    return float(found[0])


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


def skies(count: int) -> list[Image.Image]:
    """Points and smudges of light on black, as telescopes and microscopes see them."""
    random, found = np.random.default_rng(1), []
    for _ in range(count):
        sky = Image.new("RGB", (400, 400), tuple(random.integers(0, 20, 3).tolist()))
        draw = ImageDraw.Draw(sky)
        for _ in range(int(random.integers(30, 500))):
            x, y, size = *random.integers(0, 400, 2), random.exponential(2.0)
            box = (x - size, y - size * random.uniform(0.3, 1), x + size, y + size)
            draw.ellipse(box, fill=tuple(random.integers(60, 256, 3).tolist()))
        found.append(sky.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.5))))
    return found


def look(tagger: Tagger, photos: list[PictureFile], drawings: list[PictureFile], keep: Path) -> tuple[Records, Records]:
    """Records of photographs, and of drawings, pages and skies; kept beside the run, whose network stays."""
    if not keep.exists():
        with tempfile.TemporaryDirectory() as folder:
            text = [Path(folder) / f"{number}.png" for number in range(PAGES + SKIES)]
            for path, page in zip(text, [*pages(PAGES), *skies(SKIES)], strict=True):
                page.save(path)
            found: dict[str, np.ndarray] = {}
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
    odds = np.log(PHOTOGRAPHS / (len(photos) / len(strange)))  # the fit sees other shares
    right = model.fit(scaled[~judge], kind[~judge]).decision_function(scaled[judge]) + odds > 0
    lost, kept = (~right[kind[judge]]).mean(), right[~kind[judge]].mean()
    console.say(
        f"half kept back: {100 * lost:.1f} % of the photographs look strange, {100 * kept:.1f} % of the rest familiar"
    )
    model.fit(scaled, kind)
    weights = model.coef_[0] / deviation
    return np.append(weights, model.intercept_[0] + odds - weights @ mean).astype(np.float32)


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
        halves = without_kept_back(dict(file))
    corel = next(row for row, key in enumerate(table.keys) if key.startswith("corel5k/"))
    looked_for = [table.labels[int(at)] for at in (*table.positive[corel], *table.negative[corel])]
    complete = columns(halves["words"], looked_for)
    absent = [name for name in COCO if not same(name, looked_for)]  # a frisbee would be among Corel-5k's words
    known = complete | columns(halves["words"], absent)
    common = commonness(tuple(halves["words"]), given.counts)
    listed, offsets, weight = word_offsets(halves, common, known, complete)
    seen = three(present(listed[True], SHIFT, SLOPE))
    unseen = three(present(listed[False], np.log(OMITTED)))
    own = dict[str, float]()
    for word, offset in zip(halves["words"], offsets, strict=True):
        own |= dict.fromkeys(variants(word), float(offset))
    roles, of_words = np.array(vocabulary.roles), commonness(vocabulary.names, given.counts)
    weights = np.where(roles == "seen", listed[True].weights[2], listed[False].weights[2])
    added = weights * of_words + [own.get(normalise_phrase(name), 0.0) for name in vocabulary.names]
    never = three(listed[False])  # nothing says that captions leave out words that nobody uses
    maps: dict[Role, MonotoneMap] = {"seen": seen, "unseen": unseen, "other": never}
    names = set(imagenet_labels(vocabulary.names))
    of_class = np.array([name in names for name in vocabulary.names])
    its = of_class & (roles != "seen")
    added[its] = np.maximum(added[its], class_offset(never, halves, given.counts))
    asked = of_words[
        of_words > of_words.min() + 1e-6
    ]  # a word of a user's own is taken for as common as the middle one
    originals = [key for key in used(table.keys) if not copied(key)]
    photos = [table.files[row] for row in table.rows_of(sorted(originals, key=place)[-PHOTOS:])]
    drawings = open_dataset(given.drawings).files
    step = len(drawings) // DRAWINGS
    records, strange = look(tagger, photos, list(drawings[: step * DRAWINGS : step]), given.run / "looks.safetensors")
    rows = {name: vocabulary.find(name) for name in (*KINDS, *(kind for kinds in KINDS.values() for kind in kinds))}
    kinds = [(rows[name], rows[kind]) for name, its in KINDS.items() for kind in its]
    shared_weights = weight * columns(np.array(vocabulary.names), PEOPLE)
    added -= shared_weights * records[:BACKGROUND].shared[:, 0].mean()
    words = WordKnowledge(
        added.astype(np.float32),
        float(listed[False].weights[2] * np.median(asked)),
        familiar(records, strange),
        np.array([(a, b) for a, b in kinds if a is not None and b is not None], np.int32).reshape(-1, 2),
        shared_weights.astype(np.float32),
    )
    fitted = calibration(tagger, records[:BACKGROUND].astype(np.float16), maps, words)
    kept = [name for name in bundle.config.digests if name != CALIBRATION]
    files: dict[str, Content] = {name: partial(shutil.copyfile, bundle.path / name) for name in kept}
    config = bundle.config.model_dump(mode="json", exclude={"digests"}) | {"calibration": {"background": BACKGROUND}}
    card = UNCALIBRATED.sub(f"{CALIBRATED}\n", read_model_card(bundle.path) or "")
    write_bundle(bundle.path, {**files, CALIBRATION: fitted.save}, config, card)


if __name__ == "__main__":
    main()
