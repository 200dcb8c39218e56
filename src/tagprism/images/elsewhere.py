"""Pictures wherever they lie: files, URLs, members of tars, cells of Parquet files. Decodes none.

URLs are those of fsspec (`s3://`, `gs://`, `https://`, `file://` ...). A member of a tar is called `FILE.tar#MEMBER`,
and a row of a Parquet file `FILE.parquet#ROW`. Needs the extra `ray` for all but files of this machine.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tagprism.counted import counted
from tagprism.errors import InputError, MachineError, PictureError, TagprismError
from tagprism.images.picture_file import MAX_BYTES, check_size, read_bytes
from tagprism.images.walk import WalkReport, each_picture, is_picture_name

_CONNECT, _ANSWER = 10, 30  # seconds; of a bucket three times
_IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "content", "data")  # column names
_AGAIN = "Nothing is lost: give the same command again when it answers, or mend the address."
_EXTRA = 'Install it: pip install "tagprism[ray]"'


class Item(NamedTuple):
    """Where the bytes of one picture are.

    Args:
        name: what its row calls it.
        file: path or URL of the file that is the picture or holds it.
        kind: `file`, or the archive's kind: `tar`, `parquet`.
        start: where it begins in a tar, in bytes; its row in a Parquet file.
        size: of the picture in bytes, -1 where that is not known.
    """

    name: str
    file: str
    kind: str = "file"
    start: int = 0
    size: int = -1

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine by itself, beside which sidecars may lie."""
        return self.kind == "file" and not is_url(self.file)


def is_url(path: str) -> bool:
    """Whether a path is a URL; `file:` ones become paths before anything else looks at them."""
    return "://" in path


def path_of_row(path: str | os.PathLike[str]) -> Path | str:
    """A path as rows have it; a URL stays as it is, of which a `Path` would lose a stroke."""
    return path if isinstance(path, str) and is_url(path) else Path(path)


def _kind(path: str) -> str:
    ending = os.path.splitext(urlsplit(path).path if is_url(path) else path)[1].lower()  # noqa: PTH122 (a text)
    archive = {".tar": "tar", ".parquet": "parquet"}.get(ending)
    return archive or ("url" if is_url(path) else "file")


def each_item(paths: Iterable[str], *, exclude: Sequence[str] = (), report: WalkReport | None = None) -> Iterator[Item]:
    """Find pictures in files and folders (as `walk.each_picture`), at URLs, in tars and in Parquet files.

    Args:
        paths: what was named, in the order wanted. Of a URL that is no picture all below it is taken, tars and Parquet
            files too. In a folder of this machine tars and Parquet files are not looked for: name them.
        exclude: patterns for folders of this machine.
        report: told of what is not walked.

    Raises:
        InputError: an archive is damaged or cut short, or a URL leads nowhere.
        MachineError: a server does not answer.
    """
    named = [as_path(path) for path in paths]
    seen: set[bytes] = set()
    several = sum(_kind(path) != "file" for path in named) > 1  # which may hold the same pictures
    for kind, some in groupby(named, key=_kind):
        if kind == "file":
            yield from (Item(path, path) for path in each_picture(some, exclude=exclude, report=report))
            continue
        for path in some:
            with _listed(path):
                for item in _below(path) if kind == "url" else _inside(path, kind):
                    key = blake2b(os.fsencode(item.name), digest_size=16).digest() if several else b""
                    if not key or key not in seen:
                        yield item
                    seen.add(key)


def as_path(path: str) -> str:
    """The path that a `file:` URL stands for; anything else as it is."""
    return url2pathname(urlsplit(path).path) if path.startswith("file://") else path


def _below(url: str) -> Iterator[Item]:
    """The pictures below a URL, or the one picture that it is."""
    fs, path = _opened(url)
    if is_picture_name(urlsplit(url).path) and not url.endswith("/"):
        yield Item(url, url)
        return
    found = False
    if any(mark in url for mark in "*[") and fs.protocol not in ("http", ("http", "https")):
        listed: Iterable[Any] = ((path, (), {name: {} for name in sorted(fs.glob(path))}),)
    else:
        listed = fs.walk(path, on_error="raise", detail=True)
    for folder, _, files in listed:
        for name in sorted(files):
            about = files[name]
            where = str(about.get("name") or (f"{folder.rstrip('/')}/{name}" if name != folder else name))
            whole = where if is_url(where) else fs.unstrip_protocol(where)
            found = True
            if _kind(whole) != "url":
                yield from _inside(whole, _kind(whole))
            elif is_picture_name(urlsplit(whole).path):
                yield Item(whole, whole, size=int(about.get("size") or -1))
    if not found:
        raise InputError("there is nothing below this URL.", where=url, remedy="Mend it, or name a picture.")


