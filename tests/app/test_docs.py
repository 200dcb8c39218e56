"""The documents name every recipe setting, and only files, settings, commands and options that there are.

That links lead somewhere is checked by `make docs`.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tagprism.app.cli import app
from tagprism.evaluation.published import Entry, published
from tagprism.labels.space_part import SpacePart
from tagprism.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
COMMAND_LINE = typer.main.get_command(app)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and default of every setting, those of one part of the label space included."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field.default
    if model is Recipe:
        yield from settings(SpacePart, "labels.parts.")


def shown(default: Any) -> str:
    """A default as the table writes it."""
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, tuple):
        assert default == (SpacePart(encoder="minilm"),)
        return '`[{ encoder = "minilm" }]`'
    return f"`{'absent' if default is None else json.dumps(default)}`"


def commands(text: str) -> Iterator[list[str]]:
    """The words of every `tagprism ...` that a page shows, in blocks and in sentences."""
    blocks = re.findall(r"^ *```(?:sh)?\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").split("\n")]
    lines += re.findall(r"`(tagprism [^`]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))
    for line in lines:
        found = re.match(r"(?:\$ |\w+=\S+ )*(?:\.venv/bin/)?tagprism ([a-z-].+)", line.strip())
        if found is not None:
            yield shlex.split(found[1].replace("'s ", " "), comments=True)


def test_recipes_page_has_exactly_the_settings_and_their_defaults() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \| \S", TEXTS[DOCS / "recipes.md"], re.MULTILINE)
    assert sorted(rows) == sorted((name, shown(default)) for name, default in settings(Recipe))


def test_the_published_numbers_are_also_found_in_the_documents() -> None:
    entries = tomllib.loads((DOCS / "published.toml").read_text(encoding="utf-8"))["entry"]
    assert tuple(Entry.model_validate(entry) for entry in entries) == published()


@every_page
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.(?:py|toml|json|md))`", TEXTS[page])
    elsewhere = {
        "RUN/recipe.toml",
        "RUN/split.json",
        "benchmarks/untried_end_to_end.py",
    }  # of a user's run, and of an older commit
    missing = [
        name
        for name in sorted({*named} - elsewhere)
        if not (ROOT / name).is_file() and not (ROOT / "src/tagprism" / name).is_file()
    ]
    assert not missing


@every_page
def test_settings_that_a_page_names_exist(page: Path) -> None:
    if page.name == "CHANGELOG.md":  # it has the old names too
        return
    known = {name for name, _ in settings(Recipe)}
    tables = "|".join(sorted({name.split(".")[0] for name in known if "." in name}))
    named = re.findall(rf"(?<![\w./-])((?:{tables})\.[a-z_]+)\b(?![\w./(])", TEXTS[page])
    files = {"model.onnx", "labels.json", "calibration.safetensors"}
    assert sorted({*named} - known - files) == []


@every_page
def test_commands_that_a_page_shows_exist_with_their_options(page: Path) -> None:
    wrong = []
    for words in commands(TEXTS[page]):
        command: Any = COMMAND_LINE
        rest = list(words)
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            name = rest.pop(0).rstrip(".,:")
            command = command.commands.get(name)
            if command is None:
                break
        if command is None:
            wrong.append(" ".join(words))
            continue
        options = {one for param in command.params for one in (*param.opts, *param.secondary_opts)} | {"--help", "-h"}
        asked = {word.strip("[],").partition("=")[0] for word in rest if re.match(r"\[?--?[a-z]", word)}
        wrong += [f"{' '.join(words)}: {option}" for option in sorted(asked - options)]
    assert not wrong


def test_what_help_texts_have_in_brackets_is_shown() -> None:
    def texts(command: Any) -> Iterator[str]:
        yield from (param.help for param in command.params if getattr(param, "help", None))
        for inner in getattr(command, "commands", {}).values():
            yield from texts(inner)

    eaten = [text for text in texts(COMMAND_LINE) if re.search(r"(?<!\\)\[[a-z#/@]", text)]  # rich takes it for markup
    assert eaten == []


def test_pages_that_the_code_names_exist() -> None:
    named = [
        (file, name)
        for place in ("src", "recipes", "benchmarks", "tests", "packages")
        for file in (ROOT / place).rglob("*")
        if file.suffix in {".py", ".toml", ".md"} and file != Path(__file__)
        for name in re.findall(r"\bdocs/\w+\.\w+", file.read_text(encoding="utf-8"))
    ]
    assert [(str(file), name) for file, name in named if not (ROOT / name).is_file()] == []


def test_every_page_is_in_the_list_of_the_site() -> None:
    listed = re.search(r"PAGES = \{(.*?)\n\}", (DOCS / "conf.py").read_text(encoding="utf-8"), re.DOTALL)
    assert listed is not None
    names = {name.removeprefix("/") for name in re.findall(r'"(/?\w+)"(?!:)', listed[1])}
    assert names | {"README"} == {page.stem for page in PAGES}


def test_a_package_index_gets_the_readme_with_absolute_links() -> None:
    pytest.importorskip("hatchling", reason="a build needs it")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = "![a](docs/a.png) [b](docs/b.md#c) [d](https://e.example/f) [g](#h)"
    assert module.absolute(text, "https://host.example/me/tagprism/", "v1") == (
        "![a](https://host.example/me/tagprism/raw/v1/docs/a.png) "
        "[b](https://host.example/me/tagprism/blob/v1/docs/b.md#c) [d](https://e.example/f) [g](#h)"
    )
    readme = module.absolute(TEXTS[ROOT / "README.md"], "https://host.example", "v1")
    assert not re.findall(r"\]\((?!https:)", readme)
