"""`tagprism search`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tagprism.app import console
from tagprism.app.options import ModelNow, Quiet
from tagprism.errors import InputError
from tagprism.files import write_text

if TYPE_CHECKING:
    from tagprism.labels.vocabulary import Vocabulary
    from tagprism.search.collection import Collection
    from tagprism.search.find import Found, Results
    from tagprism.search.query import Query

Format = Literal["table", "jsonl", "html"]
_LEAST_LETTERS, _ALIKE = 5, 0.88  # of a word that is taken for another one: shorter ones are like too many
_WORTH_SAYING = 0.99  # recall of an index below which an answer comes with a remark


def search(
    index: Annotated[str, typer.Argument(help="Index that `tagprism index` has made.")],
    query: Annotated[
        str | None, typer.Argument(help='Tags: "beach AND sunset NOT people taken:2024"; see docs/queries.md.')
    ] = None,
    like: Annotated[str | None, typer.Option(help="A picture to find others like, alone or with a query.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Pictures at most.")] = 20,
    format: Annotated[
        Format | None,
        typer.Option(help="What to print. \\[default: table; with --out by its ending, else jsonl]"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write, such as gallery.html.")] = None,
    neighbours: Annotated[
        int, typer.Option(min=0, help="Average scores over so many like pictures among the first; 10 is good.")
    ] = 0,
    exact: Annotated[
        bool, typer.Option("--exact", help="Look at every picture, also in an index of 50,000 or more.")
    ] = False,
    model: ModelNow = None,
    quiet: Quiet = False,
) -> int:
    """Find pictures of an index by tags, also ones no model was trained on, or by a picture like them."""
    from tagprism.search.collection import open_index
    from tagprism.search.parse import parse

    format = format or _format_for(out)
    if out is not None and format == "table":
        raise InputError("a table is for the terminal.", where="--out", remedy="Use --format jsonl or html.")
    tree = parse(query) if query is not None else None  # an error of the query comes before the model is loaded
    with open_index(index, model) as collection:
        results = collection.search(tree, limit, like, neighbours, exact)
        text = _text(results, format, tree, like, index)
        if out is not None:
            write_text(out, text)
            console.say(f"{len(results.found):,} pictures: {out}", quiet=quiet)
        else:
            sys.stdout.write(text)
        _remark(results, tree, collection, exact, quiet=quiet)
    return console.OK


def _format_for(out: Path | None) -> Format:
    if out is None:
        return "table"
    return "html" if out.suffix.lower() in (".html", ".htm") else "jsonl"


def _remark(results: Results, tree: Query | None, collection: Collection, exact: bool, *, quiet: bool) -> None:
    """What there is to know of the answer, on stderr."""
    from tagprism.search.query import labels_of

    if not results.found:
        console.say("no picture matches.", quiet=quiet)
    recall = collection.index.info().recall
    if recall < _WORTH_SAYING and not exact:
        console.say(
            f"this index is approximate: it finds {100 * recall:.1f} % of the best; --exact finds all.", quiet=quiet
        )
    for label in labels_of(tree) if tree is not None else ():
        joining = [word for word in label.split() if word in ("and", "or", "not")]
        if joining and collection.tagger.vocabulary.find(label) is None:
            word = joining[0]
            hint = f"`{label}` was taken as one tag; write {word.upper()} in capitals where it joins tags."
            console.say(hint, quiet=quiet)
        elif meant := _misspelt(label, collection.tagger.vocabulary):
            console.say(f"`{label}` is not in the vocabulary; is `{meant}` meant?", quiet=quiet)


def _misspelt(label: str, vocabulary: Vocabulary) -> str | None:
    """The word of the vocabulary that is written nearly as a label: encoders of word pieces take any letters."""
    from difflib import get_close_matches

    if len(label) < _LEAST_LETTERS or vocabulary.find(label) is not None:
        return None
    return next(iter(get_close_matches(label.lower(), vocabulary.names, 1, _ALIKE)), None)


def _text(results: Results, format: Format, tree: Query | None, like: str | None, where: str) -> str:
    if format == "html":
        from tagprism.app.gallery import gallery
        from tagprism.search.query import show

        title = [show(tree)] if tree is not None else []
        title += [f"like {Path(like).name}"] if like is not None else []
        return gallery(", ".join(title), where, results)
    if format == "jsonl":
        return "".join(json.dumps(_json(one)) + "\n" for one in results.found)  # ASCII: any bytes in a name survive
    return _table(results.found)


def _json(found: Found) -> dict[str, Any]:
    picture = found.picture
    return {
        "path": picture.path,
        "score": found.score,
        "labels": [
            {"label": tag.label, "match": match, "score": tag.score, "probability": tag.probability}
            for tag, match in zip(found.tags, found.label_matches, strict=True)
        ],
        "taken": picture.taken,
        "width": picture.width,
        "height": picture.height,
        "tags": [{"label": label, "probability": probability} for label, probability in picture.tags],
    }


def _table(found: tuple[Found, ...]) -> str:
    """A line a picture: its match, its path, and the match of each label."""
    if not found:
        return ""
    from rich.text import Text

    with console.data.capture() as captured:
        console.data.print(Text("match  picture", "bold"), soft_wrap=True)
        for one in found:
            line = Text.assemble((f"{_match(one.score):<5}", "cyan"), "  ", console.printable(one.picture.path))
            for tag, match in zip(one.tags, one.label_matches, strict=True):
                line.append(f"  {console.printable(tag.label)} {_match(match)}", "dim")
            console.data.print(line, soft_wrap=True)
    return captured.get()


def _match(value: float) -> str:
    """A match in at most five characters, also a tiny one."""
    return f"{value:.3f}" if value >= 0.0005 else f"{value:.0e}"
