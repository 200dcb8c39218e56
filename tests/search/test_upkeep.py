"""An index follows its folders, and reads no file twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tagprism.bundle.record import Records
from tagprism.errors import MachineError, PictureError
from tagprism.search import upkeep
from tagprism.search.catalog import not_read
from tagprism.search.collection import Collection
from tagprism.search.create import update_lock
from tagprism.search.stored import CATALOG, Settings
from tagprism.search.upkeep import Upkeep
from tagprism.search.upkeep_report import Report
from tagprism.tagging.ranker import LabelRanker
from tagprism.tagging.tagger import Tagger, load
from tests.search.numpy_index import NumpyIndex


class Killed(BaseException):
    """Stands for `kill -9`: nothing may catch it."""


class Library:
    """A folder of pictures and its index, with a network that counts what it is shown."""

    def __init__(self, folder: Path, tagger: Tagger) -> None:
        self.photos, self.where = folder / "photos", folder / "index"
        self.photos.mkdir()
        self.tagger = tagger
        self.shape = tagger.bundle.model.shape
        self.looked_at = 0
        self.tagger.network = self._network
        self.skipped: list[tuple[str, str]] = []
        self.index = NumpyIndex(self.where, self.shape)
        self.open()

    def _network(self, pixels: np.ndarray) -> Records:
        """Records that are a function of the picture."""
        self.looked_at += len(pixels)
        M, D, S = self.shape
        drawn = [np.random.default_rng(int(one.sum() * 1000) % 2**32).normal(size=M * D + S) for one in pixels]
        flat = np.array(drawn, np.float32)
        return Records(flat[:, S:].reshape(-1, M, D), flat[:, :S])

    def open(self) -> None:
        """Open the catalog and start anew, as another process would."""
        settings = Settings(model="photos-lite", digest=self.tagger.bundle.digest, **self.shape._asdict())
        collection = Collection(str(self.where), settings, self.index)
        collection.__dict__["tagger"] = self.tagger
        self.upkeep = Upkeep(collection, skipped=self._skip)

    def _skip(self, path: str, error: PictureError) -> None:
        self.skipped.append((os.path.relpath(path, self.photos), error.code))

    def draw(self, name: str, seed: int) -> Path:
        path = self.photos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        return path

    def update(self, *roots: Path, **options: Any) -> Report:
        self.looked_at = 0
        self.skipped.clear()
        report = self.upkeep.update([str(root) for root in roots or (self.photos,)], **options)
        self.check()
        return report

    def check(self) -> None:
        """Index and catalog agree, and each picture has the record of the bytes that it says it has."""
        pictures = list(self.index.pictures())
        assert len({one.path for one in pictures}) == len(pictures)
        rows = self.upkeep._catalog._db.sql.execute(
            "SELECT id, path, size, modified, hex(digest) FROM picture ORDER BY id"
        )
        expected = [(one.id, os.fsencode(one.path), one.size, one.modified, one.digest.upper()) for one in pictures]
        assert rows.fetchall() == expected
        by_digest: dict[str, bytes] = {}
        for one in pictures:
            record = self.index.records([one.id]).rows.tobytes()
            assert by_digest.setdefault(one.digest, record) == record

    def held(self) -> dict[str, int]:
        return {os.path.relpath(one.path, self.photos): one.id for one in self.index.pictures()}


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return load("photos-lite")


ranker_of = cache(LabelRanker)  # of the large vocabulary of the packaged model, once for all tests


@pytest.fixture
def library(tmp_path: Path, tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    monkeypatch.setattr(upkeep, "LabelRanker", ranker_of)
    library = Library(tmp_path, tagger)
    yield library
    library.upkeep.close()
    library.index.close()


def test_new_pictures_come_in_with_all_that_is_known_of_them(library: Library) -> None:
    library.draw("deep/b.png", 1)
    exif = Image.Exif()
    exif[274] = 6
    exif.get_ifd(0x8769)[36867] = "2024:07:31 18:05:09"
    path = library.photos / "a\udcff.jpg"
    Image.new("RGB", (40, 30), "red").save(os.fsencode(path), "JPEG", exif=exif)
    report = library.update()
    assert report == Report(added=2) and library.looked_at == 2
    found = {os.path.relpath(one.path, library.photos): one for one in library.index.pictures()}
    photo, status = found["a\udcff.jpg"], path.stat()
    assert (photo.width, photo.height, photo.taken) == (30, 40, "2024-07-31T18:05:09")
    assert (photo.size, photo.modified) == (status.st_size, status.st_mtime_ns)
    assert len(photo.tags) == 10 and all(0 <= chance <= 1 for _, chance in photo.tags if chance is not None)
    assert [chance for _, chance in photo.tags] == sorted((chance for _, chance in photo.tags), reverse=True)
    assert (found["deep/b.png"].width, found["deep/b.png"].height, found["deep/b.png"].taken) == (16, 12, None)


def test_what_has_not_changed_is_not_read(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        library.draw(f"{seed}.png", seed)
    library.update()
    monkeypatch.setattr("tagprism.search.upkeep.read_bytes", lambda path: pytest.fail(f"{path} was read"))
    assert library.update() == Report(unchanged=3)
    assert library.looked_at == 0


def test_moved_copied_touched_and_swapped_files_are_not_looked_at_again(library: Library) -> None:
    one, two, three, four = (library.draw(f"{seed}.png", seed) for seed in range(4))
    library.update()
    before = library.held()
    (library.photos / "deep").mkdir()
    one.rename(library.photos / "deep/new name.png")
    shutil.copy(two, library.photos / "copy.png")
    os.utime(three)
    report = library.update()
    assert report == Report(added=1, changed=1, moved=1, unchanged=2) and library.looked_at == 0
    after = library.held()
    assert after["deep/new name.png"] == before["0.png"] and "0.png" not in after
    assert after["copy.png"] not in before.values()
    two.rename(library.photos / "x"), four.rename(two), (library.photos / "x").rename(four)
    library.update()
    assert library.held() == after
    two.rename(library.photos / "a"), shutil.copy(library.photos / "a", library.photos / "b.png")
    (library.photos / "a").rename(library.photos / "a.png")
    assert library.update() == Report(moved=1, added=1, unchanged=5 - 1) and library.looked_at == 0


def test_changed_files_are_replaced_under_their_id(library: Library) -> None:
    library.draw("a.png", 1), library.draw("b.png", 2)
    library.update()
    before, rows = library.held(), library.index.records([1]).rows
    library.draw("a.png", 3)
    assert library.update() == Report(changed=1, unchanged=1) and library.looked_at == 1
    assert library.held() == before and not np.array_equal(library.index.records([1]).rows, rows)


def test_files_that_cannot_be_used_are_told_once_as_they_are(library: Library) -> None:
    path = library.draw("a.png", 1)
    (library.photos / "bad.jpg").write_text("no picture")
    assert library.update() == Report(added=1, skipped=1) and library.skipped == [("bad.jpg", "not_an_image")]
    assert library.update().known_bad == 1 and library.skipped == []
    assert library.update(tell_all=True).skipped == 1
    path.write_text("this was a picture")
    report = library.update()
    assert (report.removed, report.skipped, report.known_bad) == (1, 1, 1) and library.held() == {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_following_places_is_as_good_as_looking_at_everything(library: Library, seed: int) -> None:
    """After any changes, told as a watch tells them, a look at everything finds nothing more to do."""
    random = np.random.default_rng(seed)
    for number in range(12):
        library.draw(f"{number % 3}/{number}.png", number)
    library.update()
    for step in range(12):
        places: set[str] = set()
        for _ in range(random.integers(1, 4)):
            files = sorted(path for path in library.photos.rglob("*.*") if path.is_file() and path.name[0] != ".")
            path = files[random.integers(len(files))]
            target = library.photos / f"{random.integers(4)}/{random.integers(100)}.png"
            action = random.integers(7)
            if action == 0:
                target = library.draw(str(target.relative_to(library.photos)), int(random.integers(1000)))
            elif action == 1 and len(files) > 9:
                path.unlink()
            elif action == 2:
                target.parent.mkdir(exist_ok=True)
                target = path.rename(target)
            elif action == 3:  # a folder goes elsewhere with all that is in it
                target = path.parent.rename(library.photos / f"moved {step} {random.integers(1000)}")
                path = path.parent
            elif action == 4:
                path.write_text("no picture any more")
            elif action == 5:
                target = library.draw(f"@eaDir/{step}.png", step)
            else:
                target = library.photos / "0/.tagprismignore"
                target.parent.mkdir(exist_ok=True)
                target.write_text(f"{random.integers(100)}.png\n")
            places |= {str(path), str(target)}
        library.upkeep.follow(places)
        library.check()
        held = library.held()
        report = library.update()
        assert not report.any_change and report.skipped == 0 and library.held() == held


def test_only_the_places_are_looked_at(library: Library) -> None:
    paths = [library.draw(f"{seed}.png", seed) for seed in range(3)]
    library.draw("0.b.png", 3)  # begins as 0.png, and is another photo
    library.update()
    library.draw("0.png", 10), library.draw("1.png", 11)
    assert library.upkeep.follow({str(paths[0])}) == Report(changed=1)
    assert library.upkeep.follow({str(paths[1]), "/elsewhere/x.png"}) == Report(changed=1)
    paths[2].unlink()
    assert library.upkeep.follow({str(paths[2])}) == Report(removed=1)
    (library.photos / "link.png").symlink_to(paths[0])  # what is one by several paths is known to a whole look alone
    assert library.upkeep.follow({str(library.photos / "link.png")}) == Report(unchanged=3)


def test_deleted_files_leave(library: Library) -> None:
    paths = [library.draw(f"{seed}.png", seed) for seed in range(4)]
    library.update()
    paths[0].unlink(), paths[1].unlink()
    assert library.update() == Report(removed=2, unchanged=2)
    assert sorted(library.held()) == ["2.png", "3.png"]


def test_a_folder_that_is_suddenly_empty_is_kept_until_someone_says_so(library: Library) -> None:
    paths = [library.draw(f"disk/{seed}.png", seed) for seed in range(20)]
    other = library.draw("elsewhere.png", 50)
    library.update(library.photos / "disk"), library.update(other)
    for path in paths[:11]:
        path.unlink()
    root = str(library.photos / "disk")
    assert library.update(library.photos / "disk") == Report(unchanged=9, doubtful={root: 11})
    shutil.move(library.photos / "disk", library.photos / "away")
    (library.photos / "disk").mkdir()
    assert library.update(library.photos / "disk") == Report(doubtful={root: 20})
    assert len(library.held()) == 21
    assert library.update(library.photos / "disk", prune=True) == Report(removed=20)
    assert list(library.held()) == ["elsewhere.png"]


def test_a_renamed_folder_is_no_loss(library: Library) -> None:
    for seed in range(20):
        library.draw(f"old/{seed}.png", seed)
    library.update()
    before = sorted(library.held().values())
    (library.photos / "old").rename(library.photos / "new")
    assert library.update() == Report(moved=20) and library.looked_at == 0
    assert sorted(library.held().values()) == before and all(name.startswith("new/") for name in library.held())


def test_a_folder_that_cannot_be_listed_loses_nothing(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    library.draw("locked/a.png", 1), library.draw("locked.png", 2), library.draw("b.png", 3)
    library.update()
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (library.photos / "locked.png").unlink()
    report = library.update()
    assert report == Report(unchanged=1, removed=1, skipped=1) and library.skipped == [("locked", "unreadable")]
    assert sorted(library.held()) == ["b.png", "locked/a.png"]


def test_only_what_is_below_the_roots_is_touched(library: Library) -> None:
    for name in ("a/1.png", "a b/2.png", "b/3.png"):
        library.draw(name, int(name[-5]))
    library.update()
    shutil.rmtree(library.photos / "a b")
    assert library.update(library.photos / "a", library.photos / "b") == Report(unchanged=2)
    assert sorted(library.held()) == ["a b/2.png", "a/1.png", "b/3.png"]


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before the index", "after the index"])
@pytest.mark.parametrize("call", range(4))
def test_killed_at_any_change_the_next_run_continues(
    library: Library, monkeypatch: pytest.MonkeyPatch, call: int, before: bool
) -> None:
    """Four changes: a batch of 64, the rest, one replaced, one removed; killed before or after the index made one."""
    for seed in range(70):
        library.draw(f"{seed:02}.png", seed)
    calls = iter(range(100))

    def dying(change: Callable[..., None]) -> Callable[..., None]:
        def changed(*arguments: Any) -> None:
            dies = next(calls) == call
            if not (dies and before):
                change(*arguments)
            if dies:
                raise Killed

        return changed

    monkeypatch.setattr(library.index, "add", dying(library.index.add))
    monkeypatch.setattr(library.index, "remove", dying(library.index.remove))
    died = 0
    for step in range(2):
        if step:
            library.draw("05.png", 500)
            (library.photos / "06.png").unlink()
        try:
            library.update()
        except Killed:
            died += 1
            library.upkeep._catalog._db.sql.rollback()
            library.upkeep.close()
            library.open()
            library.update()
            assert library.looked_at <= 70
    assert died == 1
    assert sorted(library.held()) == [f"{seed:02}.png" for seed in range(70) if seed != 6]
    assert library.update() == Report(unchanged=69)


def test_a_lost_catalog_is_made_again_from_the_index(library: Library) -> None:
    for seed in range(3):
        library.draw(f"{seed}.png", seed)
    library.update()
    before = library.held()
    library.upkeep.close()
    for file in library.where.glob("catalog*"):
        file.unlink()
    library.open()
    library.draw("new.png", 9)
    assert library.update() == Report(added=1, unchanged=3) and library.looked_at == 1
    assert library.held() == before | {"new.png": 4}


def test_what_a_dead_process_sent_last_is_found(library: Library) -> None:
    """Its change is carried out after its follower has looked the same files up."""
    library.draw("a.png", 1), library.draw("b.png", 2)
    library.update()
    (late,) = library.index.get([1])
    assert late is not None
    library.index.add([replace(late, id=77)], library.index.records([1]))
    library.update()
    assert sorted(library.held().values()) == [2, 77]


def test_the_folder_of_the_index_is_not_indexed(library: Library) -> None:
    library.draw("../index/thumbnails/1.png", 1), library.draw("a.png", 2)
    library.update(library.photos.parent)
    assert list(library.held()) == ["a.png"]


def test_only_one_process_keeps_it_up(tmp_path: Path) -> None:
    where = str(tmp_path)
    busy = pytest.raises(MachineError, match="another `tagprism index` is at work")
    with update_lock(where), busy, update_lock(where):
        pass
    with update_lock(where):
        pass


def test_an_index_of_an_older_version_learns_what_is_read_today_without_looking_again(library: Library) -> None:
    exif = Image.Exif()
    exif[271], exif[272] = "Maker", "One"
    photo = library.photos / "IMG_20190504_065057.jpg"
    Image.new("RGB", (40, 30), "red").save(photo, exif=exif)
    library.draw("b.png", 1)
    library.update()
    for one in list(library.index.pictures()):  # as an older version wrote it
        old = replace(one, camera="", kind="", taken=None, taken_from="", metadata_version=0)
        library.index.add([old], library.index.records([one.id]))
    library.upkeep._catalog._db.sql.execute("ALTER TABLE picture DROP COLUMN facts")
    library.upkeep.close()
    library.open()
    report = library.update()
    assert (report.renewed, report.changed, report.unchanged, library.looked_at) == (2, 0, 0, 0)
    (known,) = (one for one in library.index.pictures() if one.path == str(photo))
    assert (known.camera, known.kind, known.taken) == ("Maker One", "jpeg", "2019-05-04T06:50:57")
    assert library.update().unchanged == 2


def test_copies_share_a_commit_and_are_not_asked_for_one_by_one(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = library.draw("0.png", 1)
    library.update()
    for number in range(1, 200):
        shutil.copy(first, library.photos / f"{number}.png")
    added, asked = [], []
    add, get = library.index.add, library.index.get
    monkeypatch.setattr(
        library.index, "add", lambda pictures, records: (added.append(len(pictures)), add(pictures, records))
    )
    monkeypatch.setattr(library.index, "get", lambda ids: (asked.append(len(ids)), get(ids))[1])
    report = library.update()
    assert report.added == 199 and library.looked_at == 0
    assert len(added) == 4 and sum(asked) < 3 * 200


def test_copies_that_were_moved_together_keep_one_id_each(library: Library) -> None:
    first = library.draw("a/0.png", 1)
    shutil.copy(first, library.photos / "a/1.png")
    library.update()
    (library.photos / "a").rename(library.photos / "b")
    report = library.update()
    assert library.looked_at == 0 and report.added + report.moved == 2
    assert sorted(Path(one.path).name for one in library.index.pictures()) == ["0.png", "1.png"]


def test_a_copy_has_the_date_of_its_own_name(library: Library) -> None:
    first = library.draw("20190504_065057.png", 1)
    library.update()
    (library.photos / "20200102_030405.png").write_bytes(first.read_bytes())
    assert library.update().added == 1 and library.looked_at == 0
    assert {one.taken for one in library.index.pictures()} == {"2019-05-04T06:50:57", "2020-01-02T03:04:05"}


def test_a_file_that_is_not_quite_whole_stays_in_the_index(library: Library) -> None:
    path = library.draw("a.jpg", 1)
    library.update()
    path.write_bytes(path.read_bytes()[:-2])
    broken = library.draw("b.png", 2)
    data = broken.read_bytes()
    broken.write_bytes(data[:33] + b"\0\0\0\1tEXta\0\0\0\0" + data[33:])
    remarks: list[tuple[str, str]] = []
    library.upkeep._remark = lambda path, remark: remarks.append((Path(path).name, remark))
    report = library.update()
    assert (report.changed, report.added, report.skipped) == (1, 1, 0)
    assert [name for name, _ in remarks] == ["a.jpg", "b.png"] and "ends early" in remarks[0][1]
    assert sorted(library.held()) == ["a.jpg", "b.png"]


def test_what_is_not_read_is_counted_by_kind_and_root(library: Library) -> None:
    library.draw("in/a.png", 1)
    for name in ("in/film.mp4", "in/drawing.svg", "other.mov"):
        (library.photos / name).touch()
    assert library.update().walk.not_read == {"video": 2, "SVG": 1}
    (library.photos / "in/film.mp4").unlink()
    library.update(library.photos / "in")
    assert not_read(library.where / CATALOG) == {"video": 1, "SVG": 1}
