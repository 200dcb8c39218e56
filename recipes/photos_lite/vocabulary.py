"""Make vocabulary.txt: common English words and phrases that a tag of a photo could be.

  python vocabulary.py WORDNET --lists FOLDER --data tagged:A tagged:B --captions FILE... > vocabulary.txt

WORDNET is the folder with WordNet 3.0's `data.noun`, `index.noun` and `cntlist.rev` (Debian: `wordnet-base`).
FOLDER holds `nus_wide/Concepts81.txt`, `nus_wide/TagList1k.txt`, `coco/split_48_17.json` and `open_images/*.csv`
(identifier, name), or lists of those names. Each FILE says which words stand in the captions of each photo, as JSON.

Always in: the 80 classes of COCO, the 81 concepts of NUS-WIDE, the first name of each ImageNet-1k class, the labels
of A and B, and what the captions of `LEAST_PHOTOS` photos of one FILE say; with them the 1,000 NUS-WIDE tags that pass
the filters. Then come, until there are `SIZE`:
1. names of Open Images (`is_named`), which people gave to what they saw on photos;
2. nouns of WordNet whose main sense is visible (below one of `visible`, none of `hidden`) and that are mostly used so
   (WordNet's counts of senses, verbs and adjectives too), of the `LEAST_WORD` most frequent words of GloVe 6B;
3. phrases of two words, visible, that are a kind of what their last word says (`golf ball`, not `kitchen police`),
   those with the most frequent words first (a phrase is as frequent as its rarer word).
WordNet orders the senses of a word by its counts. Where it counted none (`clemency`: mild weather, or mercy) the order
says nothing, so most of its senses must be visible, and a person must be one by what it does before one's eyes
(`people`: a juggler, not an absentee).
Filters (`is_unfit`): no word with any sense that WordNet marks as slur, obscenity, disparagement or vulgarism or that
stands below `unwanted`, none of `not_wanted`; these lists are in vocabulary.toml. Of several spellings of a
word (case, plural, hyphens) the first stays. An ImageNet class's other names become aliases where no one else has them.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timm.data.imagenet_info import ImageNetInfo

from tagprism.datasets.registry import open_dataset
from tagprism.labels.encoders.encoder import load_encoder
from tagprism.labels.encoders.word_table import WordTable
from tagprism.labels.english import is_english
from tagprism.labels.phrases import normalise_phrase, variants
from tagprism.network.encoder_sources import encoder_folder

SIZE = 10_500
LEAST_WORD = 80_000  # a single word is among the so many most frequent ones
RULES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
LEAST_SHARE = 0.5  # of its uses in which a word means something visible
LEAST_PHOTOS = 8  # whose captions say a word, so that it is one of photos
LEAST_NAME = 40_000  # each word of a name of Open Images of two words is among the so many most frequent ones


@dataclass(frozen=True)
class WordNet:
    """The nouns: senses of each word, what each synset is below, how it is marked, and how often a word means what.

    `file`: synset -> number of its lexicographer file, the broadest kind of it (lexnames(5WN)).
    `uses`: word -> number of the noun sense (0: verb, adjective or adverb) -> times it was counted.
    """

    senses: dict[str, list[int]]
    parents: dict[int, list[int]]
    instance_of: dict[int, list[int]]
    marks: dict[int, list[int]]
    words: dict[int, list[str]]
    file: dict[int, int]
    uses: dict[str, dict[int, int]]

    def synset(self, name: str) -> int | None:
        """The synset of `word.number`."""
        word, _, number = name.rpartition(".")
        senses = self.senses.get(word, [])
        return senses[int(number) - 1] if int(number) <= len(senses) else None

    def above_instance(self, synset: int) -> set[int]:
        """What the bearer of a name is; empty for a synset that is no name."""
        return {one for kind in self.instance_of.get(synset, []) for one in self.above(kind)}

    def above(self, synset: int) -> Iterator[int]:
        """The synset and all that it is a kind of."""
        seen, waiting = set(), [synset]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                yield one
                waiting += self.parents[one]


def read_wordnet(folder: Path) -> WordNet:
    """Read `index.noun`, `data.noun` and `cntlist.rev` (formats: wndb(5WN), cntlist(5WN))."""
    senses: dict[str, list[int]] = {}
    for line in (folder / "index.noun").read_text(encoding="ascii").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            senses[fields[0]] = [int(offset) for offset in fields[-int(fields[2]) :]]
    parents, marks, words, file, instance_of = {}, {}, {}, {}, {}
    for line in (folder / "data.noun").read_text(encoding="ascii").splitlines():
        if line.startswith(" "):
            continue
        fields = line.partition(" | ")[0].split()
        offset, count = int(fields[0]), int(fields[3], 16)
        file[offset] = int(fields[1])
        words[offset] = [fields[4 + 2 * at] for at in range(count)]
        rest = fields[4 + 2 * count + 1 :]
        pointers = [(rest[at], int(rest[at + 1]), rest[at + 2]) for at in range(0, len(rest) - 3, 4)]
        parents[offset] = [to for kind, to, part in pointers if kind == "@" and part == "n"]
        marks[offset] = [to for kind, to, part in pointers if kind == ";u" and part == "n"]
        if kinds := [to for kind, to, _ in pointers if kind == "@i"]:
            instance_of[offset] = kinds
    uses: dict[str, dict[int, int]] = {}
    for line in (folder / "cntlist.rev").read_text(encoding="ascii").splitlines():
        key, number, uses_of_it = line.split()
        word, _, sense = key.partition("%")
        its = uses.setdefault(word, {})
        place = int(number) if sense.startswith("1") else 0
        its[place] = its.get(place, 0) + int(uses_of_it)
    return WordNet(senses, parents, instance_of, marks, words, file, uses)


class Rules:
    """Which words may be tags."""

    def __init__(self, net: WordNet) -> None:
        self.net = net
        self._visible, self._hidden, self._unwanted, self._people = (
            {found for name in RULES[kind] if (found := net.synset(name)) is not None}
            for kind in ("visible", "hidden", "unwanted", "people")
        )
        self._person = net.synset("person.1")
        self._marks = {offset for offset, words in net.words.items() if set(words) & set(RULES["marks"])}

    def is_unfit(self, phrase: str) -> bool:
        """Whether a word, or one of a phrase's words, has an offensive, sexual or gruesome sense."""
        key = normalise_phrase(phrase).replace(" ", "_").replace("-", "_")
        if {key, *key.split("_")} & set(RULES["not_wanted"]):
            return True
        for sense in self.net.senses.get(key, []):
            if set(self.net.marks[sense]) & self._marks or set(self.net.above(sense)) & self._unwanted:
                return True
        return False

    def is_visible(self, word: str) -> bool:
        """Whether the main sense of a noun can be seen; names of persons and places are none."""
        senses = [sense for sense in self.net.senses[word] if sense not in self.net.instance_of]
        if not senses or (self.net.senses[word][0] in self.net.instance_of and len(self.net.senses[word]) < 3):
            return False
        if not self._is_visible_sense(senses[0]):
            return False
        uses = self.net.uses.get(word, {})
        if not uses:
            return self._is_visible_by_all(word)
        seen = sum(
            count
            for number, count in uses.items()
            if 0 < number <= len(self.net.senses[word]) and self._is_visible_sense(self.net.senses[word][number - 1])
        )
        return seen >= LEAST_SHARE * sum(uses.values())

    def _is_visible_by_all(self, word: str) -> bool:
        """Whether a word that WordNet never counted can be seen, whatever it means."""
        senses = self.net.senses[word]
        if any(self._person in self.net.above_instance(sense) for sense in senses):
            return False  # Carter, Ford: mostly a name
        above = set(self.net.above(senses[0]))
        if self._person in above and not above & self._people:
            return False
        return sum(map(self._is_visible_sense, senses)) > LEAST_SHARE * len(senses)

    def _is_visible_sense(self, synset: int) -> bool:
        above = set(self.net.above(synset))
        return bool(above & self._visible) and not above & self._hidden

    def is_named(self, name: str) -> bool:
        """Whether a name of Open Images is an English noun, or two words of which the last is one, and no abstraction.

        What WordNet does not know (`selfie`) is taken when it is English. A phrase that it knows must be a kind
        of its last word (`soft flag` is an iris).
        """
        key = normalise_phrase(name).replace(" ", "_")
        parts = key.split("_")
        if len(parts) > 2 or not all(part.isalpha() and is_english(part) for part in parts):
            return False
        if len(parts) == 2 and key in self.net.senses and not self.is_kind_of_last_word(key):
            return False
        if set(parts) & set(RULES["makes"]):
            return False
        noun = key if key in self.net.senses else parts[-1]
        if noun not in self.net.senses:
            return noun not in self.net.uses and len(parts) == 1
        main = self.net.senses[noun][0]
        if main in self.net.instance_of or set(self.net.above(main)) & self._hidden:
            return False
        return self._is_visible_sense(main) or self.net.file[main] not in RULES["abstract"]

    def is_kind_of_last_word(self, phrase: str) -> bool:
        """Whether a phrase of two words is a kind of what its last word says."""
        words = phrase.split("_")
        above = list(self.net.above(self.net.senses[phrase][0]))[1:]
        return len(words) == 2 and any(words[1] in self.net.words[synset] for synset in above)


