"""The command line: which commands there are. Each declares its options and imports what it needs when it runs."""

from __future__ import annotations

import sys
from copy import copy
from typing import Annotated

import typer

import tagprism
from tagprism.app import console
from tagprism.app.commands import (
    compare,
    data,
    demo,
    doctor,
    evaluate,
    export,
    import_official,
    index,
    keywords,
    labels,
    learn,
    models,
    search,
    serve,
    tag,
    train,
    undo,
)
from tagprism.files import config_file

app = typer.Typer(
    name="tagprism",
    help="Tag and find pictures with your own words, also words no model was trained on.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(labels.app, name="labels")
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
app.add_typer(keywords.app, name="keywords")


def _version(asked: bool) -> None:
    if asked:
        console.write(f"tagprism {tagprism.__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Tag and find pictures with your own words, also words no model was trained on."""
    if _has_config():  # most people have none, and its checks take a while to load
        from tagprism.app.config import defaults_of

        context.default_map = defaults_of(context.invoked_subcommand)


def _has_config() -> bool:
    """Whether there is a file of defaults, or something in its stead of which `read_config` says why it is none."""
    try:
        config_file().stat()
    except OSError as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return True


for _one in (train, evaluate, compare, import_official, tag, index, search, serve, learn, undo, export, demo, doctor):
    _name = _one.__name__.rpartition(".")[2]  # each has a function of its own name
    app.command(_name.replace("_", "-"))(getattr(_one, _name))


def main() -> None:
    """Entry point: run the command line and exit with its code."""
    console.open_closed_streams()
    console.guard()
    sys.exit(console.run(lambda: with_one_command(sys.argv[1:])(standalone_mode=False)))


def with_one_command(arguments: list[str]) -> typer.Typer:
    """The application with the one command that arguments begin with, as to build the options of all takes a while.

    Where they begin with none, as when help or completion is asked for, it is the whole one.
    """
    one, asked = copy(app), arguments[:1]
    one.registered_commands = [its for its in app.registered_commands if its.name in asked]
    one.registered_groups = [its for its in app.registered_groups if its.name in asked]
    return one if one.registered_commands or one.registered_groups else app
