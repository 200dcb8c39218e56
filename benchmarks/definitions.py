"""Sentences about the labels of a data set from WordNet 3.0, as `labels.descriptions` takes them.

Of a label's most frequent noun sense: `definitions.json` has its definition, `sentences.json` the label in a template,
the definition, and what it is a kind of. A label that is no noun of WordNet has the template alone. WordNet's license
is in recipes/photos_lite/vocabulary.LICENSE.

Run: python benchmarks/definitions.py WORDNET tagged:DIR OUT   (WORDNET: Debian's wordnet-base, /usr/share/wordnet)
     cd OUT && tagprism compare corel5k.toml --variants corel5k_label_variants.toml --data tagged:DIR --split FILE
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tagprism.datasets.registry import open_dataset
from tagprism.files import write_json
from tagprism.labels.phrases import normalise_phrase, variants


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    wordnet, out = arguments.wordnet, arguments.out
    data = (wordnet / "data.noun").read_bytes()
    first = {}  # word -> place of its first sense, which is the most frequent one
    for line in (wordnet / "index.noun").read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            word, *fields = line.split()
            first[word.replace("_", " ")] = int(fields[5 + int(fields[2])])  # behind pos, counts and pointers

    def synset(place: int) -> tuple[str, str, int | None]:
        """First word, definition without its examples, and the place of what it is a kind of."""
        fields, _, gloss = data[place : data.index(b"\n", place)].decode().partition(" | ")
        parts = fields.split()
        above = next((int(parts[at + 1]) for at, mark in enumerate(parts) if mark in ("@", "@i")), None)
        return parts[4].replace("_", " "), gloss.partition('; "')[0].strip(), above

    definitions, sentences, unknown = {}, {}, []
    for label in open_dataset(arguments.data).labels:
        plain = f"a photo of {label}"
        spellings = [normalise_phrase(label), *sorted(variants(label))]
        found = next((first[one] for one in spellings if one in first), None)
        if found is None:
            unknown.append(label)
            definitions[label], sentences[label] = [plain], [plain]
            continue
        _, gloss, above = synset(found)
        definitions[label] = [f"{label}: {gloss}"]
        sentences[label] = [plain, f"{label}: {gloss}"]
        if above is not None:
            sentences[label].append(f"{label}, a kind of {synset(above)[0]}")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "definitions.json", definitions)
    write_json(out / "sentences.json", sentences)
    print(f"{len(definitions)} labels; {len(unknown)} are no nouns of WordNet: {', '.join(unknown)}", file=sys.stderr)


if __name__ == "__main__":
    main()
