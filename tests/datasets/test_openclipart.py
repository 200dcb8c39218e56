"""Open Clip Art: a small copy of its layout, fetching without a network, and the committed split on real data."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagprism.datasets import debian_packages
from tagprism.datasets import openclipart as module
from tagprism.datasets import openclipart as source
from tagprism.datasets.compact import FilesBelow, Ragged
from tagprism.datasets.near_duplicates import drawing_name, near_duplicates
from tagprism.datasets.openclipart import (
    PARTS,
    UNSEEN_LABELS,
    Drawing,
    default_openclipart_split,
    draw_openclipart_split,
    open_openclipart,
    read_drawings,
    read_svg_metadata,
)
from tagprism.datasets.registry import default_split, open_dataset
from tagprism.datasets.splits import shared_labels
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError, MachineError

SVG = """<?xml version="1.0"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.0//EN" "http://www.w3.org/TR/2001/REC-SVG-20010904/DTD/svg10.dtd">
<svg xmlns="http://www.w3.org/2000/svg"><metadata>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:subject><rdf:Bag>{}</rdf:Bag></dc:subject><dc:creator><Agent><dc:title>Jane  Doe</dc:title></Agent></dc:creator>
</rdf:RDF></metadata><path d="M0 0"/></svg>"""


def svg(*keywords: str) -> str:
    return SVG.format("".join(f"<rdf:li>{keyword}</rdf:li>" for keyword in keywords))


def add(root: Path, key: str, *keywords: str, size: tuple[int, int] = (8, 6)) -> None:
    for part in ("png", "svg"):
        (root / part / key).parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(key) + sum(map(ord, key))).integers(
        0, 256, (size[1], size[0], 3), dtype=np.uint8
    )
    Image.fromarray(values).save(root / "png" / key)
    (root / "svg" / key).with_suffix(".svg").write_text(svg(*keywords))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Ten dogs, nine of them good, beside everything that is left out."""
    for number in range(8):
        add(tmp_path, f"animals/dog{number}0{number}.png", "dog", "unsorted")
    add(tmp_path, "animals/cat.png", "cat", "dogs")
    add(tmp_path, "animals/rare.png", "axolotl")
    add(tmp_path, "shapes/star.png", "dog")
    add(tmp_path, "computer/icons/flat/a.png", "dog")
    add(tmp_path, "animals/no_svg.png", "dog")
    (tmp_path / "svg/animals/no_svg.svg").unlink()
    (tmp_path / "png/animals/link.png").symlink_to("dog000.png")
    (tmp_path / "svg/animals/link.svg").symlink_to("dog000.svg")
    (tmp_path / "png/animals/notes.txt").write_text("not a drawing")
    return tmp_path


def test_layout_is_read_and_the_rest_left_out(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = open_openclipart(small)
    assert table.labels == ("dog",)
    assert table.keys == ("animals/cat.png", *(f"animals/dog{number}0{number}.png" for number in range(8)))
    assert (table.targets(range(9), ["dog"]) == 1).all()
    assert all(path.is_file() for path in table.files)
    monkeypatch.setattr(module, "MAX_PIXELS", 47)
    assert list(read_drawings(small)) == []


def test_metadata_of_an_svg() -> None:
    assert read_svg_metadata(svg("dog ", "  two\n words").encode()) == (("dog", "two words"), ("Jane Doe",))
    assert read_svg_metadata(svg("dog").replace("<rdf:Bag><rdf:li>", "").replace("</rdf:li></rdf:Bag>", "").encode())[
        0
    ] == ("dog",)
    assert read_svg_metadata(b"<svg/>") == ((), ())
    assert read_svg_metadata(svg("dog").encode()[:300]) == ((), ())
    assert read_svg_metadata(b"") == ((), ())


def test_what_follows_the_metadata_is_not_read() -> None:
    assert read_svg_metadata(svg("dog").replace("<path", " " * 70_000 + "<broken <").encode())[0] == ("dog",)


def test_entities_are_never_expanded() -> None:
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "dog"}">' for i in range(12))
    bomb = svg("&e11;").replace('"http://www.w3.org/TR/2001/REC-SVG-20010904/DTD/svg10.dtd">', f'"x" [{entities}]>')
    assert read_svg_metadata(bomb.encode()) == ((), ())


