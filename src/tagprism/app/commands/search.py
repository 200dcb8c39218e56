"""`tagprism search`."""

from __future__ import annotations

import json
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from rich.text import Text

from tagprism.app import console
from tagprism.errors import InputError
from tagprism.files import write_text
from tagprism.labels.vocabulary import Vocabulary
from tagprism.search.collection import Collection, open_collection
from tagprism.search.find import Found, Results, find
from tagprism.search.marks import kept_marks
from tagprism.search.query import parse
from tagprism.search.query_tree import Query, labels_of, show
from tagprism.search.similar import example_of

Format = Literal["table", "jsonl", "html"]
_LEAST_LETTERS, _ALIKE = 5, 0.88  # of a word that is taken for another one: shorter ones are like too many
_WORTH_SAYING = 0.99  # recall of an index below which an answer comes with a remark


def search(
    where: str,
    query: str | None,
    like: str | None,
    limit: int,
    format: Format | None,
    out: Path | None,
    neighbours: int,
    model: str | None,
    quiet: bool,
) -> int:
    """Find and print; finding nothing is no error."""
    format = format or _format_for(out)
    if out is not None and format == "table":
        raise InputError("a table is for the terminal.", where="--out", remedy="Use --format jsonl or html.")
    tree = parse(query) if query is not None else None  # an error of the query comes before the model is loaded
    collection = open_collection(where, model=model)
    try:
        results = _found(collection, tree, like, limit, neighbours)
        text = _text(results, format, _title(tree, like), where)
        if out is not None:
            write_text(out, text)
            console.say(f"{len(results.found):,} pictures: {out}", quiet=quiet)
        else:
            sys.stdout.write(text)
        _remark(results, tree, collection, quiet=quiet)
    finally:
        collection.close()
    return console.OK


def _found(collection: Collection, tree: Query | None, like: str | None, limit: int, neighbours: int) -> Results:
    example = example_of(collection, like) if like is not None else None
    marks = kept_marks(collection.where)
    return find(collection, tree, limit, like=example, marks=marks, neighbours=neighbours)


def _format_for(out: Path | None) -> Format:
    if out is None:
        return "table"
    return "html" if out.suffix.lower() in (".html", ".htm") else "jsonl"


def _title(tree: Query | None, like: str | None) -> str:
    parts = [show(tree)] if tree is not None else []
    return ", ".join([*parts, f"like {Path(like).name}"] if like is not None else parts)


def _remark(results: Results, tree: Query | None, collection: Collection, *, quiet: bool) -> None:
    """What there is to know of the answer, on stderr."""
    if not results.found:
        console.say("no picture matches.", quiet=quiet)
    recall = collection.index.info().recall
    if recall < _WORTH_SAYING:
        console.say(f"this index is approximate: it finds {100 * recall:.1f} % of the best.", quiet=quiet)
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
    if len(label) < _LEAST_LETTERS or vocabulary.find(label) is not None:
        return None
    return next(iter(get_close_matches(label.lower(), vocabulary.names, 1, _ALIKE)), None)


def _text(results: Results, format: Format, title: str, where: str) -> str:
    if format == "html":
        from tagprism.app.gallery import gallery

        return gallery(title, where, results)
    if format == "jsonl":
        return "".join(json.dumps(_json(one)) + "\n" for one in results.found)  # ASCII: any bytes in a name survive
    return _table(results.found)


def _json(found: Found) -> dict[str, Any]:
    picture = found.picture
    return {
        "path": picture.path,
        "score": found.score,
        "labels": [
            {"label": tag.label, "match": chance, "score": tag.score, "probability": tag.probability}
            for tag, chance in zip(found.tags, found.chances, strict=True)
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
    with console.data.capture() as captured:
        console.data.print(Text("match  picture", "bold"), soft_wrap=True)
        for one in found:
            line = Text.assemble((f"{_match(one.score):<5}", "cyan"), "  ", console.printable(one.picture.path))
            for tag, chance in zip(one.tags, one.chances, strict=True):
                line.append(f"  {console.printable(tag.label)} {_match(chance)}", "dim")
            console.data.print(line, soft_wrap=True)
    return captured.get()


def _match(value: float) -> str:
    """A match in at most five characters, also a tiny one."""
    return f"{value:.3f}" if value >= 0.0005 else f"{value:.0e}"