def captioned(file: Path) -> list[str]:
    """Words that stand in the captions of at least `LEAST_PHOTOS` photos, the most frequent first."""
    photos = Counter(word for words in json.loads(file.read_text(encoding="utf-8")).values() for word in set(words))
    return [word for word, count in sorted(photos.items(), key=lambda one: (-one[1], one[0])) if count >= LEAST_PHOTOS]


def open_images(folder: Path) -> list[str]:
    """The names of Open Images in lower case, in alphabetical order."""
    rows = [row for file in folder.glob("*.csv") for row in csv.reader(file.open(encoding="utf-8", newline=""))]
    return sorted({row[1].lower() for row in rows})


def main() -> None:
    """Print the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("--lists", type=Path, required=True)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--captions", nargs="+", type=Path, required=True)
    given = parser.parse_args()
    net = read_wordnet(given.wordnet)
    rules = Rules(net)
    table = load_encoder(encoder_folder("glove100"))
    assert isinstance(table, WordTable)
    rank = {word: at for at, word in enumerate(table.words)}

    names: dict[str, list[str]] = {}
    taken: dict[str, str] = {}
    spelled: set[str] = set()  # names and aliases as they are written

    def add(name: str, *, always: bool = False) -> None:
        if not (found := variants(name) & taken.keys()):
            names[name] = []
            spelled.add(normalise_phrase(name))
            taken.update(dict.fromkeys(variants(name), name))
        elif always:  # another spelling of a word that is there
            spell(taken[min(found)], name)

    def spell(name: str, alias: str) -> None:
        key = normalise_phrase(alias)
        if key not in spelled:
            names[name].append(alias)
            spelled.add(key)

    classes = [ImageNetInfo().index_to_description(index).split(", ") for index in range(1000)]
    coco = json.loads((given.lists / "coco/split_48_17.json").read_text())
    labels = [label for data in given.data for label in open_dataset(data).labels]
    concepts = (given.lists / "nus_wide/Concepts81.txt").read_text().split()
    said = [word for file in given.captions for word in captioned(file)]
    for name in (*coco["categories"], *concepts, *(lemmas[0] for lemmas in classes), *labels, *said):
        add(name, always=True)
    for name in (given.lists / "nus_wide/TagList1k.txt").read_text().split():
        if not rules.is_unfit(name):
            add(name)

    def frequency(word: str) -> int:
        return max(rank.get(part, len(rank)) for part in word.split("_"))

    for name in open_images(given.lists / "open_images"):
        usual = " " not in name or frequency(name.replace(" ", "_")) < LEAST_NAME
        if usual and rules.is_named(name) and not rules.is_unfit(name):
            add(name)
    ordered = sorted((word for word in net.senses if "-" not in word), key=lambda word: (frequency(word), word))
    singles = [word for word in ordered if "_" not in word and frequency(word) < LEAST_WORD]
    phrases = [word for word in ordered if "_" in word and rules.is_kind_of_last_word(word)]
    for word in (*singles, *phrases):
        if len(names) == SIZE:
            break
        if len(word) > 2 and word[0].isalpha() and rules.is_visible(word) and not rules.is_unfit(word):
            add(word.replace("_", " "))
    for lemmas in classes:
        for other in lemmas[1:]:
            if normalise_phrase(other) not in taken and not rules.is_unfit(other):
                spell(taken[normalise_phrase(lemmas[0])], other)
    notice = "# Made by vocabulary.py. Nouns: WordNet 3.0, Copyright 2006 by Princeton University; LICENSE."
    sys.stdout.write("\n".join([notice, *("\t".join((name, *aliases)) for name, aliases in names.items())]) + "\n")
    sys.stderr.write(f"{len(names)} words, {sum(map(len, names.values()))} aliases\n")


if __name__ == "__main__":
    main()
