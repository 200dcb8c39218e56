"""`tagprism search`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from tagprism.app import console
from tagprism.app.options import Device, ModelNow, Quiet, by_ending
from tagprism.counted import counted
from tagprism.errors import InputError, PictureError

if TYPE_CHECKING:
    from tagprism.search.collection import Collection
    from tagprism.search.query import Query
    from tagprism.search.results import Found, Results

_FileFormat = Literal["jsonl", "csv", "paths", "html", "album", "parquet", "coco", "fiftyone", "label-studio"]
Format = Literal["table", _FileFormat]
_MARKED = ("jsonl", "csv", "parquet")  # forms whose rows say whether they are likely: these hold the others too
_ENDINGS: dict[str, Format] = {".html": "html", ".htm": "html", ".csv": "csv", ".parquet": "parquet", ".album": "album"}
_ENDINGS |= dict.fromkeys(("", ".jsonl", ".ndjson", ".json"), "jsonl")
_LIMIT = 20
_WORTH_SAYING = 0.99  # recall of an index below which an answer comes with a remark


def search(
    index: Annotated[str, typer.Argument(help="Index that `tagprism index` has made.")],
    query: Annotated[
        str | None, typer.Argument(help='Tags: "beach AND sunset NOT people taken:2024"; see docs/queries.md.')
    ] = None,
    like: Annotated[str | None, typer.Option(help="A picture to find others like, alone or with a query.")] = None,
    album: Annotated[Path | None, typer.Option(help="An album: search again for what it was saved for.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "--top-k", "-n", min=1, help="Pictures at most. \\[default: 20; with --duplicates all]"
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also pictures that are not likely, after a line.")] = False,
    format: Annotated[
        Format | None,
        typer.Option(help="What to print. \\[default: table; with --out by its ending, else jsonl]"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write, such as gallery.html or summer.album.")] = None,
    null: Annotated[bool, typer.Option("--null", "-0", help="Print paths with zero bytes between them.")] = False,
    spreadsheet: Annotated[
        bool, typer.Option(help="CSV for a spreadsheet: names and tags that would be formulas get an apostrophe.")
    ] = False,
    copy_to: Annotated[Path | None, typer.Option(help="Folder to copy the pictures into; replaces nothing.")] = None,
    link_to: Annotated[Path | None, typer.Option(help="Folder for links to the pictures; replaces nothing.")] = None,
    duplicates: Annotated[
        bool, typer.Option(help="Only pictures with copies or near-copies, in groups; without a query of all.")
    ] = False,
    neighbours: Annotated[
        int, typer.Option(min=0, help="Average scores over so many like pictures among the first; 10 is good.")
    ] = 0,
    exact: Annotated[
        bool, typer.Option("--exact", help="Look at every picture, also in an index of 50,000 or more.")
    ] = False,
    model: ModelNow = None,
    device: Device = None,
    quiet: Quiet = False,
) -> int:
    """Find pictures of an index by tags, also ones no model was trained on, or by a picture like them."""
    from tagprism.exchange import refuse_foreign
    from tagprism.search.album import Album
    from tagprism.search.collection import open_index
    from tagprism.search.output import OWN
    from tagprism.search.parse import parse
    from tagprism.search.words import unknown_words
    from tagprism.tagging.documents import DOCUMENTS, check_document

    format = format or ("paths" if null else _format_for(out))
    _check_options(format, out, null=null, both=copy_to is not None and link_to is not None)
    if format in DOCUMENTS:
        check_document(format)
    if out is not None:
        refuse_foreign(out, OWN.get(format))
    if album is not None:
        saved = Album.read(album)
        query, like = query or saved.query or None, like or saved.like
    tree = parse(query) if query is not None else None  # an error of the query comes before the model is loaded
    with open_index(index, model, progress=console.progress(quiet)) as collection:
        console.warn(unfinished := collection.unfinished)
        limit = limit or (max(1, collection.index.info().pictures) if duplicates else _LIMIT)
        groups: list[int] = []
        if duplicates:
            results, groups = _duplicates(collection, tree, like, limit, everything=everything, quiet=quiet)
        else:
            results = collection.search(tree, limit, like, neighbours, exact)
        if results.strangers and not everything:
            raise unknown_words(results, collection.tagger)
        found = results.found if everything or format in (*_MARKED, "table") else _likely(results.found)
        shown = _likely(found, everything)
        placed, skipped = _place(shown, copy_to, link_to, quiet=quiet)
        answer = _Answer(found, groups, placed, tree, like, index, everything, null, spreadsheet)
        _write(answer, format, collection, out, quiet=quiet)
        if results.found and not shown and (not found or copy_to or link_to):
            console.say("no picture is likely: --all gives the nearest.", quiet=quiet)
        _remark(results, collection, exact, quiet=quiet)
        if not duplicates and len(_likely(results.found)) == limit < collection.index.info().pictures:
            these = f"these are the first {limit:,}" if limit > 1 else "this is the first"
            more = "more may be likely" if results.found[-1].likely else "there may be more"
            console.say(f"{these}, and {more}: -n shows more.", quiet=quiet)
    code = console.report_skipped(skipped)
    return console.SKIPPED if unfinished and not found else code


class _Answer(NamedTuple):
    """What was found, and how it is to be written."""

    found: tuple[Found, ...]
    groups: list[int]
    placed: dict[int, str]
    tree: Query | None
    like: str | None
    where: str
    everything: bool
    null: bool
    spreadsheet: bool

    @property
    def query(self) -> str | None:
        """As text."""
        from tagprism.search.query import show

        return None if self.tree is None else show(self.tree)

    def rows(self) -> list[dict[str, Any]]:
        """As JSONL."""
        from tagprism.search.output import found_row

        rows = [found_row(one) for one in self.found]
        if self.groups:
            rows = [{**row, "group": group} for row, group in zip(rows, self.groups, strict=True)]
        if self.placed:
            ids = [one.picture.id for one in self.found]
            rows = [{**row, "placed": self.placed.get(one)} for row, one in zip(rows, ids, strict=True)]
        return rows


def _format_for(out: Path | None) -> Format:
    return "table" if out is None else by_ending(out, _ENDINGS)


def _check_options(format: Format, out: Path | None, *, null: bool, both: bool) -> None:
    if out is not None and format == "table":
        raise InputError("a table is for the terminal.", where="--out", remedy="Use --format jsonl or html.")
    if null and format != "paths":
        raise InputError("zero bytes stand between paths only.", where="--null", remedy="Use --format paths.")
    if both:
        raise InputError("pictures are copied or linked, not both.", remedy="Leave --copy-to or --link-to away.")
    if format == "parquet" and out is None and console.on_terminal():
        raise InputError("Parquet is no text for a terminal.", remedy="Add --out FILE.parquet.")


def _likely(found: tuple[Found, ...], everything: bool = False) -> tuple[Found, ...]:
    return tuple(one for one in found if everything or one.likely is not False)


def _duplicates(
    collection: Collection, tree: Query | None, like: str | None, limit: int, *, everything: bool, quiet: bool
) -> tuple[Results, list[int]]:
    """Copies and near-copies among what is found, in groups, and the number of each one's group."""
    from tagprism.search.duplicates import duplicates
    from tagprism.search.find import OwnTags, with_own
    from tagprism.search.marks import kept_marks
    from tagprism.search.results import Found, Results

    if tree is None and like is None:
        asked = Results(tuple(Found(picture, 1.0) for picture in collection.index.pictures()), exact=True)
    else:
        asked = collection.search(tree, limit, like)
    found = _likely(asked.found, everything)
    by_id = {one.picture.id: one for one in found}
    groups = duplicates([one.picture for one in found], progress=console.progress(quiet))
    several = [(by_id[picture.id], number) for number, its in enumerate(groups, start=1) for picture in its]
    own = OwnTags(collection, kept_marks(collection.where))
    shown = with_own([one for one, _ in several], own)
    results = Results(shown, exact=True, reading=asked.reading, strangers=asked.strangers)
    return results, [number for _, number in several]


