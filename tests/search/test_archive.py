"""An index as one file: what comes back is what went in, and what is damaged or made up is refused."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tagprism.progress import Advance
from tagprism.search.archive import export_index, import_index
from tagprism.search.check import check_index
from tagprism.search.collection import open_index
from tagprism.search.contract import Picture
from tagprism.search.create import open_for_update
from tagprism.search.edge_index import EdgeIndex
from tagprism.search.edge_reader import PICTURES
from tagprism.search.keyword_table import KeywordTable
from tagprism.search.marks import kept_marks, open_marks
from tagprism.search.stored import catalog_file
from tagprism.search.upkeep import Upkeep
from tests.app.conftest import Cli, cli  # noqa: F401 (a fixture)
from tests.search.test_renewal import Told
from tests.small_world import World

PHOTO = Path(__file__).parents[1] / "photos/chelsea.jpg"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, world: World) -> tuple[Path, Path]:
    """An index with a mark, a keyword and a pattern, and its export."""
    from tagprism.app.cli import app

    folder = tmp_path_factory.mktemp("made")
    photos, where, file = folder / "photos", folder / "photos.index", folder / "photos.zip"
    photos.mkdir()
    for place, picture in enumerate(world.pictures()[:6]):
        shutil.copy(picture, photos / f"{place}.png")
    common = ["--into", str(where), "--quiet"]
    run = [["index", str(photos), "-m", str(world.run), "--exclude", "x*", *common]]
    run += [["index", "--export", str(file), *common]]
    with pytest.raises(SystemExit) as done:
        app(run[0])
    assert done.value.code == 0
    with open_index(where) as collection:
        (first,) = collection.index.get([1])
        assert first
        marks = open_marks(str(where))
        marks.put(first.digest, "Grandma's house", True)
        marks.close()
    (where / "learned.safetensors").write_bytes(b"taught")
    keywords = KeywordTable(catalog_file(str(where)))
    keywords.put([(2, "stamp", ["old town", "bridge"])])
    keywords.close()
    with pytest.raises(SystemExit) as done:
        app(run[1])
    assert done.value.code == 0
    return where, file


def all_of(where: Path) -> tuple[list[Picture], list[float], object, object, object]:
    with open_index(where) as collection:
        pictures = list(collection.index.pictures())
        records = collection.index.records([one.id for one in pictures])
        settings = collection.settings
    keywords = KeywordTable(catalog_file(str(where)))
    stamps = keywords.stamps()
    keywords.close()
    numbers = [*records.rows.ravel().tolist(), *records.shared.ravel().tolist()]
    return pictures, numbers, kept_marks(str(where)), stamps, settings


def test_what_comes_back_is_what_went_in(made: tuple[Path, Path], cli: Cli, tmp_path: Path) -> None:  # noqa: F811
    where, file = made
    with open_index(where):  # as a server has it open
        again = cli("index", "--into", where, "--export", tmp_path / "again.zip", "--quiet")
    assert again.code == 0 and (tmp_path / "again.zip").read_bytes() == file.read_bytes()
    new = tmp_path / "new.index"
    done = cli("index", "--into", new, "--import", file)
    assert done.code == 0 and "6 pictures of" in done.err
    assert all_of(new) == all_of(where)
    assert (new / "learned.safetensors").read_bytes() == b"taught"
    records = [(one / PICTURES / "records.bin").read_bytes() for one in (new, where)]
    assert records[0] == records[1]
    assert "6 unchanged" in cli("index", "--into", new).err  # its catalog is made again
    cli("index", "--into", new, "--import", file).refused("is an index already")
    assert cli("index", "--into", where, "--export", tmp_path / "again.zip", "--quiet").code == 0  # replaced


def test_an_imported_index_finds_candidates_as_the_exported_one(tmp_path: Path) -> None:
    where, new, file = (tmp_path / name for name in ("old.index", "new.index", "photos.zip"))
    with open_for_update(str(where), [str(PHOTO)]) as collection, closing(Upkeep(collection)) as upkeep:
        upkeep.update([str(PHOTO)])
    export_index(str(where), file)
    import_index(file, str(new), progress=(told := Told()))
    assert [what for what, _, _ in told.said] == ["importing pictures"]  # of a new index nothing is made anew
    fitted_to = [(one / PICTURES / "usually_asked.safetensors").read_bytes() for one in (new, where)]
    assert fitted_to[0] == fitted_to[1]


def test_what_cannot_be_done_is_said(made: tuple[Path, Path], cli: Cli, tmp_path: Path) -> None:  # noqa: F811
    where, file = made
    (tmp_path / "mine.txt").write_text("mine")
    cli("index", "--into", where, "--export", tmp_path / "mine.txt").refused("mine.txt: is there already")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    cli("index", "--into", tmp_path / "none", "--export", tmp_path / "x.zip").refused("is not an index")
    cli("index", "--into", tmp_path / "new", "--import", tmp_path / "none.zip").refused("is not there")
    cli("index", "--into", tmp_path, "--import", file).refused("not empty")
    for options in ((tmp_path, "--export", tmp_path / "x.zip"), ("--export", tmp_path / "x.zip", "--check")):
        done = cli("index", *options, "--into", where)
        assert done.code == 2 and "stands alone" in done.err
    cli("index", "--into", "qdrant+http://localhost/x", "--export", tmp_path / "x").refused("snapshots")
    done = cli("index", "--into", tmp_path / "new", "--import", file, "-m", "photos-lite")
    done.refused("another model", code=5)
    assert (
        "(photos-lite, digest" not in done.err and "--rebuild" not in done.err
    )  # it names its own, and is not renewed
    assert not (tmp_path / "new" / "index.json").exists() and not (tmp_path / "x.zip").exists()


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None], *, sign: bool = True) -> None:
    """Change the parts of an archive, and its list of them to fit."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    if sign:
        from tagprism.files import digest_bytes

        manifest = json.loads(parts["index.json"])
        for part in manifest["parts"]:
            data = parts.get(part["name"], b"")
            part |= {"size": len(data), "sha256": digest_bytes(data)}
        parts["index.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def _row(**values: object) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        rows = [json.loads(line) for line in parts["pictures/0.jsonl"].splitlines()]
        rows[0] |= values
        parts["pictures/0.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()

    return change


def _manifest(**values: object) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        manifest = json.loads(parts["index.json"])
        manifest["settings"] |= {name: value for name, value in values.items() if name in manifest["settings"]}
        manifest |= {name: value for name, value in values.items() if name in manifest}
        parts["index.json"] = json.dumps(manifest).encode()

    return change


HOSTILE = {
    "path is a number": _row(path=3),
    "id is a text": _row(id="1"),
    "id twice": _row(id=2),
    "no tags": _row(tags="[1"),
    "tags of numbers": _row(tags="[[1, 2]]"),
    "digest is a path": _row(digest="../../etc/passwd"),
    "time": _row(taken="yesterday"),
    "place of texts": _row(place=["a", "b"]),
    "nested": lambda parts: parts.update({"pictures/0.jsonl": b"[" * 100_000}),
    "fewer records": lambda parts: parts.update({"records/0.bin": parts["records/0.bin"][:-1]}),
    "zeros without end": lambda parts: parts.update({"marks/0.jsonl": bytes(80 << 20)}),
    "a million pictures": _manifest(pictures=1_000_000_000_000),
    "another shape": _manifest(shared=10**9),
    "another version": _manifest(tagprism_index=2),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_was_made_up_is_refused(
    what: str,
    made: tuple[Path, Path],
    cli: Cli,  # noqa: F811
    tmp_path: Path,
) -> None:
    file = shutil.copy(made[1], tmp_path / "bad.zip")
    rewritten(file, HOSTILE[what])
    cli("index", "--into", tmp_path / "new", "--import", file, "--quiet").refused()
    assert not (tmp_path / "new" / "index.json").exists()


def test_damage_is_seen(made: tuple[Path, Path], cli: Cli, tmp_path: Path) -> None:  # noqa: F811
    whole, file = made[1].read_bytes(), tmp_path / "bad.zip"
    cuts = [whole[: len(whole) // 2], whole[:-30], b"", b"PK", whole[:200] + bytes(8) + whole[208:]]
    for data in cuts:
        file.write_bytes(data)
        cli("index", "--into", tmp_path / "new", "--import", file, "--quiet").refused("bad.zip", "damaged")
    shutil.copy(made[1], file)
    rewritten(file, _row(path="/other.png"), sign=False)
    cli("index", "--into", tmp_path / "new", "--import", file, "--quiet").refused("bad.zip", "damaged")
    outside = tmp_path / "outside"
    with zipfile.ZipFile(shutil.copy(made[1], file), "a") as archive:
        archive.writestr("../outside", "x")
    assert cli("index", "--into", tmp_path / "new", "--import", file, "--quiet").code == 0  # nobody asks for it
    assert not outside.exists() and not (tmp_path / "new" / "outside").exists()


def test_a_killed_import_goes_on(
    made: tuple[Path, Path],
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where, new, added = made[0], tmp_path / "new.index", []
    monkeypatch.setattr("tagprism.search.archive._PAGE", 2)
    file = tmp_path / "pages.zip"
    assert cli("index", "--into", where, "--export", file, "--quiet").code == 0
    add = EdgeIndex.add

    def dying(self: EdgeIndex, pictures: list[Picture], *rest: object) -> None:
        added.append([one.id for one in pictures])
        if len(added) == 2:
            raise SystemExit(137)
        add(self, pictures, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(EdgeIndex, "add", dying)
    with pytest.raises(SystemExit):
        import_index(file, str(new))
    assert not (new / "index.json").exists()
    assert cli("index", "--into", new, "--import", file, "--quiet").code == 0
    assert added == [[1, 2], [3, 4], [3, 4], [5, 6]]
    assert all_of(new) == all_of(where)


class TestCheck:
    @pytest.fixture
    def where(self, made: tuple[Path, Path], tmp_path: Path) -> Path:
        """An index that a test may damage."""
        return Path(shutil.copytree(made[0], tmp_path / "copy.index"))

    def test_a_changed_byte_is_seen_and_mended(
        self,
        where: Path,
        cli: Cli,  # noqa: F811
    ) -> None:
        assert "6 pictures" in (done := cli("index", "--into", where, "--check")).err and done.code == 0
        for name in ("records.bin", "candidates.bin"):
            data = bytearray((where / PICTURES / name).read_bytes())
            data[len(data) * 3 // 4] ^= 1
            (where / PICTURES / name).write_bytes(data)
        bad = cli("index", "--into", where, "--check")
        bad.refused("of 6 pictures 1 with a damaged record", "--check --prune", "4.png")
        with open_index(where):  # beside a server
            assert cli("index", "--into", where, "--check", "--prune").code == 0
        totals: list[int] = []
        done: list[int] = []

        @contextmanager
        def told(_what: str, total: int) -> Iterator[Advance]:
            totals.append(total)
            yield done.append

        check_index(str(where), progress=told)
        assert totals == [sum(done)] == [5]  # the place of what was taken out is not waited for
        again = cli("index", "--into", where)
        assert "1 added, 5 unchanged" in again.err
        assert cli("index", "--into", where, "--check").code == 0

    def test_settings_that_do_not_fit_the_records_are_named(
        self,
        where: Path,
        cli: Cli,  # noqa: F811
    ) -> None:
        settings = json.loads((where / "index.json").read_text())
        (where / "index.json").write_text(json.dumps(settings | {"shared": settings["shared"] + 1}))
        cli("search", where, "red").refused("index.json", f"shared {settings['shared']}")
        (where / "index.json").write_text(json.dumps(settings))
        (where / "marks.sqlite").write_bytes(b"no database" * 100)
        cli("index", "--into", where, "--check").refused("marks.sqlite")