def _inside(file: str, kind: str) -> Iterator[Item]:
    """The pictures in an archive."""
    return _in_tar(file) if kind == "tar" else _in_parquet(file)


def _in_tar(file: str) -> Iterator[Item]:
    with _stream(file) as stream:
        seen: set[str] = set()
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    if not member.isfile() or not is_picture_name(member.name):
                        continue
                    name = f"{file}#{member.name}"
                    name = f"{name}@{member.offset_data}" if name in seen else name  # a tar may have a name twice
                    seen.add(name)
                    yield Item(name, file, "tar", member.offset_data, member.size)
                    vars(tar)["members"] = []  # it would keep them all
        except (tarfile.TarError, EOFError) as error:
            what = f"is no tar, compressed, or cut short after {counted(len(seen), 'picture')} ({error})."
            raise InputError(what, where=file, remedy="Copy it again, uncompressed.") from error


def _in_parquet(file: str) -> Iterator[Item]:
    with _stream(file) as stream:
        rows = _parquet(stream, file)[0].metadata.num_rows
    yield from (Item(f"{file}#{row}", file, "parquet", row) for row in range(rows))


def _parquet(stream: IO[bytes], file: str) -> tuple[Any, str]:
    """An opened Parquet file, and the name of the column that has the pictures.

    Raises:
        InputError: it is damaged or cut short, or has no column of pictures.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(stream)
    except (pa.ArrowInvalid, OSError) as error:
        what = f"is no Parquet file, or cut short ({error})."
        raise InputError(what, where=file, remedy="Copy it again.") from error
    columns = {}
    for field in opened.schema_arrow:
        inner = field.type.field("bytes").type if _has_bytes(field.type) else field.type
        if pa.types.is_binary(inner) or pa.types.is_large_binary(inner):
            columns[field.name] = f"{field.name}.bytes" if _has_bytes(field.type) else field.name
    chosen = next((name for name in _IMAGES if name in columns), None)
    chosen = chosen or (next(iter(columns)) if len(columns) == 1 else None)
    if chosen is None:
        what = f"has no column of image bytes (columns: {', '.join(opened.schema_arrow.names)})."
        raise InputError(what, where=file, remedy=f"Name the column `{_IMAGES[0]}`.")
    return opened, columns[chosen]


def _has_bytes(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(kind)) and kind.get_field_index("bytes") >= 0


class Reader:
    """Reads pictures by their items; of a Parquet file fast where they are asked for in order, by one thread."""

    def __init__(self) -> None:
        self._cells: Iterator[tuple[int, bytes | None]] = iter(())
        self._at = ("", -1)  # file and row that come next

    def read(self, item: Item) -> bytes:
        """The bytes of a picture.

        Raises:
            PictureError: there are none, or they cannot be read.
            MachineError: the server does not answer.
        """
        if item.is_local:
            return read_bytes(item.file)
        check_size(item.size, MAX_BYTES, item.name)
        try:
            with _no_answer(item.file):
                data = self._cell(item) if item.kind == "parquet" else _fetched(item)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PictureError("missing", "There is no such file.", where=item.name) from error
        except (MachineError, PictureError):
            raise
        except Exception as error:  # each kind of server has errors of its own; what is no refusal is about the file
            raise PictureError("unreadable", f"The file cannot be read ({error}).", where=item.name) from error
        if not data:
            raise PictureError("empty", "The file has zero bytes.", where=item.name)
        return data

    def _cell(self, item: Item) -> bytes | None:
        if self._at[0] != item.file or item.start < self._at[1]:
            self._cells = _cells(item.file, item.start)
        for row, data in self._cells:
            self._at = (item.file, row + 1)
            if row == item.start:
                return data
        self._at = ("", -1)
        raise PictureError("missing", "The Parquet file has fewer rows than before.", where=item.name)


def _cells(file: str, first: int) -> Iterator[tuple[int, bytes | None]]:
    """Rows of a Parquet file with the bytes of their pictures, from the group of a row on."""
    with _stream(file) as stream:
        opened, column = _parquet(stream, file)
        begin = 0
        for group in range(opened.num_row_groups):
            count = opened.metadata.row_group(group).num_rows
            if begin + count > first:
                row = begin
                for batch in opened.iter_batches(16, row_groups=[group], columns=[column], use_threads=False):
                    values = batch.column(0)
                    cells = values.field("bytes") if column.endswith(".bytes") and _has_bytes(values.type) else values
                    for cell in cells:
                        yield row, cell.as_py()
                        row += 1
            begin += count


def _fetched(item: Item) -> bytes:
    if item.kind == "tar" and not is_url(item.file):
        with open(item.file, "rb") as file:  # noqa: PTH123 (paths are strings here)
            file.seek(item.start)
            data = file.read(item.size)
    else:
        fs, path = _opened(item.file)
        end = item.start + item.size
        data = fs.cat_file(path, start=item.start, end=end) if item.kind == "tar" else fs.cat_file(path)
        if item.kind == "tar" and len(data) > item.size:  # a plain web server gives the whole file
            data = data[item.start : end]
    if item.kind == "tar" and len(data) != item.size:
        raise PictureError("unreadable", "The tar is cut short, or has changed.", where=item.name)
    return bytes(data)


@contextmanager
def _stream(file: str) -> Iterator[IO[bytes]]:
    if is_url(file):
        fs, path = _opened(file)
        with fs.open(path, "rb") as stream:
            yield stream
    else:
        with open(file, "rb") as local:  # noqa: PTH123 (paths are strings here)
            yield local


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, which gives up after a while, and the path there."""
    try:
        import fsspec

        protocol = url.partition("://")[0]
        options: dict[str, Any] = {}
        if protocol in ("http", "https"):
            import aiohttp

            options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(sock_connect=_CONNECT, sock_read=_ANSWER)}
        elif protocol in ("s3", "s3a"):
            retries = {"max_attempts": 3, "mode": "standard"}  # with pauses
            options["config_kwargs"] = {"connect_timeout": _CONNECT, "read_timeout": _ANSWER, "retries": retries}
            options["use_listings_cache"] = False
        fs, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise InputError(f"needs a package that is not installed ({error}).", where=url, remedy=_EXTRA) from error
    except ValueError as error:
        raise InputError(f"is no URL that can be read ({error}).", where=url, remedy="Mend it.") from error
    if protocol in ("s3", "s3a"):
        fs.retries = 1  # it would try each attempt of botocore's five times
    return fs, str(path)