def _place(
    found: tuple[Found, ...], copy_to: Path | None, link_to: Path | None, *, quiet: bool
) -> tuple[dict[int, str], list[tuple[str, str]]]:
    """Where pictures were copied or linked to, by id, and those that were not, each with its reason."""
    folder = copy_to or link_to
    if folder is None:
        return {}, []
    from tagprism.search.copies import copy_or_link

    where, skipped, new = {}, [], 0
    rows = copy_or_link((Path(one.picture.path) for one in found), folder, "copy" if copy_to else "link")
    with console.progress(quiet)("copying" if copy_to else "linking", len(found)) as advance:
        for one, placed in zip(found, rows, strict=True):
            advance(1)
            if isinstance(placed.target, PictureError):
                skipped.append((one.picture.path, placed.target.message))
            else:
                where[one.picture.id] = str(placed.target)
                new += placed.new
    there = f", {len(where) - new:,} were there already" if len(where) > new else ""
    console.say(f"{counted(new, 'picture')} {'copied' if copy_to else 'linked'} into {folder}{there}", quiet=quiet)
    return where, skipped


def _write(answer: _Answer, format: Format, collection: Collection, out: Path | None, *, quiet: bool) -> None:
    from tagprism.files import replaced_whole

    if format == "table":
        console.write(_table(answer))
        return
    data = _bytes(answer, format, collection)
    if out is None:
        console.write_bytes(data)
        return
    with replaced_whole(out) as beside:
        beside.write_bytes(data)
    console.say(f"{counted(len(answer.found), 'picture')}: {out}", quiet=quiet)


