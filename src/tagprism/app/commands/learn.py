"""`tagprism learn`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tagprism.app import console
from tagprism.app.options import ModelNow, Quiet
from tagprism.counted import counted
from tagprism.errors import NothingToDoError

if TYPE_CHECKING:
    from tagprism.search.learn import Lesson

_NAMED = 10  # labels with too few marks that are named


def learn(
    index: Annotated[str, typer.Argument(help="Index that `tagprism index` has made.")],
    forget: Annotated[bool, typer.Option("--forget", help="Take back what was learned; marks stay.")] = False,
    model: ModelNow = None,
    quiet: Quiet = False,
) -> int:
    """Learn from the marks of the page and the keywords of the files: better tags and searches in this index alone."""
    from tagprism.files import machine_errors
    from tagprism.search.collection import open_index
    from tagprism.search.learn import TOO_FEW, learn, learned_of
    from tagprism.search.marks import kept_marks
    from tagprism.search.stored import learned_file

    with open_index(index, model) as collection:
        console.warn(collection.unfinished)
        file = learned_file(collection.where)
        if forget:
            if not file.exists():
                raise NothingToDoError("nothing was learned.", where=index)
            with machine_errors(file):
                file.unlink()
            console.say(f"{index}: all is forgotten; marks and keywords stay.", quiet=quiet)
            return console.OK
        every = learn(collection, kept_marks(collection.where), console.progress(quiet))
        lessons = [one for one in every if one.result != TOO_FEW]
        if few := [one for one in every if one.result == TOO_FEW and one.added + one.rejected]:
            named = ", ".join(f"{one.label} {one.added:,}+{one.rejected:,}" for one in few[:_NAMED])
            more = f" and {len(few) - _NAMED:,} more" if len(few) > _NAMED else ""
            console.say(f"{TOO_FEW}. With and without: {console.printable(named)}{more}.", quiet=quiet)
        if not lessons:
            remedy = (
                "Accept, reject and add tags on the page of `tagprism serve`; three pictures of a label are the least."
            )
            raise NothingToDoError("there are too few marks and keywords to learn from.", where=index, remedy=remedy)
        learned = learned_of(lessons)
        if not learned.labels:
            for one in lessons:
                console.say(f"{console.printable(one.label)}: {one.result}.", quiet=quiet)
            before = " What was learned before stays; `--forget` takes it back." if file.exists() else ""
            what = "nothing was learned: by leaving one mark out, no label gains more than chance gives."
            raise NothingToDoError(what, where=index, remedy=f"Mark more pictures, also wrong tags.{before}")
        with machine_errors(file):
            learned.save(file, collection.tagger.bundle.digest)
    console.write(_table(lessons))
    gains = [one.gain for one in lessons if one.learned is not None and one.gain is not None]
    console.say(
        f"{len(gains):,} of {counted(len(lessons), 'label')} learned, "
        f"mean gain {sum(gains) / len(gains):.2f} (one left out). "
        f"Searches, tags and the page of this index use it; `tagprism learn {index} --forget` takes it back.",
        quiet=quiet,
    )
    return console.OK


def _table(lessons: list[Lesson]) -> str:
    """A line a label: its marks, the gain, and what it comes to; what was learned first."""
    from rich.text import Text

    width = max(5, *(len(console.printable(one.label)) for one in lessons))
    lines = [Text(f"{'label':<{width}}  {'with':>5}  {'without':>7}  {'gain':>6}", "bold")]
    for one in sorted(lessons, key=lambda lesson: lesson.learned is None):
        gain = "" if one.gain is None else f"{one.gain:+.2f}"
        line = Text(f"{console.printable(one.label):<{width}}  {one.added:>5,}  {one.rejected:>7,}  {gain:>6}  ")
        lines.append(line.append(one.result, "" if one.learned is not None else "dim"))
    return console.shown(lines)
