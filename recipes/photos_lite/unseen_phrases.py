"""How often a likely picture of a phrase, or of a person, is one, by captions of photos that photos-lite never saw.

  python recipes/photos_lite/unseen_phrases.py flickr8k/ [--photos 700]

The folder holds images/ and caption_counts.json (file -> word -> number of captions with it); the photos are those that
the bundle leaves out. Phrases are pairs of words that stand in the same photos' captions and are no label of the
vocabulary; a photo has a pair where captions have both words. Captions leave out much of what is there.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
from names import FLICKR_SHARE, PEOPLE, place

from tagprism import load
from tagprism.bundle.record import Records, score_records
from tagprism.labels.phrases import variants
from tagprism.search.match import LIKELY, LabelLogits, log_probability
from tagprism.tagging.learned import Learned

PAIRS, LEAST, COMMONEST = 150, 2, 1500
OTHERS = ("boys", "children", "girls", "guy", "kids", "player", "players", "toddler", "women")


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

    somebody = np.array([any(word in words for word in (*PEOPLE, *OTHERS)) for words in said])
    for word in ("person", "people"):
        vectors, groups, usual = Learned().search_vectors([word], tagger)
        scores = score_records(records, vectors, groups)[0]
        found = np.exp(log_probability(logits.logits(vectors, scores, groups, usual=usual)))[:, 0] >= LIKELY
        right, recall = somebody[found].mean(), found[somebody].mean()
        print(
            json.dumps({"word": word, "likely": int(found.sum()), "right": round(right, 3), "recall": round(recall, 3)})
        )


if __name__ == "__main__":
    main()