def _bytes(answer: _Answer, format: _FileFormat, collection: Collection) -> bytes:
    from tagprism.search.album import Album
    from tagprism.search.output import found_csv, found_paths
    from tagprism.tagging.documents import write_document

    if format == "paths":
        return found_paths(answer.found, null=answer.null)
    if format == "html":
        return _gallery(answer).encode()
    if format == "jsonl":  # ASCII: any bytes in a name survive
        return "".join(json.dumps(row) + "\n" for row in answer.rows()).encode()
    if format == "csv":
        return found_csv(answer.rows(), spreadsheet=answer.spreadsheet).encode()
    if format == "album":
        like = None if answer.like is None else str(Path(answer.like).absolute())
        album = Album.of(answer.query or "", like, [one.picture.path for one in answer.found])
        return album.model_dump_json(indent=2).encode() + b"\n"
    document = io.BytesIO()
    write_document(format, answer.rows(), document, Path(collection.settings.model).name)
    return document.getvalue()


def _remark(results: Results, collection: Collection, exact: bool, *, quiet: bool) -> None:
    """What there is to know of the answer, on stderr."""
    from tagprism.search.words import remarks

    if not results.found:
        console.say("no picture matches.", quiet=quiet)
    recall = collection.index.info().recall
    if recall is not None and recall < _WORTH_SAYING and not exact:
        finds = f"it finds {100 * recall:.1f} % of the best for one word"
        console.say(f"this index is approximate: {finds}; --exact finds all.", quiet=quiet)
    if results.reading is None:
        return
    for sentence in remarks(results.reading, collection.tagger, bool(results.found)):
        console.say(sentence, quiet=quiet)


def _gallery(answer: _Answer) -> str:
    from tagprism.app.gallery import gallery
    from tagprism.search.results import Results

    title = [answer.query] if answer.query is not None else []
    title += [f"like {Path(answer.like).name}"] if answer.like is not None else []
    return gallery(", ".join(title), answer.where, Results(answer.found, exact=True))


def _table(answer: _Answer) -> str:
    """A line a picture: its match, its path, the match of each label, what people tagged; likely ones first."""
    if not answer.found:
        return ""
    from rich.text import Text

    likely = _likely(answer.found)
    lines = [Text("match  picture", "bold")] if likely or answer.everything else []
    for position, one in enumerate(answer.found if answer.everything else likely):
        if position == len(likely):
            lines.append(Text(f"── {'less likely' if likely else 'none is likely; nearest first'} ──", "dim"))
        elif answer.groups and position and answer.groups[position] != answer.groups[position - 1]:
            lines.append(Text())
        lines.append(_line(one, answer.placed.get(one.picture.id)))
    if len(likely) < len(answer.found) and not answer.everything:
        more = "more are less likely" if likely else "none is likely"
        lines.append(Text(f"── {more}: --all shows them ──", "dim"))
    return console.shown(lines)


def _line(one: Found, placed: str | None) -> Any:
    from rich.text import Text

    line = Text.assemble((f"{_match(one.score):<5}", "cyan"), "  ", console.printable(one.picture.path))
    for tag, match in zip(one.tags, one.label_matches, strict=True):
        line.append(f"  {console.printable(tag.label)} {_match(match)}", "dim")
    if one.own:
        line.append(f"  yours: {console.printable(', '.join(one.own))}", "green")
    if placed is not None:
        line.append(f"  -> {console.printable(placed)}")
    return line


def _match(value: float) -> str:
    """A match in at most five characters, also a tiny one."""
    return f"{value:.3f}" if value >= 0.0005 else f"{value:.0e}"