def test_folder_is_named_installed_or_cached(
    small: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TAGPRISM_OPENCLIPART", raising=False)
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(source, "_INSTALLED", Path("/nowhere/openclipart"))
    assert source.find_openclipart() is None
    cached = source.cache_dir() / "openclipart/nowhere/openclipart"
    for part in ("png", "svg"):
        (cached / part).mkdir(parents=True)
    assert source.find_openclipart() == cached
    assert source.fetch_openclipart() == cached
    monkeypatch.setattr(source, "_INSTALLED", small)
    assert source.find_openclipart() == small
    monkeypatch.setenv("TAGPRISM_OPENCLIPART", str(cached))
    assert source.find_openclipart() == cached
    monkeypatch.setenv("TAGPRISM_OPENCLIPART", str(small / "png"))
    with pytest.raises(InputError, match="must hold png/ and svg/"):
        source.find_openclipart()


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A machine without Open Clip Art whose programs are recorded instead of run; the list of what was called."""
    monkeypatch.delenv("TAGPRISM_OPENCLIPART", raising=False)
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(source, "_INSTALLED", Path("/nowhere/openclipart"))
    monkeypatch.setattr(debian_packages.shutil, "which", lambda name: f"/usr/bin/{name}")
    return []


def answer(
    monkeypatch: pytest.MonkeyPatch,
    calls: list[list[str]],
    *,
    lists: bool = True,
    network: bool = True,
    holds: str = "svg",
) -> None:
    """Play apt-get and dpkg-deb."""

    def run(command: list[str], *, cwd: Path, **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if command[0] == "dpkg-deb":
            for part in ("png", holds):
                Path(command[3], "nowhere/openclipart", part).mkdir(parents=True, exist_ok=True)
        elif not network or not (lists or "-o" in command):
            return subprocess.CompletedProcess(command, 100, "", "W: a remark\nE: Temporary failure resolving\n")
        elif "download" in command:
            for package in source.PACKAGES:
                (cwd / f"{package}_1%3a0.18_all.deb").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(debian_packages.subprocess, "run", run)


@pytest.mark.parametrize(("lists", "programs"), [(True, 3), (False, 5)])
def test_packages_are_fetched_without_root(
    bare: list[list[str]], monkeypatch: pytest.MonkeyPatch, lists: bool, programs: int
) -> None:
    answer(monkeypatch, bare, lists=lists)
    folder = source.fetch_openclipart()
    assert (folder / "png").is_dir()
    assert folder.is_relative_to(source.cache_dir())
    assert len(bare) == programs
    assert source.fetch_openclipart() == folder
    assert len(bare) == programs
    assert not [path for path in source.cache_dir().iterdir() if path.name.startswith(".")]


def test_no_network_no_debian_and_wrong_packages(bare: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, bare, network=False)
    with pytest.raises(MachineError, match=r"E: Temporary failure resolving.*--data tagged:DIR"):
        source.fetch_openclipart()
    answer(monkeypatch, bare, holds="other")
    with pytest.raises(MachineError, match="do not hold what they should"):
        source.fetch_openclipart()
    assert source.find_openclipart() is None
    monkeypatch.setattr(debian_packages.shutil, "which", lambda _: None)
    with pytest.raises(MachineError, match=r"this machine has no apt-get\. .*--data tagged:DIR"):
        open_dataset("openclipart")


def committed() -> dict[str, list[str]]:
    text = (resources.files("tagprism.datasets") / module.SPLIT_FILE).read_text(encoding="utf-8")
    split: dict[str, list[str]] = json.loads(text)
    return split


def test_committed_split_keeps_its_sides_apart() -> None:
    split = committed()
    assert len(split["unseen"]) == UNSEEN_LABELS
    assert len(split["seen"]) >= 120
    assert shared_labels(split["seen"], split["unseen"]) == []
    names = [*split["train"], *split["val"], *split["test"]]
    assert len(set(names)) == len(names)
    for part, share in PARTS.items():
        assert abs(len(split[part]) / len(names) - share) < 0.01


def toy(pictures: int = 600) -> tuple[ImageTable, dict[str, str]]:
    """Sixty labels on random drawings, in groups of one to three."""
    rng = np.random.default_rng(5)
    keys = tuple(f"{row:03}.png" for row in range(pictures))
    names = tuple(f"word{column}x" for column in range(60))
    rows = [sorted(rng.choice(60, size=rng.integers(1, 5), replace=False).tolist()) for _ in keys]
    empty = Ragged.from_rows([[]] * pictures)
    table = ImageTable("t", FilesBelow(Path(), keys), keys, names, Ragged.from_rows(rows), empty, "negative")
    return table, {key: keys[row - row % (1 + row % 3)] for row, key in enumerate(keys)}


def unevenness(table: ImageTable, parts: dict[str, list[str]]) -> float:
    """Mean distance, in drawings, of a label's number in a part from its share."""
    whole = table.label_counts()
    got = {part: (table.targets(table.rows_of(parts[part]), table.labels) == 1).sum(axis=0) for part in PARTS}
    return float(np.mean([np.abs(got[part] - share * whole) for part, share in PARTS.items()]))


def test_drawn_split_keeps_groups_together_and_gives_every_label_its_share() -> None:
    table, groups = toy()
    split = draw_openclipart_split(table, groups)
    part_of = {key: part for part in PARTS for key in getattr(split, part)}
    assert set(part_of) == set(table.keys)
    assert all(part_of[key] == part_of[first] for key, first in groups.items())
    assert len(split.unseen) == UNSEEN_LABELS
    assert (set(split.seen) | set(split.unseen)) == set(table.labels)
    ours = unevenness(table, {part: getattr(split, part) for part in PARTS})
    for seed in range(5):  # each group thrown into a part without a look at its labels
        thrown = {first: np.random.default_rng([seed, place]).random() for place, first in enumerate(groups.values())}
        blind: dict[str, list[str]] = {part: [] for part in PARTS}
        for key in table.keys:
            drawn = thrown[groups[key]]
            blind["train" if drawn < 0.6 else "val" if drawn < 0.7 else "test"].append(key)
        assert ours < unevenness(table, blind)
    assert draw_openclipart_split(table, groups) == split
    assert draw_openclipart_split(table, groups, seed=1).unseen != split.unseen


def test_near_duplicates_of_real_files(small: Path) -> None:
    shutil.copy(small / "png/animals/cat.png", small / "png/animals/twin.png")
    (small / "png/animals/broken.png").write_bytes((small / "png/animals/cat.png").read_bytes()[:80])
    Image.open(small / "png/animals/dog000.png").resize((16, 12), Image.Resampling.NEAREST).save(
        small / "png/animals/bigger.png"
    )
    keys = ("animals/bigger.png", "animals/broken.png", "animals/cat.png", "animals/dog000.png", "animals/twin.png")
    nothing = Ragged.from_rows([[]] * len(keys))
    table = ImageTable("t", FilesBelow(small / "png", keys), keys, (), nothing, nothing, "negative")
    groups = near_duplicates(table, [drawing_name(key, ()) for key in keys])
    assert groups == {
        "animals/bigger.png": "animals/bigger.png",
        "animals/cat.png": "animals/cat.png",
        "animals/dog000.png": "animals/bigger.png",
        "animals/twin.png": "animals/cat.png",
    }


def test_real_table(openclipart: tuple[ImageTable, tuple[Drawing, ...]]) -> None:
    table, drawings = openclipart
    assert len(table) == len(drawings) > 3000
    assert table.info()["pictures_without_positive"] == 0
    assert table.label_counts().min() >= module.LEAST_DRAWINGS
    assert not {"hash", "unsorted", "mapsym", "architetto francesco rollandin"} & set(table.labels)
    assert not [key for key in table.keys if key.startswith(module.LEFT_OUT)]


def test_real_default_split_leaves_every_label_something_to_learn_and_to_measure(
    openclipart: tuple[ImageTable, tuple[Drawing, ...]],
) -> None:
    table, _ = openclipart
    split = default_openclipart_split(table)
    assert default_split("openclipart", table) == split
    for part, labels in (("train", split.seen), ("test", split.unseen)):
        counts = (table.targets(table.rows_of(getattr(split, part)), labels) == 1).sum(axis=0)
        assert counts.min() >= 4


@pytest.mark.slow
def test_committed_split_is_what_its_command_draws(
    openclipart_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decodes all drawings (about a minute), so it also shows that each of them can be decoded."""
    monkeypatch.setenv("TAGPRISM_OPENCLIPART", str(openclipart_folder))
    monkeypatch.setattr(sys, "argv", ["openclipart", str(tmp_path / "split.json")])
    monkeypatch.delitem(sys.modules, "tagprism.datasets.openclipart")
    runpy.run_module("tagprism.datasets.openclipart", run_name="__main__")
    drawn = json.loads((tmp_path / "split.json").read_text())
    assert drawn == committed()
