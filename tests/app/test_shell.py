"""The shell around the commands: a file of defaults, closed streams, completion, and rows that others wrote."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from tagprism.app.cli import app, with_one_command
from tagprism.app.commands import index, keywords, search, serve, tag
from tagprism.app.config import Config, defaults_of, read_config
from tagprism.errors import InputError
from tests.app.conftest import Cli
from tests.command_line import tagprism
from tests.small_world import World

CAT = Path(__file__).parents[1] / "photos/chelsea.jpg"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAGPRISM_CONFIG", str(tmp_path / "config.toml"))
    return tmp_path / "config.toml"


def test_every_default_is_an_option_of_its_command() -> None:
    commands = {"tag": tag.tag, "index": index.index, "search": search.search, "serve": serve.serve}
    commands["keywords"] = keywords.write
    assert set(Config.model_fields) == commands.keys()
    for name, command in commands.items():
        section = type(getattr(Config(), name))
        assert set(section.model_fields) <= set(inspect.signature(command).parameters), name


def test_the_command_line_wins_over_the_file(cli: Cli, config: Path) -> None:
    (words := config.with_name("words.txt")).write_text("cat\nrocket\nsofa\n")
    config.write_text(f'[tag]\nlabels = "{words.as_posix()}"\ntop_k = 2\nformat = "csv"\nquiet = true\n')
    done = cli("tag", CAT)
    assert (done.code, done.err) == (0, "") and len(done.out.splitlines()) == 3
    done = cli("tag", CAT, "--top-k", "1", "--format", "jsonl")
    assert [one["label"] for one in json.loads(done.out)["tags"]] == ["cat"]


def test_a_command_is_built_alone_and_anything_else_builds_all() -> None:
    names = list(get_command(app).commands)
    assert {"search", "labels", "import-official"} <= set(names)
    assert [list(get_command(with_one_command([name, "tag"])).commands) for name in names] == [[name] for name in names]
    assert all(with_one_command(begin) is app for begin in ([], ["-h"], ["serch"], ["--version", "tag"]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tag]\ntopk = 3\n", ("`tag.topk`", "Extra inputs")),
        ("[train]\nlimit = 3\n", ("`train`", "Extra inputs")),
        ("[tag]\ntop_k = 0\n", ("`tag.top_k`", "greater than or equal to 1")),
        ('[tag]\ntop_k = "3"\n', ("`tag.top_k`", "valid integer")),
        ("[tag\n", ("cannot be read", "line 1")),
    ],
)
def test_what_the_file_gets_wrong_is_said_of_the_file(
    cli: Cli, config: Path, text: str, words: tuple[str, ...]
) -> None:
    config.write_text(text)
    cli("tag", CAT).refused("config.toml", *words)
    doctor = cli("doctor")
    assert doctor.code == 6 and words[0] in doctor.out.replace("\n", "")
    for command in ("train", "evaluate", "compare", "labels", None):
        assert defaults_of(command) == {}  # not even read
    with pytest.raises(InputError):
        defaults_of("index")


def test_a_name_that_is_too_long_is_said_of_it(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("a" * 300)
    for command in (("tag", CAT, "--model"), ("index", tmp_path, "--into"), ("labels", "show"), ("undo",)):
        cli(*command, long).refused("a" * 300, "too long")
    asked = cli("search", long, "cat")  # nothing was to be written
    asked.refused("the name is too long")
    assert "written" not in asked.err
    monkeypatch.setenv("TAGPRISM_CONFIG", str(long))
    cli("tag", CAT).refused("cannot be read", "too long", "Mend it")
    monkeypatch.setenv("TAGPRISM_CONFIG", str(CAT.absolute() / "config.toml"))  # as where the home is no folder
    assert cli("tag", CAT, "--quiet").code == 0


def test_doctor_shows_the_defaults(cli: Cli, config: Path) -> None:
    assert "nothing set" in cli("doctor").out
    config.write_text("[search]\nlimit = 7\n")
    assert 'search {"limit": 7}' in cli("doctor").out


def test_keywords_from_rows_with_a_default_model(cli: Cli, config: Path) -> None:
    config.write_text('[keywords]\nmodel = "photos-lite"\nsidecar = "photo.xmp"\n')
    rows = config.with_name("rows.jsonl")
    row = {"path": str(CAT), "tags": [{"label": "cat", "score": "1.5", "probability": "0.9", "vector": "0"}]}
    rows.write_text(json.dumps(row) + "\n")
    done = cli("keywords", "write", "--from", rows, "--dry-run", "--min-probability", "0.5")
    assert done.code == 0 and "+++" in done.out and "chelsea.xmp" in done.out and "+ cat" in done.out
    done = cli("keywords", "write", "--from", rows, "-m", "photos-lite", "--dry-run")
    assert done.code == 2 and "leave PHOTOS" in done.err
    assert cli("keywords", "show", CAT).code == 0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"path": "", "tags": []}, "names no file"),
        ({"path": "/", "tags": []}, "names no file"),
        ({"path": "a\0.jpg", "tags": []}, "names no file"),
        ({"path": 5, "tags": []}, "path: "),
        ({"path": "a.jpg"}, "neither tags nor an error"),
        ({"path": "a.jpg", "tags": [{"label": "x", "score": "high"}]}, "tags.0.score"),
        ({"path": "a.jpg", "tags": [{"label": "x", "score": float("nan")}]}, "tags.0.score"),
        ({"path": "a.jpg", "tags": [{"label": "", "score": 1}]}, "tags.0.label"),
        ({"path": "a.jpg", "tags": [{"label": "x", "score": 1, "probability": "2"}]}, "tags.0.probability"),
        (["a.jpg"], "valid dictionary"),
    ],
)
def test_rows_that_are_none_are_named(cli: Cli, tmp_path: Path, row: object, words: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    cli("keywords", "write", "--from", tmp_path / "rows.jsonl").refused(
        "rows.jsonl, line 1: is not a row of tags", words
    )


@pytest.mark.parametrize(
    "command",
    [
        *(("tag", ""), ("tag", CAT, ""), ("index", "", "--into", "i"), ("index", CAT, "--into", "")),
        *(("keywords", "write", ""), ("keywords", "show", ""), ("doctor", "--bundle", "photos-lite", "")),
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str | Path, ...]
) -> None:
    """As `tagprism index "$PHOTOS"` gives it where the variable is not set."""
    monkeypatch.chdir(tmp_path)
    done = cli(*command)
    assert done.code == 2 and "a path is empty" in done.err and list(tmp_path.iterdir()) == []


def test_what_is_left_out_is_said_also_where_nothing_is_left(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / "a.jpg").touch()
    for command in (("tag",), ("keywords", "write")):
        done = cli(*command, tmp_path, "--exclude", "*.jpg")
        done.refused("there are no pictures", "Left out: 1 folder @eaDir, 1 picture by patterns.", code=3)


def test_the_documents_list_every_default() -> None:
    rows = [
        line.split("|") for line in Path("docs/tag.md").read_text(encoding="utf-8").splitlines() if "`quiet` |" in line
    ]
    said = {row[1].strip(" `"): {name.strip(" `") for name in row[2].split(",")} for row in rows}
    assert said == {name: set(type(getattr(Config(), name)).model_fields) for name in Config.model_fields}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a shell of another system")
@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("tag PICTURE -q >&-", 6, "standard output: is closed"),
        ("tag PICTURE -q --format jsonl >&-", 6, "standard output: is closed"),
        ("tag PICTURE -q --out rows.jsonl >&-", 0, ""),
        ("--version >&-", 6, "standard output: is closed"),
        ("tag PICTURE --format jsonl 2>&-", 0, ""),
        ("tag - <&-", 3, "there are no pictures"),
        ("tag PICTURE >&- 2>&- <&-", 6, ""),
    ],
)
def test_closed_streams(tmp_path: Path, world: World, command: str, code: int, words: str) -> None:
    model = f" -m '{world.run}'" if command.startswith("tag") else ""
    line = f"'{sys.executable}' -m tagprism " + command.replace("PICTURE", f"'{CAT}'{model}")
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code and words in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.slow
def test_the_shell_completes_commands(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['tagprism']; from tagprism.app.cli import main; main()"
    asked = {"_TAGPRISM_COMPLETE": "complete_bash", "COMP_WORDS": "tagprism se", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True)
    assert done.stdout.split() == ["search", "serve"], done.stderr
    assert b"--install-completion" in tagprism("--help").stdout


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("index", "storage", "half"),
        ("tag", "format", "coco"),
        ("search", "format", "paths"),
        ("search", "format", "csv"),
    ],
)
def test_the_file_of_defaults_takes_what_the_command_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str, value: str
) -> None:
    file = tmp_path / "config.toml"
    monkeypatch.setenv("TAGPRISM_CONFIG", str(file))
    file.write_text(f'[{command}]\n{option} = "{value}"\n')
    assert read_config() == {command: {option: value}}
    file.write_text(f'[{command}]\n{option} = "float16"\n')
    with pytest.raises(InputError, match=f"{command}.{option}"):
        read_config()
