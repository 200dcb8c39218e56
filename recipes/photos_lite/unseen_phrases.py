"""How often a likely picture of a phrase, or of a person, is one, by captions of photos that photos-lite never saw.

  python recipes/photos_lite/unseen_phrases.py flickr8k/ [--photos 700]

Then what such phrases are worth as tags of a list, and what two words should mean that people type side by side: both
tags, their phrase, or both tags or the phrase, as `search.words` reads them. Neighbours are names of two words in the
vocabulary that are none of those trained on, read as if it lacked them; a photo has one where a caption has it.

The folder holds images/ and caption_counts.json (file -> word -> number of captions with it); the photos are those that
the bundle leaves out. Phrases are pairs of words that stand in the same photos' captions and are no label of the
vocabulary; a photo has a pair where captions have both words. Captions leave out much of what is there.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from names import FLICKR_SHARE, PEOPLE, place

from tagprism import Tagger, load
from tagprism.bundle.record import Records, score_records
from tagprism.evaluation.metrics import mean_average_precision
from tagprism.labels.phrases import variants
from tagprism.search.match import LIKELY, LabelLogits, is_likely, log_match, log_probability, ranks_of, search_vectors
from tagprism.search.query import And, Label, Leaf, Query
from tagprism.search.words import either

PAIRS, LEAST, COMMONEST, SHOWN = 150, 2, 1500, 0.5
OTHERS = ("boys", "children", "girls", "guy", "kids", "player", "players", "toddler", "women")
_Pairs = tuple[list[tuple[str, str]], np.ndarray]  # and which photos have each


def main() -> None:
    """Measure, and print a line of JSON a result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=700)
    given = parser.parse_args()
    captions = json.loads((given.folder / "caption_counts.json").read_text())
    unseen = [key for key in sorted(captions) if place(f"flickr8k/{key}") >= FLICKR_SHARE]
    keys = random.Random(0).sample([key for key in unseen if (given.folder / "images" / key).is_file()], given.photos)
    tagger = load()
    records = Records.joined(
        one for _, one, _ in tagger.records([given.folder / "images" / key for key in keys]) if isinstance(one, Records)
    )
    assert len(records) == len(keys), "a photo cannot be read"
    said = [captions[key] for key in keys]
    logits = LabelLogits.of(tagger, None)  # type: ignore[arg-type]  # the bundle has a background of its own

    pairs: Counter[tuple[str, str]] = Counter()
    for words in said:
        often = sorted(word for word, count in words.items() if count >= LEAST and " " not in word)
        pairs.update((one, other) for one in often for other in often if one != other)
    new = [pair for pair, _ in pairs.most_common(COMMONEST) if tagger.vocabulary.find_alike(" ".join(pair)) is None]
    chosen = random.Random(1).sample(new, PAIRS)
    both = np.array([[all(variants(word) & words.keys() for word in pair) for pair in chosen] for words in said])
    vectors = tagger.scoring_vectors([" ".join(pair) for pair in chosen])
    scores = score_records(records, vectors)[0]
    for way, phrases in (("as words", None), ("as phrases", np.ones(PAIRS, bool))):
        matches = np.exp(log_probability(logits.logits(vectors, scores, phrases=phrases)))
        for cut in (LIKELY, 0.9):
            found = matches >= cut
            right = round(float(both[found].mean()), 3)
            print(
                json.dumps(
                    {"way": way, "cut": cut, "photos of a phrase": round(found.sum() / PAIRS, 1), "right": right}
                )
            )

    as_tags(tagger, records, [" ".join(pair) for pair in chosen], both)

    names = Counter(name for words in said for name in words if name.count(" ") == 1)
    seen, find = set(tagger.vocabulary.seen), tagger.vocabulary.find_alike
    listed = [name for name, count in sorted(names.items()) if count >= LEAST and name not in seen]
    neighbours = [pair for name in listed if None not in map(find, pair := tuple(name.split()))]
    has = np.array([[" ".join(pair) in words for pair in neighbours] for words in said])
    side_by_side(tagger, records, logits, {"neighbours": (neighbours, has), "in the same captions": (chosen, both)})

    somebody = np.array([any(word in words for word in (*PEOPLE, *OTHERS)) for words in said])
    for word in ("person", "people"):
        vectors, groups, usual = search_vectors([word], tagger)
        scores = score_records(records, vectors, groups)[0]
        found = np.exp(log_probability(logits.logits(vectors, scores, groups, usual=usual)))[:, 0] >= LIKELY
        right, recall = somebody[found].mean(), found[somebody].mean()
        print(
            json.dumps({"word": word, "likely": int(found.sum()), "right": round(right, 3), "recall": round(recall, 3)})
        )


