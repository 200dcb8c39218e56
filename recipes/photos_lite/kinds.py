"""Make imagenet_kinds.tsv: what each ImageNet-1k class is a kind of, by WordNet 3.0 (`Siamese cat`: domestic cat, cat).

  python kinds.py WORDNET > src/tagprism/training/imagenet_kinds.tsv

WORDNET as in vocabulary.py. A line a class, in the classifier's order: `LEVELS` levels upwards, tab between them, the
first `NAMES` names of each synset.
"""

from __future__ import annotations

import sys
from pathlib import Path

from timm.data.imagenet_info import ImageNetInfo
from vocabulary import read_wordnet

LEVELS, NAMES = 3, 2

net, info = read_wordnet(Path(sys.argv[1])), ImageNetInfo()
notice = "# Made by recipes/photos_lite/kinds.py. WordNet 3.0, Copyright 2006 by Princeton University; .LICENSE."
lines = [notice]
for index in range(1000):
    level, known, levels = [int(info.index_to_label_name(index)[1:])], set[int](), []
    for _ in range(LEVELS):
        level = [up for up in dict.fromkeys(up for one in level for up in net.parents[one]) if up not in known]
        known |= set(level)
        levels.append(", ".join(name.replace("_", " ") for one in level for name in net.words[one][:NAMES]))
    lines.append("\t".join(levels).rstrip("\t"))
sys.stdout.write("\n".join(lines) + "\n")
