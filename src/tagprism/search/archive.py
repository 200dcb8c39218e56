"""An index as one file, to back it up or to move it: written and read part by part, each with its digest.

The file is a ZIP archive. `index.json` says what is inside: the settings, and each part's name, size and SHA-256.
Records stand in it as the index keeps them; pictures, marks and keywords as lines of JSON. Nothing is unpacked under
its own name, and a part is read up to its stated size alone: a file that someone else made can harm nothing.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tagprism.bundle.names import lasting_name
from tagprism.bundle.record import Records
from tagprism.errors import InputError
from tagprism.exchange import refuse_foreign
from tagprism.files import digest_bytes, machine_errors, replaced_whole, write_json, write_text
from tagprism.progress import Progress, silent
from tagprism.search.collection import fitting_tagger, open_index, usually_asked
from tagprism.search.contract import Picture
from tagprism.search.create import exists, refuse_filled, update_lock
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.keyword_table import KeywordTable, kept_keywords
from tagprism.search.marks import Marks, kept_marks
from tagprism.search.record_file import Form
from tagprism.search.stored import (
    CATALOG,
    IMPORTING,
    LEARNED,
    MARKS,
    SETTINGS,
    Settings,
    as_json,
    catalog_file,
    from_json,
    is_address,
    marks_file,
)

_MANIFEST = "index.json"
_OWN = rb"\APK.*index\.json.{0,200}\Z"  # the manifest is the last part of the list at the end
_PAGE = 1000  # pictures, or lines, of a part
_LARGEST = 64 << 20  # bytes of a part of JSON
_TIME = (1980, 1, 1, 0, 0, 0)  # so that the same index gives the same file


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    size: Annotated[int, Field(ge=0)]
    sha256: str


class _Manifest(BaseModel):
    """What `index.json` in the archive says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tagprism_index: Literal[1] = 1
    settings: Settings
    pictures: Annotated[int, Field(ge=0)]
    marks: Annotated[int, Field(ge=0)]
    keywords: Annotated[int, Field(ge=0)]
    parts: tuple[_Part, ...]


def export_index(where: str, file: Path, *, progress: Progress = silent) -> int:
    """Write an index into one file, whole or not at all. A server may read the index meanwhile, nobody may update it.

    Args:
        where: folder of the index.
        file: what to write; an older export there is replaced.
        progress: told of every picture.

    Returns:
        How many pictures are in it.

    Raises:
        InputError: there is no index, it is a server's, or something else is there.
        MachineError: the index is being updated, or it cannot be read or the file not be written.
    """
    _refuse_address(where, "export")
    refuse_foreign(file, _OWN)
    with open_index(where) as collection, update_lock(where), replaced_whole(file) as beside:
        writer = _Writer(beside, collection.settings)
        with closing(writer.archive), progress("exporting pictures", collection.index.info().pictures) as advance:
            pages = collection.index.pictures()
            while page := list(islice(pages, _PAGE)):
                writer.put_pictures(page, collection.index.records([one.id for one in page]))
                advance(len(page))
            said = kept_marks(where) if marks_file(where).exists() else {}
            marks = [[digest, *one] for digest, its in said.items() for one in its.values()]
            writer.put_lines("marks", marks)
            writer.put_lines("keywords", keywords := kept_keywords(catalog_file(where)))
            if (learned := Path(where) / LEARNED).is_file():
                writer.put(LEARNED, learned.read_bytes())
            writer.end(len(marks), len(keywords))
        return writer.pictures


