"""Escape sequences from every source of text: what is printed for people must not command the terminal.

Two ways out are looked at: what a command writes for another program, and what it writes on a terminal, where also rows
of data pass the door.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tagprism.bundle.card import CARD
from tagprism.bundle.config import CONFIG, VOCABULARY
from tagprism.files import digest_file
from tests.command_line import python, tagprism
from tests.small_world import World

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")

# Sets the clipboard, the title, the cursor; the one-byte form of CSI; a link; markup of rich; text from right to left.
ATTACK = "x\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x1b\\\x1b[2J\x9b31m\x1b]8;;http://evil\x1b\\[bold red][/]\u202ey"
OWN_STYLES = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[hl]|\x1b\[[0-9]*[AK]|\r")  # colours, the cursor of progress bars


def check(text: str) -> None:
    """Nothing in it commands a terminal, but for our own styles; and the attack is there to be seen."""
    left = re.sub(r"[\n\t]", "", OWN_STYLES.sub("", text))
    assert left.isprintable(), repr(text)
    assert "Traceback" not in text and "is a bug" not in text, text


# Many commands in one process, as a process takes longer to start than most of them.
PROGRAM = """
import json, sys
from tagprism.app import console
from tagprism.app.cli import app
console.guard()
for number, arguments in enumerate(json.loads(sys.argv[1])):
    console.run(lambda: app(arguments, standalone_mode=False))
    console.say(f"== {number}")
