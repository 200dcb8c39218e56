"""Read tags by eye without knowing whose they are, and count what was read.

  python recipes/photos_lite/reading.py ask MODEL [MODEL ...] --judged JUDGED.toml --into FOLDER
  python recipes/photos_lite/reading.py count MODEL [MODEL ...] --judged JUDGED.toml

The photographs are those of `datasets/sample_photos.toml`, and with `--data DATA --split FILE#1` also 60 test photos of
the split, drawn by seed 0. `ask` draws sheets: each photograph with every tag that any of the models shows at the
default cut and that `JUDGED.toml` does not judge yet, in random order and without the model's name. The reader adds a
line a photograph to the file: `"NAME" = { main = [...], right = [...], wrong = [...] }`; `main` are the tags that name
the main subject. `count` prints a row a model, and stops at tags that were not judged.
"""

from __future__ import annotations

import argparse
import random
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import tagprism
from tagprism.datasets.registry import open_data
from tagprism.datasets.sample_photos import ALL_PACKAGES, fetch_sample_photos, sample_photos
from tagprism.images.decode import open_picture
from tagprism.tagging.tags import Tag

CUT, SURE, DRAWN, SEED = 0.5, 0.8, 60, 0
COLUMNS, ROWS, WIDTH, HEIGHT, LINE = 4, 3, 400, 260, 20


def photographs(data: str | None, split: str | None) -> dict[str, Path]:
    """Name -> file of all photographs that are read."""
    fetch_sample_photos(ALL_PACKAGES)
    found = {photo.name: photo.path for photo in sample_photos()}
    if data is not None:
        table, chosen = open_data(data, split)
        keys = sorted(random.Random(SEED).sample(sorted(chosen.test), DRAWN))
        files = dict(zip(table.keys, table.files, strict=True))
        found |= {f"data/{key}": Path(files[key]) for key in keys}
    return found


def shown(model: str, files: Sequence[Path]) -> list[tuple[Tag, ...]]:
    """The tags that the model shows of each photograph at the default cut."""
    rows = tagprism.load(model).tag(files, top_k=None, min_probability=CUT)
    return [row.tags for row in rows]


def ask(
    names: Sequence[str], files: Sequence[Path], tags: Sequence[set[str]], judged: Mapping[str, set[str]], into: Path
) -> None:
    """Draw sheets of what is still to be judged."""
    into.mkdir(parents=True, exist_ok=True)
    order, left = random.Random(SEED), []
    for name, file, shown_tags in zip(names, files, tags, strict=True):
        if open_tags := sorted(shown_tags - judged.get(name, set())):
            order.shuffle(open_tags)
            left.append((name, file, open_tags))
    order.shuffle(left)
    font = ImageFont.load_default(15)
    for page in range(0, len(left), COLUMNS * ROWS):
        sheet = Image.new("RGB", (COLUMNS * WIDTH, ROWS * (HEIGHT + 9 * LINE)), "white")
        draw = ImageDraw.Draw(sheet)
        for at, (name, file, open_tags) in enumerate(left[page : page + COLUMNS * ROWS]):
            x, y = at % COLUMNS * WIDTH, at // COLUMNS * (HEIGHT + 9 * LINE)
            picture = open_picture(file, draft_size=(WIDTH, HEIGHT))
            picture.thumbnail((WIDTH - 10, HEIGHT - 8))
            sheet.paste(picture, (x + 5, y + 4))
            lines, line = [name[-48:]], ""
            for tag in open_tags:
                line = f"{line}, {tag}" if line else tag
                if len(line) > 38:
                    lines, line = [*lines, line], ""
            for row, text in enumerate([*lines, line]):
                draw.text((x + 6, y + HEIGHT + row * LINE), text, fill="#555555" if row == 0 else "black", font=font)
        sheet.save(into / f"sheet_{page // (COLUMNS * ROWS) + 1:02d}.png")
    (into / "tags.toml").write_text(
        "".join(f'"{name}" = {{ main = [], right = [], wrong = {open_tags} }}\n' for name, _, open_tags in left),
        encoding="utf-8",
    )
    print(f"{len(left)} photographs have tags to be judged; sheets and a file to fill in are in {into}")


def count(
    model: str,
    names: Sequence[str],
    tags: Sequence[tuple[Tag, ...]],
    judgements: Mapping[str, Mapping[str, Sequence[str]]],
) -> str:
    """One row: shares of photographs, percent."""
    main = wrong = sure_wrong = none = right_tags = all_tags = 0
    for name, its in zip(names, tags, strict=True):
        said = judgements.get(name, {})
        bad = {tag.label for tag in its} & set(said.get("wrong", ()))
        main += any(tag.label in said.get("main", ()) for tag in its)
        wrong += bool(bad)
        sure_wrong += any(tag.label in bad and (tag.probability or 0) >= SURE for tag in its)
        none += not its
        right_tags, all_tags = right_tags + len(its) - len(bad), all_tags + len(its)
    shares = [f"{100 * part / len(names):5.1f}" for part in (main, wrong, sure_wrong, none)]
    return f"{model} | {' | '.join(shares)} | {100 * right_tags / max(all_tags, 1):5.1f} | {all_tags / len(names):.2f}"


def main() -> None:
    """Ask or count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ask", "count"))
    parser.add_argument("models", nargs="+")
    parser.add_argument("--judged", type=Path, required=True)
    parser.add_argument("--into", type=Path, default=Path("reading"))
    parser.add_argument("--data")
    parser.add_argument("--split")
    given = parser.parse_args()
    judgements = tomllib.loads(given.judged.read_text(encoding="utf-8")) if given.judged.exists() else {}
    judged = {name: {tag for tags in its.values() for tag in tags} for name, its in judgements.items()}
    photos = photographs(given.data, given.split)
    names, files = list(photos), list(photos.values())
    by_model = {model: shown(model, files) for model in given.models}
    every = [{tag.label for tags in by_model.values() for tag in tags[at]} for at in range(len(names))]
    if given.what == "ask":
        ask(names, files, every, judged, given.into)
        return
    missing = {name: its - judged.get(name, set()) for name, its in zip(names, every, strict=True)}
    lines = [f"  {name}: {', '.join(sorted(tags))}" for name, tags in missing.items() if tags]
    if lines:
        sys.exit("\n".join(["not judged yet:", *lines]))
    print("model | main subject named | a wrong tag | a wrong tag above 0.8 | no tag | tags right | tags a photograph")
    for title, chosen in (("packages", False), ("data", True)):
        at = [place for place, name in enumerate(names) if name.startswith("data/") == chosen]
        for model, tags in by_model.items() if at else ():
            row = count(model, [names[place] for place in at], [tags[place] for place in at], judgements)
            print(f"{len(at)} photographs of {title}: {row}")


if __name__ == "__main__":
    main()