def as_tags(tagger: Tagger, records: Records, phrases: list[str], has: np.ndarray) -> None:
    """What phrases of a list are worth as tags, by their own vectors and by the names that they are made of."""
    vectors, calibration = tagger.embed(phrases), tagger.calibration
    assert calibration is not None
    scores = score_records(records, tagger.scoring_vectors_of(phrases, vectors))[0]
    by_names = calibration.of_labels(phrases, vectors, tagger.vocabulary)
    for way, its in {"vectors": replace(by_names, phrases=None), "names": by_names}.items():
        chances = its.probabilities(records, scores)
        shown, photos = chances >= SHOWN, len(records)
        numbers = {
            "expected a photo": chances.sum() / photos,
            "in captions": has.sum() / photos,
            "shown": shown.sum() / photos,
            "right": has[shown].mean(),
            "mAP": mean_average_precision(chances, has.astype(int)),
        }
        print(json.dumps({"tags by": way, **{name: round(float(value), 3) for name, value in numbers.items()}}))


def side_by_side(tagger: Tagger, records: Records, logits: LabelLogits, pairs: dict[str, _Pairs]) -> None:
    """What each reading of pairs of words finds, by the line between likely pictures and others, and by rank."""

    def of(labels: list[str], phrases: bool) -> np.ndarray:
        vectors, groups, usual = search_vectors(labels, tagger)
        scores = score_records(records, vectors, groups)[0]
        return logits.logits(vectors, scores, groups, np.full(len(labels), phrases), usual)

    for kind, (its, has) in pairs.items():
        texts = [*zip(*its, strict=True), [" ".join(pair) for pair in its]]
        each = [of(list(some), phrases) for some, phrases in zip(texts, (False, False, True), strict=True)]
        ways: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for column, pair in enumerate(its):
            one, other, whole = leaves = [*map(Label, pair), Label(" ".join(pair))]
            known: dict[Leaf, np.ndarray] = {leaf: its[:, column] for leaf, its in zip(leaves, each, strict=True)}
            both = And((one, other))
            trees: dict[str, Query] = {"both": both, "phrase": whole, "both or phrase": either(both, whole)}
            for way, tree in trees.items():
                matches, likely = log_match(tree, known), is_likely(tree, known)
                ways.setdefault(way, []).append((ranks_of(matches, likely), likely))
            product = log_match(both, known)
            ways.setdefault("both, line on the product", []).append((product, product >= 2 * np.log(LIKELY)))
        for way, found in ways.items():
            ranks, likely = (np.stack(columns, axis=1) for columns in zip(*found, strict=True))
            right, shown = (likely & has).sum(axis=0), likely.sum(axis=0)
            numbers = {
                "likely": shown.mean(),
                "with none": (shown == 0).mean(),
                "precision": right.sum() / shown.sum(),
                "recall": right.sum() / has.sum(),
                "mean F1": (2 * right / (shown + has.sum(axis=0))).mean(),
                "mAP": mean_average_precision(ranks, has.astype(int)),
            }
            rounded = {name: round(float(value), 3) for name, value in numbers.items()}
            print(json.dumps({"pairs": kind, "queries": len(its), "way": way, **rounded}), flush=True)


if __name__ == "__main__":
    main()