# The errors of aiohttp and botocore that mean no answer, by name, as either may be absent.
_SILENT = frozenset(
    {"ClientConnectionError", "HTTPClientError", "ConnectionError", "TimeoutError", "NoCredentialsError"}
)


@contextmanager
def _no_answer(where: str) -> Iterator[None]:
    """Turn what says that a server does not answer into a `MachineError`; files that are not there stay as they are."""
    try:
        yield
    except Exception as error:
        chain: list[BaseException] = [error]
        while (cause := chain[-1].__cause__) is not None and cause not in chain:
            chain.append(cause)
        names = {kind.__name__ for one in chain for kind in type(one).__mro__}
        if is_url(where) and names & _SILENT and not isinstance(error, TagprismError):
            what = f"does not answer ({type(error).__name__}: {error})."
            raise MachineError(what, where=where, remedy=_AGAIN) from error
        raise


@contextmanager
def _listed(where: str) -> Iterator[None]:
    """Turn what goes wrong while pictures are looked for into errors for people."""
    try:
        with _no_answer(where):
            yield
    except FileNotFoundError as error:
        raise InputError("there is no such file or folder.", where=where, remedy="Mend its name.") from error
    except Exception as error:  # each kind of server has errors of its own
        if isinstance(error, TagprismError) or not is_url(where):
            raise
        raise InputError(f"cannot be read ({error}).", where=where, remedy="Mend it, or the permission.") from error