"""


def on_terminal(commands: list[list[str]]) -> list[str]:
    """What each command writes on a terminal."""
    master, slave = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True):
        os.close(slave)
        written = b""
        with os.fdopen(master, "rb", 0) as terminal, suppress(OSError):  # how Linux says that the other side has closed
            while block := terminal.read(65536):
                written += block
    parts = re.split(r"== \d+", written.decode(errors="backslashreplace"))
    assert len(parts) == len(commands) + 1, parts
    return parts[:-1]


def everywhere(*commands: tuple[str | Path, ...], shows: bool = True, data: bool = False) -> None:
    """Check commands on a terminal, and what they write for people without one.

    Args:
        commands: arguments of `tagprism`.
        shows: whether each must show the attack, made harmless.
        data: whether stdout is for programs, to the byte, where it is no terminal.
    """
    listed = [[os.fspath(word) for word in command] for command in commands]
    for command, seen in zip(listed, on_terminal(listed), strict=True):
        check(seen)
        assert not shows or "\\x1b]52" in re.sub(r"\s", "", seen), (command, seen)
    done = python(PROGRAM, json.dumps(listed))
    check(done.stderr.decode())
    if not data:
        check(done.stdout.decode())


@pytest.fixture
def bundle(world: World, tmp_path: Path) -> Path:
    """A bundle that says the attack wherever it says something."""
    folder = tmp_path / "bundle"
    shutil.copytree(world.run / "bundle", folder)
    words = load_file(folder / VOCABULARY)
    (folder / VOCABULARY).unlink()
    from safetensors import safe_open

    with safe_open(world.run / "bundle" / VOCABULARY, "np") as opened:
        about = {name: value.replace("circle", json.dumps(ATTACK)[1:-1]) for name, value in opened.metadata().items()}
    save_file(words, folder / VOCABULARY, about)
    (folder / CARD).write_text(f"# {ATTACK}\n")
    config = json.loads((folder / CONFIG).read_text().replace("circle", json.dumps(ATTACK)[1:-1]))
    config["name"], config["provenance"]["recipe"] = ATTACK, {ATTACK: ATTACK}
    config["digests"] = {name: digest_file(folder / name) for name in config["digests"]}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


@pytest.fixture
def photos(world: World, tmp_path: Path) -> Path:
    """A folder and pictures whose names are the attack."""
    folder = tmp_path / "photos" / ATTACK.replace("/", "_")
    folder.mkdir(parents=True)
    for number, picture in enumerate(world.pictures()[:2]):
        shutil.copy(picture, folder / f"{ATTACK.replace('/', '_')}{number}.png")
    (folder / f"{ATTACK.replace('/', '_')}.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return folder.parent


@pytest.mark.slow
def test_words_of_a_bundle(bundle: Path, world: World, tmp_path: Path) -> None:
    picture = world.pictures()[0]
    everywhere(
        ("tag", picture, "-m", bundle, "--top-k", "8"),
        ("labels", "show", bundle),
        ("keywords", "write", picture, "-m", bundle, "--dry-run", "--min-score", "-1000"),
    )
    everywhere(
        ("evaluate", bundle, *world.on(0)),
        ("export", bundle, "--into", tmp_path / "copy", "--photos", world.data / "images"),
        ("search", tmp_path, "red", "-m", bundle),
        shows=False,
    )
    rows = ("tag", picture, "-m", bundle, "--top-k", "8", "--format")
    everywhere((*rows, "jsonl"), shows=False)
    everywhere((*rows, "csv"), data=True)


CONFIGS: dict[str, Callable[[dict[str, object]], object]] = {
    "unknown key": lambda config: config.update({ATTACK: 1}),
    "wrong value": lambda config: config.update(precision=ATTACK),
    "wrong file": lambda config: config.update(digests={f"../{ATTACK}": "0" * 64}),
    "format": lambda config: config.update(format=ATTACK),
    "preprocess": lambda config: config.update(preprocess={ATTACK: ATTACK}),
}


@pytest.mark.slow
def test_a_config_that_cannot_be_used(bundle: Path, world: World, tmp_path: Path) -> None:
    whole, commands = json.loads((bundle / CONFIG).read_text()), []
    for number, spoil in enumerate(CONFIGS.values()):
        copy = tmp_path / str(number)
        shutil.copytree(bundle, copy)
        config = dict(whole)
        spoil(config)
        (copy / CONFIG).write_text(json.dumps(config))
        commands.append(("tag", world.pictures()[0], "-m", copy))
    everywhere(*commands, shows=False)


@pytest.mark.slow
def test_names_of_folders_and_pictures(photos: Path, world: World, tmp_path: Path) -> None:
    name = ATTACK.replace("/", "_")
    index = tmp_path / f"index{name}"
    everywhere(
        ("tag", photos, "-m", world.run),
        ("index", photos, "-m", world.run, "--into", index),
        ("index", photos, "--into", index, "--rebuild"),
        ("search", index, "red", "--all"),
        ("keywords", "write", photos, "-m", world.run, "--dry-run", "--min-score", "-1000"),
        ("doctor", photos, "--bundle", world.run),
        ("tag", photos / f"absent{name}"),
        ("tag", f"--{ATTACK}"),
        ("tag", photos, "--format", ATTACK),
        (ATTACK,),
    )
    everywhere(("search", index, "red", "--format", "html"), shows=False, data=True)
    everywhere(("keywords", "show", photos), shows=False)  # they have none


@pytest.mark.slow
def test_word_lists_and_recipes(world: World, tmp_path: Path) -> None:
    picture, words = world.pictures()[0], tmp_path / "words.txt"
    words.write_text(f"red\n{ATTACK}\n")
    quoted, text = json.dumps(ATTACK), world.recipe.read_text()
    recipes = [
        f"{quoted} = 1\n{text}",
        text.replace("[model]", f"[model]\n{quoted} = 1"),
        text.replace("epochs = 3", f"epochs = {quoted}"),
        text.replace("test_efficientnet", json.dumps(ATTACK)[1:-1]),
        f"\x1b]52;c;x {text}",
    ]
    everywhere(
        ("tag", picture, "-m", world.run, "--labels", words),
        ("labels", "check", words, "--encoder", f"file:{world.words}"),
    )
    commands: list[tuple[str | Path, ...]] = []
    for number, recipe in enumerate(recipes):
        file = tmp_path / f"{number}.toml"
        file.write_text(recipe)
        commands.append(("train", file, *world.on(0), "--out", tmp_path / "run"))
    commands.append(("train", world.recipe, *world.on(0), "--out", tmp_path / "run", "--set", f"{ATTACK}=1"))
    named = tmp_path / "named.toml"
    named.write_text(text.replace('name = "small"', f"name = {quoted}"))
    commands.append(("train", named, "--print-config"))
    for seen in on_terminal([[os.fspath(word) for word in command] for command in commands]):  # once: torch is slow
        check(seen)


@pytest.mark.slow
def test_what_an_index_says_of_itself(world: World, tmp_path: Path) -> None:
    index, commands = tmp_path / "photos.index", []
    assert tagprism("index", world.pictures()[0], "-m", world.run, "--into", index).returncode == 0
    whole = json.loads((index / "index.json").read_text())
    for number, key in enumerate((*whole, ATTACK)):
        copy = tmp_path / f"{number}.index"
        shutil.copytree(index, copy)
        (copy / "index.json").write_text(json.dumps(whole | {key: ATTACK}))
        commands += [("search", copy, "red"), ("index", "--into", copy)]
    everywhere(*commands, ("search", index, f"red AND {ATTACK}"), shows=False)


@pytest.mark.slow
def test_a_table_of_labels_and_a_split(world: World, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    text = (data / "labels.json").read_text()
    (data / "labels.json").write_text(text.replace('"circle"', json.dumps(ATTACK)))
    split = tmp_path / "split.json"
    split.write_text(json.dumps({ATTACK: [], "seen": [ATTACK]}))
    everywhere(
        ("data", "info", f"tagged:{data}"),
        ("data", "info", f"tagged:{data}", "--split", split),
        ("evaluate", world.run, "--data", f"tagged:{data}", "--split", f"{data}/splits.json#0"),
        ("data", "join", f"tagged:{data}", f"tagged:{world.data}", "--into", tmp_path / "both"),
        shows=False,
    )


def test_what_others_would_print_goes_through_the_door(capfd: pytest.CaptureFixture[str]) -> None:
    code = f"""
import logging, sys, threading, warnings
from tagprism.app import console
console.guard()
attack = {ATTACK!r}
warnings.warn(attack)
logging.getLogger(attack).warning(attack)
def fail(): raise ValueError(attack)
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""
    done = python(code)
    said = done.stderr.decode()
    assert done.returncode == 0 and said.count("\\x1b]52") == 3, said
    assert said.replace("\n", "").isprintable()
