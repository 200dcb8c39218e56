"""Small folders in exactly the layouts of the official distributions of NUS-WIDE, COCO and Open Images.

`make_nus_wide(folder)`, `make_coco(folder)` and `make_open_images(folder)` write label files and pictures that
`nus-wide:FOLDER`, `coco:FOLDER` and `open-images:FOLDER` read, and return what they wrote. `pictures=0` leaves the
pictures out. Nothing official is copied: names of labels come from the lists in the package, the rest is made up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from tagprism.datasets import coco, open_images

NUS_CONCEPTS = ("animal", "beach", "cars", "sky", "tower", "zebra")
NUS_TAGS = ("nature", "sky", "car", "animals", "beach", "green", "macro", "tower", "night", "zoo")
"""`car` and `animals` are among the pairs that the protocol allows; `zebra` is no tag."""


@dataclass
class Tree:
    """What a tree says.

    Args:
        folder: its root.
        train: keys of the training pictures.
        test: keys of the test pictures.
        positive: labels that each picture has, by key.
        negative: labels that it surely has not.
    """

    folder: Path
    train: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    positive: dict[str, set[str]] = field(default_factory=dict)
    negative: dict[str, set[str]] = field(default_factory=dict)


def make_nus_wide(folder: Path, pictures: int = 24, *, seed: int = 0, whole: bool = False, flat: bool = False) -> Tree:
    """NUS-WIDE's layout with 10 tags, 6 concepts and some pictures, two thirds of them for training.

    Args:
        folder: to be made.
        pictures: how many.
        seed: of labels and pixels.
        whole: only the matrices over all pictures (`AllTags1k.txt`, `AllLabels/`), not those of the two parts.
        flat: pictures all in `images/`, not in `Flickr/CONCEPT/`.
    """
    random = np.random.default_rng(seed)
    names = [f"{NUS_CONCEPTS[n % 6]}\\{n:04}_{2124494179 + 7 * n}.jpg" for n in range(pictures)]
    tags = (random.random((pictures, len(NUS_TAGS))) < 0.3).astype(int)
    own = (random.random((pictures, len(NUS_CONCEPTS))) < 0.35).astype(int)
    tags81 = (random.random((pictures, len(NUS_CONCEPTS))) < 0.2).astype(int)
    tags[np.arange(pictures), np.arange(pictures) % len(NUS_TAGS)] = 1
    own[np.arange(pictures), np.arange(pictures) % len(NUS_CONCEPTS)] = 1
    rows = {"Train": [n for n in range(pictures) if n % 3], "Test": [n for n in range(pictures) if n % 3 == 0]}
    _lines(folder / "ImageList/Imagelist.txt", names)
    _lines(folder / "NUS_WID_Tags/TagList1k.txt", NUS_TAGS)
    _lines(folder / "ConceptsList/Concepts81.txt", NUS_CONCEPTS)
    for part, its in rows.items():
        _lines(folder / f"ImageList/{part}Imagelist.txt", [names[n] for n in its])
        if not whole:
            _matrix(folder / f"NUS_WID_Tags/{part}_Tags1k.dat", tags[its], "\t")
            _matrix(folder / f"NUS_WID_Tags/{part}_Tags81.txt", tags81[its], " ")
            for column, concept in enumerate(NUS_CONCEPTS):
                path = folder / f"Groundtruth/TrainTestLabels/Labels_{concept}_{part}.txt"
                _lines(path, [str(cell) for cell in own[its, column]])
    if whole:
        _matrix(folder / "NUS_WID_Tags/AllTags1k.txt", tags, "\t")
        _matrix(folder / "NUS_WID_Tags/AllTags81.txt", tags81, " ")
        for column, concept in enumerate(NUS_CONCEPTS):
            path = folder / f"Groundtruth/AllLabels/Labels_{concept}.txt"
            _lines(path, [str(cell) for cell in own[:, column]])
    tree = Tree(folder)
    for n, name in enumerate(names):
        key = name.replace("\\", "/")
        (tree.test if n % 3 == 0 else tree.train).append(key)
        seen = {tag for tag, cell in zip(NUS_TAGS, tags[n], strict=True) if cell} - set(NUS_CONCEPTS)
        tree.positive[key] = seen | {concept for concept, cell in zip(NUS_CONCEPTS, own[n], strict=True) if cell}
        _picture(folder / ("images" if flat else "Flickr") / (key.partition("/")[2] if flat else key), n, seed)
    (folder / ("images" if flat else "Flickr")).mkdir(exist_ok=True, parents=True)
    return tree


def make_coco(folder: Path, pictures: int = 36, *, year: int = 2014, seed: int = 0, published: int = 6) -> Tree:
    """COCO's layout with all 80 categories and some pictures, two thirds of them for training.

    Args:
        folder: to be made.
        pictures: how many.
        year: 2014 or 2017, which names files differently.
        seed: of objects and pixels.
        published: so many test pictures have the numbers and unseen labels of the published list.
    """
    random = np.random.default_rng(seed)
    others = [name for name in COCO_CATEGORIES if name not in (*coco.SEEN, *coco.UNSEEN)]
    numbers = {name: 1 + place + place // 9 for place, name in enumerate(COCO_CATEGORIES)}  # with gaps, as officially
    listed = list(coco.published_test().items())[:published]
    tree = Tree(folder)
    for part in ("train", "val"):
        images, annotations = [], []
        for n in [n for n in range(pictures) if (n % 3 == 0) == (part == "val")]:
            number, own = 900_000 + n, set(random.choice(coco.SEEN, int(random.integers(1, 4))).tolist())
            if part == "val" and n // 3 < len(listed):
                number, unseen = listed[n // 3]
                own |= set(unseen)
            elif part == "val" or n % 5 == 1:
                own |= set(random.choice(coco.UNSEEN, int(random.integers(1, 3))).tolist())
            own |= set(random.choice(others, 1).tolist()) if n % 4 == 0 else set()
            file = f"{number:012}.jpg" if year == 2017 else f"COCO_{part}{year}_{number:012}.jpg"
            images.append({"file_name": file, "height": 48, "width": 64, "id": number, "license": 1})
            for place, name in enumerate(sorted(own)):
                area = (500.5, 5000.0, 50_000.25)[(n + place) % 3]
                annotations.append(
                    {"segmentation": [[1.5, 2.0, 3.25, 4.0, 5.0, 6.5]], "area": area, "iscrowd": 0, "image_id": number}
                    | {"bbox": [1.0, 2.0, 30.5, 40.0], "category_id": numbers[name], "id": len(annotations) + 1}
                )
            key = f"{part}{year}/{file}"
            (tree.test if part == "val" else tree.train).append(key)
            tree.positive[key] = own
            _picture(folder / key, n, seed)
        images.append({"file_name": "nothing_in_it.jpg", "height": 48, "width": 64, "id": 7, "license": 1})
        categories = [{"supercategory": "thing", "id": at, "name": name} for name, at in numbers.items()]
        value = {"info": {"year": year}, "images": images, "licenses": [], "annotations": annotations}
        path = folder / f"annotations/instances_{part}{year}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value | {"categories": categories}))
    return tree


def make_open_images(folder: Path, pictures: int = 36, *, seed: int = 0, labels: int = 12) -> Tree:
    """Open Images V4's layout with some pictures: half for training, the rest for validation and test.

    Args:
        folder: to be made.
        pictures: how many.
        seed: of labels and pixels.
        labels: how many seen and how many unseen ones of the official lists are in use.
    """
    random = np.random.default_rng(seed)
    seen, unseen = (side[:labels] for side in open_images.official_labels())
    tree = Tree(folder)
    rows: dict[str, list[str]] = {part: [] for part in ("train", "validation", "test")}
    machine: dict[str, list[str]] = {part: [] for part in rows}
    for n in range(pictures):
        part = ("train", "train", "test", "validation", "train", "test")[n % 6]
        number = f"{(0x9E3779B97F4A7C15 * (n + 1)) % 2**64:016x}"
        pool = seen if part != "test" else (*seen, *unseen)
        key = f"{part}/{number}.jpg"
        tree.positive[key], tree.negative[key] = set(), set()
        drawn = {pool[n % len(pool)], *((pool[place]) for place in random.integers(0, len(pool), 5))}
        if part == "test":
            drawn.add(unseen[n % len(unseen)])
        for place, (mid, name) in enumerate(sorted(drawn)):
            yes = place % 3 != 2 or (mid, name) == unseen[n % len(unseen)]
            (tree.positive if yes else tree.negative)[key].add(name)
            rows[part].append(
                f"{number},{'verification' if place % 2 else 'crowdsource-verification'},{mid},{int(yes)}"
            )
            machine[part].append(f"{number},machine,{mid},{random.integers(5, 10) / 10}")
        machine[part].append(f"{number},machine,{seen[(n + 5) % len(seen)][0]},0.9")
        rows[part].append(f"{number},verification,/m/0other{n % 9},1")
        (tree.train if part == "train" else tree.test if part == "test" else []).append(key)
        _picture(folder / key, n, seed)
    for part in rows:
        for kind, its in (("human", rows), ("machine", machine)):
            lines = ["ImageID,Source,LabelName,Confidence", *its[part]]
            _text(folder / f"{part}/{part}-annotations-{kind}-imagelabels.csv", "\n".join(lines) + "\n")
    names = [f'{mid},"{name}"' if "," in name else f"{mid},{name}" for mid, name in (*seen, *unseen)]
    names += [f"/m/0other{n},Other {n}" for n in range(9)]
    _text(folder / "class-descriptions.csv", "\n".join(names) + "\n")
    return tree


def make_words(path: Path, labels: tuple[str, ...] | list[str], seed: int = 0) -> Path:
    """Word vectors in GloVe's text format for every word of some labels."""
    words = sorted({word for label in labels for word in label.lower().replace("/", " ").split()})
    random = np.random.default_rng(seed)
    rows = (f"{word} {' '.join(f'{value:.4f}' for value in random.standard_normal(16))}" for word in words)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


COCO_CATEGORIES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant"),
    *("bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard"),
    *("sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle"),
    *("wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli"),
    *("carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet"),
    *("tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink"),
    *("refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)


def _picture(path: Path, number: int, seed: int) -> None:
    pixels = np.random.default_rng([seed, number]).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize((64, 48)).save(path, quality=90)


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def _lines(path: Path, lines: list[str] | tuple[str, ...]) -> None:
    _text(path, "".join(f"{line}\r\n" for line in lines))


def _matrix(path: Path, cells: np.ndarray, separator: str) -> None:
    """With a separator at the end of every row, as officially."""
    _text(path, "".join("".join(f"{cell}{separator}" for cell in row) + "\n" for row in cells))
