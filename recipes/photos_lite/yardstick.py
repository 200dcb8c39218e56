"""How photos-lite does on caption photos that it does not train on, and what its scores are worth there.

  python recipes/photos_lite/yardstick.py tagged:DATA recipes/photos_lite.toml tagged:GOLD OUT [key=value ...]

Half of the caption photos (drawn by name) train with nine tenths of Corel-5k, the other half is asked for COCO's names;
then the halves change places. In each half every other name is left out of the training, with the labels that say the
same (`mare` for `horse`). The truth is GOLD's: a name that fewer than two captions give counts as absent, which is
often wrong, for all recipes alike. Prints mAP, chance and the number of names; OUT keeps the scores of all words that
any caption has, from which `calibrate.py` fits the probabilities of words not trained on. For those of words trained
on, four more heads learn every name, as the bundle does, each on three quarters of the photos that the bundle trains
on; with `nobody=FOLDER` they see its photos too, a quarter each, as those of a source that lists nothing.
`without=corel5k/` leaves a source and its copies out of the halves, `without=small_` all copies; `folds=0` makes the
halves alone; `beside=OUT` of another run prints the difference to it, paired over the names.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from names import ASKED, CAPTIONS, COCO, NOBODY, SMALL, TEST, copied, place, same, used

from tagprism.app import console
from tagprism.bundle.record import Records, score_records, scoring_vectors
from tagprism.datasets.registry import open_dataset
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.evaluation.metrics import average_precisions
from tagprism.files import replaced_whole
from tagprism.labels.phrases import variants
from tagprism.training.features import compute_features
from tagprism.training.fit import fit
from tagprism.training.networks import class_names
from tagprism.training.prepare import prepare
from tagprism.training.recipe import Recipe, load_recipe

LEAST = 8  # photos of a label that is trained on
FOLDS = 4
LEAST_ASKED = 5  # photos of a name that is asked for


def splits(table: ImageTable, without: tuple[str, ...]) -> list[Split]:
    """Both splits; a label that says the same as a name that is left out is in neither list."""
    photos = sorted(key for key in table.keys if key.startswith(ASKED))
    halves = [key for key in photos if place(key) < 0.5], [key for key in photos if place(key) >= 0.5]
    rest = [key for key in used(table.keys) if not key.removeprefix(SMALL).startswith(ASKED)]
    held, others = [key for key in rest if place(key) < TEST], [key for key in rest if place(key) >= TEST]
    copies = set(table.keys)
    found = []
    for number, (test, other_half) in enumerate((halves, halves[::-1])):
        with_copies = [*other_half, *(twin for key in other_half if (twin := SMALL + key) in copies), *others]
        train = [
            key
            for key in with_copies
            if not (without and (key.startswith(without) or key.removeprefix(SMALL).startswith(without)))
        ]
        counts: Counter[str] = Counter()
        for row in table.rows_of([key for key in train if not copied(key)]):
            counts.update(table.labels[place] for place in table.positive[int(row)])
        left_out = {label for name in COCO[1 + number :: 2] for label in same(name, counts)}  # person, the first, stays
        seen = sorted(label for label in counts if counts[label] >= LEAST and label not in left_out)
        found.append(
            Split(
                name=f"half {number}",
                seen=seen,
                unseen=(),
                train=train,
                test=[*test, *(key for key in held if not copied(key))],
            )
        )
    return found


def folds(table: ImageTable, count: int = FOLDS) -> list[Split]:
    """Splits with every name trained on, as in the bundle; each of its photos is a test photo of one of them."""
    photos = [key for key in used(table.keys) if place(key) >= TEST]
    found = []
    for number in range(count):
        its = [key for key in photos if int(count * place(f"fold of {key.removeprefix(SMALL)}")) == number]
        test, train = [key for key in its if not copied(key)], sorted(set(photos) - set(its))
        rows = table.rows_of([key for key in train if not copied(key)])
        counts = Counter(table.labels[at] for row in rows for at in table.positive[int(row)])
        seen = sorted(label for label in counts if counts[label] >= LEAST)
        found.append(Split(name=f"fold {number}", seen=seen, unseen=(), train=train, test=test))
    return found


def listed(table: ImageTable, keys: Sequence[str], words: Sequence[str]) -> Bool[np.ndarray, "N W"]:
    """Whether a table lists a word, in any spelling, for its pictures."""
    column = {spelling: at for at, word in enumerate(words) for spelling in variants(word)}
    found = np.zeros((len(keys), len(words)), bool)
    for row, picture in enumerate(table.rows_of(keys)):
        labels = (table.labels[place] for place in table.positive[int(picture)])
        found[row, [column[one] for label in labels for one in variants(label) & column.keys()]] = True
    return found


def measure(
    recipe: Recipe, table: ImageTable, split: Split, words: Sequence[str], further: Sequence[Path]
) -> dict[str, np.ndarray]:
    """Train one half and score words on the other and on further photos; which words, or spellings of them, it was
    trained on; and the first shared number of the photos."""
    progress = console.progress(quiet=False)
    prepared = prepare(recipe, table, split, progress)
    with tempfile.TemporaryDirectory() as folder:
        network = fit(prepared, Path(folder), progress).network
    files = [*(table.files[int(row)] for row in table.rows_of(split.test)), *further]
    features = compute_features(files, prepared.backbone, prepared.preprocess, progress)
    assert len(features.rows) == len(files), features.errors
    records = network.records(features.vectors)
    seen = {spelling for label in prepared.split.seen for spelling in variants(label)}
    trained = np.array([bool(variants(word) & seen) for word in words])
    vectors = prepared.space.embed(words).vectors
    scores, _ = score_records(records, scoring_vectors(vectors, network.class_affinity, trained))
    alone, _ = score_records(Records(records.rows, records.shared[:, :1]), scoring_vectors(vectors))
    found = {"scores": scores, "SDL alone": alone, "classes alone": scores - alone, "trained": trained}
    return {**found, "first_shared": records.shared[:, 0]}


def main() -> None:
    """Train, print, keep."""
    data, recipe_file, gold_data, out, *settings = sys.argv[1:]
    without = tuple(one.partition("=")[2] for one in settings if one.startswith("without="))
    nobody = next((one.partition("=")[2] for one in settings if one.startswith("nobody=")), None)
    without_people = sorted(Path(nobody).iterdir()) if nobody else []
    own = ("without=", "folds=", "beside=", "nobody=")
    overrides = (*(one for one in settings if not one.startswith(own)), "training.validation=0")
    recipe, table, gold = load_recipe(Path(recipe_file), overrides), open_dataset(data), open_dataset(gold_data)
    words, spellings = list[str](), set[str]()
    for word in (*COCO, *gold.labels, *class_names()):
        if not variants(word) & spellings:
            words.append(word)
            spellings |= variants(word)
    kept: dict[str, np.ndarray] = {"words": np.array(words)}
    found: dict[str, list[list[float]]] = {}
    names: dict[str, list[float]] = {}  # average precision of every name, for paired differences
    halves = splits(table, without)
    for number, split in enumerate([*halves, *(() if "folds=0" in settings else folds(table))]):
        further = [] if number < len(halves) else without_people[number % FOLDS :: FOLDS]
        keys = [*split.test, *(NOBODY + file.name for file in further)]
        half = measure(recipe, table, split, words, further)
        truth = np.pad(listed(gold, split.test, words), ((0, len(further)), (0, 0)))
        asked, captions = (np.array([key.startswith(its) for key in keys]) for its in (ASKED, CAPTIONS))
        kept |= {f"{name}_{number}": half[name] for name in ("scores", "trained", "first_shared")}
        kept |= {f"listed_{number}": truth, f"captions_{number}": captions, f"keys_{number}": np.array(keys)}
        for part in ("scores", "SDL alone", "classes alone") if number < len(halves) else ():
            precision = average_precisions(half[part][asked], truth[asked].astype(np.int8))
            for at in np.flatnonzero(truth[asked, : len(COCO)].sum(axis=0) >= LEAST_ASKED):
                row = [precision[at], 100 * truth[asked, at].mean()]
                trained = "trained on" if half["trained"][at] else "never trained on"
                for group in (part, f"{part}, {trained}"):
                    found.setdefault(group, []).append(row)
                names.setdefault(part, []).append(float(precision[at]))
    for group, rows in found.items():
        print(f"{group}: {len(rows)} names, mAP and chance", *np.array(rows).mean(axis=0).round(1))
    for one in settings:
        if one.startswith("beside="):
            with np.load(one.partition("=")[2]) as other:
                gains = np.array(names["scores"]) - other["AP of scores"]
            error = gains.std(ddof=1) / len(gains) ** 0.5
            print(f"beside {one.partition('=')[2]}: {gains.mean():+.1f} +- {error:.1f}")
    kept |= {f"AP of {part}": np.array(values) for part, values in names.items()}
    with replaced_whole(Path(out)) as beside, beside.open("wb") as file:
        np.savez(file, **kept)  # type: ignore[arg-type]  # its stub takes any name for `allow_pickle`


if __name__ == "__main__":
    main()