class _Writer:
    """Writes the parts of an archive, the manifest last."""

    def __init__(self, file: Path, settings: Settings) -> None:
        self.archive, self._settings = zipfile.ZipFile(file, "w"), settings
        self.pictures, self._parts = 0, list[_Part]()

    def put_pictures(self, pictures: list[Picture], records: Records) -> None:
        """A page of pictures."""
        number = self.pictures // _PAGE
        self.put(f"pictures/{number}.jsonl", _lines([{"id": one.id, **as_json(one)} for one in pictures]))
        form = Form(self._settings.shape, self._settings.storage)
        self.put(f"records/{number}.bin", form.encoded(records).tobytes(), packed=False)
        self.pictures += len(pictures)

    def put_lines(self, kind: str, rows: list[Any]) -> None:
        """Rows of something else, page by page."""
        for number in range(-(-len(rows) // _PAGE)):
            self.put(f"{kind}/{number}.jsonl", _lines(rows[number * _PAGE : (number + 1) * _PAGE]))

    def put(self, name: str, data: bytes, *, packed: bool = True) -> None:
        """A part."""
        self._write(name, data, packed=packed)
        self._parts.append(_Part(name=name, size=len(data), sha256=digest_bytes(data)))

    def _write(self, name: str, data: bytes, *, packed: bool = True) -> None:
        about = zipfile.ZipInfo(name, _TIME)
        about.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        self.archive.writestr(about, data)

    def end(self, marks: int, keywords: int) -> None:
        """Say what is inside."""
        inside = _Manifest(
            settings=self._settings, pictures=self.pictures, marks=marks, keywords=keywords, parts=tuple(self._parts)
        )
        self._write(_MANIFEST, inside.model_dump_json(indent=1, exclude_none=True).encode())


def _lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()  # ASCII, so that any file name survives


def import_index(file: Path, where: str, *, model: str | None = None, progress: Progress = silent) -> int:
    """Make an index of an exported file. Until the last part is checked and in it there is none.

    A run that is killed is continued by the same call.

    Args:
        file: what `export_index` has written.
        where: a folder that is absent or empty.
        model: where the model of the index is now, when it is no longer where it was.
        progress: told of every picture.

    Returns:
        How many pictures are in it.

    Raises:
        InputError: the file is no exported index or damaged, the folder holds something, or the model is not there.
        IndexMismatchError: what stands under the name of the model is another one.
        MachineError: it cannot be read or written.
    """
    _refuse_address(where, "import")
    if not file.is_file():
        raise InputError("is not there, or no file.", where=str(file), remedy="Name an exported index.")
    folder = Path(where)
    with _damage(file), machine_errors(file), zipfile.ZipFile(file) as archive:
        reader = _Reader(archive)
        settings = reader.inside.settings
        made_by = settings.model, settings.digest
        if model is not None:
            settings = settings.model_copy(update={"model": lasting_name(model)})
        tagger = fitting_tagger(str(file), settings.model, made_by, renewable=False)
        if tagger.bundle.shape != settings.shape:
            raise ValueError("its records are not of the model's shape")
        if exists(where):
            raise InputError("is an index already.", where=where, remedy="Name a new folder.")
        with update_lock(where):
            _fill(folder, reader, settings, usually_asked(tagger), progress)
    with open_index(where) as collection:
        collection.settle(progress)
        return collection.index.info().pictures


def _fill(
    folder: Path, reader: _Reader, settings: Settings, asked: Float32[np.ndarray, "q Q"], progress: Progress
) -> None:
    """Fill a folder, or go on where a killed run has come to; its settings come last."""
    noted, stamp = folder / IMPORTING, digest_bytes(reader.inside.model_dump_json().encode())
    if noted.is_file() and noted.read_text(encoding="utf-8") == stamp:
        index = EdgeIndex(folder, settings.shape, settings.storage)
    else:
        refuse_filled(folder)
        noted.unlink(missing_ok=True)
        index = EdgeIndex.create(folder, settings.shape, settings.storage)
        index.settle(asked)  # pictures then come to what is near for these
        write_text(noted, stamp)
    with closing(index), progress("importing pictures", reader.inside.pictures) as advance:
        for pictures, records in reader.pictures(Form(settings.shape, settings.storage)):
            if index.get([pictures[-1].id]) == [None]:  # a page is in it whole or not at all
                index.add(pictures, records)
            advance(len(pictures))
    with closing(Marks(folder / MARKS)) as marks:
        for digest, label, added in reader.lines("marks", reader.inside.marks):
            marks.put(_hex(digest), _text(label), bool(added))
    with closing(KeywordTable(folder / CATALOG)) as keywords:
        rows = reader.lines("keywords", reader.inside.keywords)
        while page := [(int(one), _text(stamp), [*map(_text, its)]) for one, stamp, its in islice(rows, _PAGE)]:
            keywords.put(page)
    if (learned := reader.beside(LEARNED)) is not None:
        with replaced_whole(folder / LEARNED) as beside:
            beside.write_bytes(learned)
    write_json(folder / SETTINGS, settings.values())
    noted.unlink()


class _Reader:
    """Reads the parts of an archive; what is not as the manifest says is a `ValueError`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = archive.namelist()
        if len(set(names)) < len(names) or _MANIFEST not in names:
            raise ValueError("it has no list of its parts, or a part twice")
        self.inside = _Manifest.model_validate_json(self._bytes(_MANIFEST, _LARGEST))
        self._parts = {part.name: part for part in self.inside.parts}

    def pictures(self, form: Form) -> Iterator[tuple[list[Picture], Records]]:
        """Pages of pictures and their records."""
        total = self.inside.pictures
        for number, start in enumerate(range(0, total, _PAGE)):
            count = min(_PAGE, total - start)
            data = self._part(f"records/{number}.bin", count * form.size)
            items = np.frombuffer(data, np.uint8).reshape(count, form.size)
            pictures = [_picture(row) for row in self._rows(f"pictures/{number}.jsonl")]
            if len(pictures) != count:
                raise ValueError(f"part {number} has other pictures than records")
            yield pictures, form.decoded(items)

    def lines(self, kind: str, total: int) -> Iterator[list[Any]]:
        """Rows of something else."""
        for number in range(-(-total // _PAGE)):
            yield from self._rows(f"{kind}/{number}.jsonl")

    def beside(self, name: str) -> bytes | None:
        """A file that is kept as it is."""
        return self._part(name, _LARGEST) if name in self._parts else None

    def _rows(self, name: str) -> list[Any]:
        rows: list[Any] = list(map(json.loads, self._part(name, _LARGEST).splitlines()))
        if len(rows) > _PAGE:
            raise ValueError(f"{name} is too long")
        return rows

    def _part(self, name: str, most: int) -> bytes:
        part = self._parts[name]
        data = self._bytes(name, min(most, part.size))
        if len(data) != part.size or digest_bytes(data) != part.sha256:
            raise ValueError(f"the digest of {name} is another one")
        return data

    def _bytes(self, name: str, most: int) -> bytes:
        about = self._archive.getinfo(name)
        if about.flag_bits & 1 or about.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is packed in another way")
        if about.file_size > most:
            raise ValueError(f"{name} is too large")
        with self._archive.open(about) as stream:
            return stream.read(most)


def _picture(values: dict[str, Any]) -> Picture:
    """A picture as it was written, with values of the kinds that they must have."""
    one = from_json(values.pop("id"), values)
    kinds: dict[str, type] = {"path": str, "digest": str, "taken_from": str, "camera": str, "kind": str}
    kinds |= dict.fromkeys(("id", "size", "modified", "width", "height", "metadata_version"), int)
    _hex(one.digest)
    known = (one.taken or "", one.rating or 0, *(one.location or ()))
    if any(type(getattr(one, name)) is not kind for name, kind in kinds.items()) or "\0" in one.path:
        raise ValueError("a picture has values of other kinds")
    if not isinstance(known[0], str) or not all(isinstance(number, int | float) for number in known[1:]):
        raise ValueError("a picture has values of other kinds")
    if any(not isinstance(tag, str) or not isinstance(by or 0.0, int | float) for tag, by in one.tags):
        raise ValueError("a picture has other tags")
    return one


def _hex(digest: Any) -> str:
    if not isinstance(digest, str) or len(digest) != 64 or len(bytes.fromhex(digest)) != 32:
        raise ValueError("a picture's digest is none")
    return digest


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _refuse_address(where: str, doing: str) -> None:
    if is_address(where):
        what = f"a server's collection is not {doing}ed."
        raise InputError(what, where=where, remedy="Use the snapshots of the Qdrant server.")


@contextmanager
def _damage(file: Path) -> Iterator[None]:
    """What a damaged or made-up archive raises, as an error for people."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise _damaged(file, error) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> InputError:
    reason = f"{error.errors()[0]['loc']}" if isinstance(error, ValidationError) else str(error) or type(error).__name__
    what = f"is no exported index, or damaged ({reason[:200]})."
    return InputError(what, where=str(file), remedy="Take another copy, or export the index again.")
