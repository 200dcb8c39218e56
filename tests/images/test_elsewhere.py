"""Pictures in tars, in Parquet and at URLs: found in order, read to the byte, and clear errors in bounded time."""

from __future__ import annotations

import io
import socket
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagprism.errors import InputError, MachineError, PictureError
from tagprism.images import elsewhere
from tagprism.images.elsewhere import Item, Reader, each_item

CELLS = [f"picture {row}".encode() for row in range(50)]


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def read_all(*paths: Path | str) -> dict[str, bytes]:
    reader = Reader()
    return {item.name: reader.read(item) for item in each_item(map(str, paths))}


def test_members_of_a_tar(tmp_path: Path) -> None:
    members = {"0/a.jpg": b"first", "0/a.json": b"{}", "0/b.PNG": b"x" * 5000, "./c.webp": b"third"}
    path = tar_of(tmp_path / "some.tar", members)
    expected = {f"{path}#{name}": data for name, data in members.items() if not name.endswith("json")}
    assert read_all(path) == expected == read_all(f"file://{path}")


@pytest.mark.parametrize("kind", ["plain", "struct"])
def test_cells_of_parquet(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "some.parquet"
    column = CELLS if kind == "plain" else [{"bytes": cell, "path": None} for cell in CELLS]
    table = pa.table({"text": ["x"] * 50, "image": column, "mask": [b"no"] * 50})
    pq.write_table(table, path, row_group_size=20)
    assert read_all(path) == {f"{path}#{row}": cell for row, cell in enumerate(CELLS)}
    reader, items = Reader(), list(each_item([str(path)]))
    for row in (45, 3, 4, 30, 21, 0):  # in any order
        assert reader.read(items[row]) == CELLS[row]


def test_the_same_picture_named_twice_comes_once(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "some.tar", {"a.jpg": b"1"})
    assert [item.name for item in each_item([str(path), str(path)])] == [f"{path}#a.jpg"]


def test_empty_and_lost_pictures_have_reasons(tmp_path: Path) -> None:
    path = tmp_path / "some.parquet"
    pq.write_table(pa.table({"image": pa.array([None, b"", b"x"], pa.binary())}), path)
    for item in list(each_item([str(path)]))[:2]:
        with pytest.raises(PictureError) as caught:
            Reader().read(item)
        assert caught.value.code == "empty"
    for lost in (Item("p#9", str(path), "parquet", 9), Item("t#a", str(tmp_path / "no.tar"), "tar", 512, 3)):
        with pytest.raises(PictureError) as caught:
            Reader().read(lost)
        assert caught.value.code == "missing"
    with pytest.raises(PictureError, match="at most 512 MiB"):
        Reader().read(Item("t#a", str(path), "tar", 0, 2**29 + 1))


def test_archives_that_cannot_be_used(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "some.tar", {"a.jpg": b"1" * 3000, "b.jpg": b"2" * 3000})
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="cut short after"):
        list(each_item([str(path)]))
    (tmp_path / "no.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(InputError, match="is no tar"):
        list(each_item([str(tmp_path / "no.tar")]))
    (tmp_path / "no.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"no.parquet: is no Parquet file, or cut short"):
        list(each_item([str(tmp_path / "no.parquet")]))
    pq.write_table(pa.table({"a": [b"1"], "b": [b"2"], "c": [1]}), tmp_path / "two.parquet")
    with pytest.raises(InputError, match=r"no column of image bytes \(columns: a, b, c\)"):
        list(each_item([str(tmp_path / "two.parquet")]))
    with pytest.raises(InputError, match="no such file"):
        list(each_item([str(tmp_path / "gone.tar")]))


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(elsewhere, "_CONNECT", 1)
    monkeypatch.setattr(elsewhere, "_ANSWER", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("answers", ["never", "refuses"])
@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_server_that_does_not_answer(silent: int, monkeypatch: pytest.MonkeyPatch, scheme: str, answers: str) -> None:
    fsspec = pytest.importorskip("fsspec", reason="the extra `ray` is not installed")
    pytest.importorskip("s3fs", reason="the extra `ray` is not installed")
    fsspec.filesystem("http").clear_instance_cache()
    port = silent if answers == "never" else 1
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    url = f"http://127.0.0.1:{port}/photos/" if scheme == "http" else f"s3://photos-{answers}/2024"
    began = time.monotonic()
    with pytest.raises(MachineError, match="does not answer"):
        list(each_item([url]))
    with pytest.raises(MachineError, match="does not answer"):
        Reader().read(Item(f"{url}/a.jpg", f"{url}/a.jpg"))
    assert time.monotonic() - began < 60


def test_a_url_that_cannot_be_read() -> None:
    pytest.importorskip("fsspec", reason="the extra `ray` is not installed")
    with pytest.raises(InputError, match="is no URL that can be read"):
        list(each_item(["nothing://a/b"]))
    with pytest.raises(InputError, match="not installed"):
        list(each_item(["gs://bucket/a"]))
