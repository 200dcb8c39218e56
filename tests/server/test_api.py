"""What the addresses of the API answer."""

from __future__ import annotations

import base64
import io
import json
import os
import threading
import time
from pathlib import Path

import pytest
from httpx import Response
from PIL import Image
from starlette.testclient import TestClient

from tagprism.app.server.work_queues import BatchingQueue
from tagprism.labels.phrases import normalise_phrase
from tagprism.tagging.explain import Explainer
from tagprism.tagging.tagger import load
from tests.hostile_pictures import encoded, noise, png, scan_bomb
from tests.server.served import PHOTOS, make_index, serving
from tests.server.test_guard import error_of


def number_of(client: TestClient, name: str) -> int:
    """Id of a picture by its file's name."""
    hits = client.get("/api/search", params={"limit": 200}).json()["hits"]
    return next(hit["id"] for hit in hits if hit["name"] == name)


def test_it_answers_503_until_it_is_ready(index: Path) -> None:
    may_load = threading.Event()
    with serving(index, before=may_load.wait) as client:
        try:
            starting = client.get("/health")
            assert (starting.status_code, starting.json()["status"], starting.json()["device"]) == (503, "starting", "")
            refused = client.get("/api/search")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            error_of(refused)
            assert client.get("/").status_code == 200  # the page itself is there, and waits
        finally:
            may_load.set()
        while client.get("/health").status_code == 503:
            time.sleep(0.05)
        assert client.get("/health").json()["device"] == "cpu"
        assert client.get("/api/search").status_code == 200


def test_all_pictures_come_in_parts(client: TestClient) -> None:
    first = client.get("/api/search", params={"limit": 20}).json()
    second = client.get("/api/search", params={"limit": 20, "offset": 20}).json()
    assert first["pictures"] == 21 and first["more"] and not second["more"]
    assert sorted(hit["id"] for hit in first["hits"] + second["hits"]) == list(range(1, 22))


def test_an_upload_gets_the_tags_that_tag_gives_its_file(client: TestClient, photos: Path) -> None:
    tagger, cat = load(), photos / "chelsea.jpg"
    (wanted,) = tagger.tag(cat, top_k=5)
    answer = client.post("/api/tag", files={"file": cat.read_bytes()}, data={"top_k": 5, "explain": True}).json()
    assert [tag["label"] for tag in answer["tags"]] == [tag.label for tag in wanted.tags]
    assert [tag["probability"] for tag in answer["tags"]] == pytest.approx(
        [t.probability for t in wanted.tags], rel=1e-4
    )
    assert [tag["vector"] for tag in answer["tags"]] == [tag.vector for tag in wanted.tags]
    assert len(answer["explanation"]["tags"]) == 5


def test_an_upload_may_bring_its_own_words(client: TestClient, photos: Path) -> None:
    data = {"labels": ["grass", "head", "grass"]}
    answer = client.post("/api/tag", files={"file": (photos / "chelsea.jpg").read_bytes()}, data=data)
    assert {tag["label"] for tag in answer.json()["tags"]} == {"grass", "head"}


def test_words_may_come_as_one_text_with_commas(client: TestClient, photos: Path) -> None:
    files = {"file": (photos / "chelsea.jpg").read_bytes()}
    answer = client.post("/api/tag", files=files, data={"labels": "cat, polar bear;grass,, cat"})
    assert {tag["label"] for tag in answer.json()["tags"]} == {"cat", "polar bear", "grass"}
    many = client.post("/api/tag", files=files, data={"labels": ",".join(f"word {n}" for n in range(101))})
    assert many.status_code == 422


def test_unknown_words_are_named_and_alone_refused(client: TestClient, photos: Path) -> None:
    files = {"file": (photos / "chelsea.jpg").read_bytes()}
    some = client.post("/api/tag", files=files, data={"labels": "cat, qwxzvbn"}).json()
    assert [tag["label"] for tag in some["tags"]] == ["cat"]
    assert len(some["remarks"]) == 1 and "1 of the words is unknown to this model: `qwxzvbn`" in some["remarks"][0]
    refused = client.post("/api/tag", files=files, data={"labels": "qwxzvbn, 12345"})
    assert refused.status_code == 422 and "`qwxzvbn`" in refused.json()["error"]["what"]
    assert client.post("/api/tag", files=files).json()["remarks"] == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
        (b"%PDF-1.7", 415),
        (png(60_000, 60_000, [b""]), 413),
        (encoded(noise(), "PNG")[:1000], 422),
        (encoded(noise(), "JPEG")[:100], 422),
        (scan_bomb(100, 50), 200),
        (encoded(noise(), "BMP"), 200),
    ],
)
def test_hostile_uploads_end_with_a_clear_error(client: TestClient, data: bytes, status: int) -> None:
    answer = client.post("/api/tag", files={"file": ("../../<script>.png", data)})
    assert answer.status_code == status, answer.text
    if status != 200:
        error = error_of(answer)
        assert error["what"] and error["where"] == "<script>.png"


def test_uploads_that_come_together_are_one_batch() -> None:
    sizes, may_go = [], threading.Event()

    def network(pixels: object) -> list[int]:
        may_go.wait(10)
        sizes.append(len(pixels))  # type: ignore[arg-type]
        return [number * 2 for number in pixels]  # type: ignore[attr-defined]

    together = BatchingQueue("network", network, most=8, waiting=32)
    futures = [together.submit(number) for number in range(20)]
    may_go.set()
    assert [future.result(10) for future in futures] == [2 * number for number in range(20)]
    together.close()
    assert sum(sizes) == 20 and max(sizes) == 8 and len(sizes) <= 4


def test_a_batch_that_fails_fails_for_its_own_callers_alone() -> None:
    def network(pixels: object) -> list[int]:
        return [10 // number for number in pixels]  # type: ignore[attr-defined]

    together = BatchingQueue("network", network, most=1, waiting=8)
    good, bad, later = together.submit(5), together.submit(0), together.submit(2)
    assert good.result(10) == 2 and later.result(10) == 5
    with pytest.raises(ZeroDivisionError):
        bad.result(10)
    together.close()


def test_a_picture_has_its_tags_and_its_file(client: TestClient, photos: Path) -> None:
    number = number_of(client, "rocket.jpg")
    answer = client.get(f"/api/images/{number}").json()
    assert answer["path"] == str(photos / "rocket.jpg") and answer["explains"] and answer["keywords"] == []
    (wanted,) = load().tag(photos / "rocket.jpg", top_k=3)
    assert [tag["label"] for tag in answer["tags"][:3]] == [tag.label for tag in wanted.tags]
    original = client.get(f"/api/images/{number}/original")
    assert original.content == (photos / "rocket.jpg").read_bytes()
    assert original.headers["content-type"] == "image/jpeg"
    assert original.headers["content-disposition"] == "inline; filename*=UTF-8''rocket.jpg"


def test_no_such_picture(client: TestClient) -> None:
    for path in ("", "/original", "/thumbnail", "/explain?label=dog"):
        for number in (9999, 2**63 - 1):
            answer = client.get(f"/api/images/{number}{path}")
            assert answer.status_code == 404
            error_of(answer)
    for number in ("0", "-1", str(2**63), "x", "1.5", "..%2f..%2fetc%2fpasswd"):
        assert client.get(f"/api/images/{number}").status_code in (404, 422)


def test_why_a_picture_has_a_tag(client: TestClient, photos: Path) -> None:
    number = number_of(client, "coffee.jpg")
    answer = client.get(f"/api/images/{number}/explain", params={"label": ["cup", "tables"]}).json()
    wanted = Explainer(load(), ["cup", "tables"]).explain(photos / "coffee.jpg", ["cup", "tables"])
    for tag, why in zip(answer["tags"], wanted.tags, strict=True):
        assert (tag["label"], tag["vector"]) == (why.label, why.vector)
        assert sum(map(sum, tag["places"])) + tag["without_place"] == pytest.approx(tag["score"], abs=0.01)
        assert tag["vectors"] == pytest.approx(list(why.vectors), rel=1e-4)


@pytest.mark.slow
def test_thumbnails_are_upright_small_and_without_metadata(own: tuple[Path, Path]) -> None:
    folder, _ = own
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "taken at home"
    tall = Image.new("RGB", (1200, 600), "red")
    tall.paste("blue", (0, 0, 600, 600))
    tall.save(folder / "a.jpg", exif=exif)

    with serving(make_index(folder.parent / "again.index", folder)) as client:
        number = number_of(client, "a.jpg")
        answer = client.get(f"/api/images/{number}/thumbnail")
        image = Image.open(io.BytesIO(answer.content))
        assert image.size == (180, 360) and not image.getexif() and image.format == "JPEG"
        top, bottom = image.getpixel((90, 20)), image.getpixel((90, 340))
        assert isinstance(top, tuple) and isinstance(bottom, tuple)
        assert top[2] > 200 > top[0] and bottom[0] > 200 > bottom[2]
        tag = answer.headers["etag"]
        again = client.get(f"/api/images/{number}/thumbnail", headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")
        digest = client.get(f"/api/images/{number}").json()["digest"]
        kept = client.get(f"/api/images/{number}/thumbnail", params={"size": 720, "version": digest})
        assert "immutable" in kept.headers["cache-control"]
        assert client.get(f"/api/images/{number}/thumbnail", params={"size": 361}).status_code == 422


def test_labels_are_completed(client: TestClient) -> None:
    answer = client.get("/api/labels", params={"prefix": "NIGHT s"}).json()
    assert answer["labels"] and all("night s" in label["label"] for label in answer["labels"])
    within = client.get("/api/labels", params={"prefix": "sky"}).json()["labels"]
    assert within[0]["label"] == "sky"
    for typed, known in (("red car", True), ("king", True), ("rocke", False), ("red rocke", False), ("", False)):
        assert client.get("/api/labels", params={"prefix": typed}).json()["known"] is known, typed
    near = client.get("/api/labels", params={"prefix": "elephnat"}).json()
    assert near["labels"] == [] and "elephant" in near["near"]
    frequent = client.get("/api/labels").json()["labels"]
    counts = [label["pictures"] for label in frequent]
    assert counts == sorted(counts, reverse=True) and counts[0] > 0
    for label in frequent[:4]:  # what is offered finds something
        hits = client.get("/api/search", params={"query": label["label"], "limit": 100}).json()["hits"]
        assert sum(hit["likely"] for hit in hits) >= label["pictures"]


@pytest.mark.slow
def test_what_a_person_says_of_a_tag_is_kept(own: tuple[Path, Path]) -> None:
    folder, index = own
    with serving(index) as client:
        number = number_of(client, "chelsea.jpg")
        path = f"/api/images/{number}/marks"
        first = client.get(f"/api/images/{number}").json()["tags"][0]["label"]
        client.put(path, json={"label": first, "mark": False})
        tags = client.put(path, json={"label": " My  Cat ", "mark": True}).json()["tags"]
        assert (tags[0]["label"], tags[0]["mark"]) == ("My Cat", True)
        assert (tags[-1]["label"], tags[-1]["mark"]) == (first, False)
    (folder / "chelsea.jpg").rename(folder / "tom.jpg")

    again = make_index(folder.parent / "again.index", folder)
    (index / "marks.sqlite").rename(again / "marks.sqlite")
    with serving(again) as client:  # a new index, and the file has moved
        number = number_of(client, "tom.jpg")
        tags = client.get(f"/api/images/{number}").json()["tags"]
        assert (tags[0]["label"], tags[-1]["label"]) == ("My Cat", first)
        back = client.put(f"/api/images/{number}/marks", json={"label": "my cat", "mark": None}).json()["tags"]
        assert "My Cat" not in [tag["label"] for tag in back]


@pytest.mark.slow
def test_marks_become_keywords_on_request_and_undo_takes_them_back(own: tuple[Path, Path]) -> None:
    folder, index = own
    sidecar = folder / "chelsea.jpg.xmp"
    with serving(index) as client:
        number = number_of(client, "chelsea.jpg")
        client.put(f"/api/images/{number}/marks", json={"label": "Tom <3", "mark": True})
        assert not sidecar.exists()
        written = client.post(f"/api/images/{number}/keywords").json()
        assert written["changed"] and written["keywords"] == ["Tom <3"] and b"Tom &lt;3" in sidecar.read_bytes()
        assert client.get(f"/api/images/{number}").json()["keywords"] == ["Tom <3"]
        assert client.post(f"/api/images/{number}/keywords").json()["changed"] is False
        undone = client.post(f"/api/keywords/{written['run']}/undo").json()
        assert undone == {"run": written["run"], "files": 1, "left": []} and not sidecar.exists()
        bad = client.put(f"/api/images/{number}/marks", json={"label": "bell \x07", "mark": True})
        assert bad.status_code == 200
        assert client.post(f"/api/images/{number}/keywords").status_code == 409  # XML cannot hold it


@pytest.mark.slow
def test_nothing_outside_the_folders_is_given_out(
    own: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "cache"))  # without thumbnails of other tests
    folder, index = own
    secret = folder.parent / "secret.jpg"
    secret.write_bytes((folder / "coffee.jpg").read_bytes())
    with serving(index) as client:
        cat, coffee, rocket, space = (
            number_of(client, name) for name in ("chelsea.jpg", "coffee.jpg", "rocket.jpg", "hubble_deep_field.jpg")
        )
        (folder / "chelsea.jpg").rename(folder.parent / "chelsea.jpg")  # moved away
        (folder / "coffee.jpg").unlink()
        (folder / "coffee.jpg").symlink_to(secret)  # a link to the same bytes elsewhere
        (folder / "rocket.jpg").write_bytes(b"something private")
        (folder / "hubble_deep_field.jpg").unlink()
        os.mkfifo(folder / "hubble_deep_field.jpg")
        for number in (cat, coffee, rocket, space):
            for path in ("original", "thumbnail?size=1600", "explain?label=dog"):
                answer = client.get(f"/api/images/{number}/{path}")
                assert answer.status_code == 404, path
                assert b"private" not in answer.content and str(folder).encode() not in answer.content
            assert client.post(f"/api/images/{number}/keywords").status_code == 404
        for path in (
            "..%2f..%2f..%2fguard.py",
            "%2e%2e/%2e%2e/guard.py",
            "../guard.py",
            "....//guard.py",
            "%00",
            "page.css%00",
        ):
            assert client.get(f"/static/{path}").status_code == 404


@pytest.mark.slow
def test_names_of_any_bytes(own: tuple[Path, Path]) -> None:
    folder, _ = own

    odd = os.fsencode(folder) + b'/\xff\xfe "\r\n<img src=x onerror=alert(1)>.jpg'
    os.rename(folder / "coffee.jpg", odd)  # noqa: PTH104
    with serving(make_index(folder.parent / "again.index", folder)) as client:
        hits = client.get("/api/search", params={"limit": 200}).json()["hits"]
        (hit,) = [hit for hit in hits if "onerror" in hit["name"]]
        assert hit["name"].startswith("\\xff\\xfe")
        assert client.get(f"/api/images/{hit['id']}").status_code == 200
        original = client.get(f"/api/images/{hit['id']}/original")
        assert original.status_code == 200 and "%FF%FE" in original.headers["content-disposition"]
        assert "\n" not in original.headers["content-disposition"]


def test_errors_have_one_form(client: TestClient) -> None:
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("DELETE", "/api/search", 405),
        ("GET", "/api/search?limit=0", 422),
        ("POST", "/api/tag", 422),
    ):
        answer = client.request(method, path)
        assert answer.status_code == status
        error_of(answer)


@pytest.mark.slow
def test_an_own_tag_is_found_and_wins_also_without_an_encoder(own: tuple[Path, Path]) -> None:
    _, index = own
    with serving(index) as client:
        number = number_of(client, "chelsea.jpg")
        path = f"/api/images/{number}"
        for label in ("Rex the <corgi>", "cat", "a frobnicated quux"):
            client.put(f"{path}/marks", json={"label": label, "mark": True})
        tags = {tag["label"]: tag for tag in client.get(path).json()["tags"]}
        assert [tags[name]["probability"] for name in ("Rex the <corgi>", "cat", "a frobnicated quux")] == [1, 1, 1]
        assert tags["cat"]["score"] is not None
        for query in ('"Rex the <corgi>"', 'tag:"rex THE <corgi>"', '"a frobnicated quux" cat'):
            hits = client.get("/api/search", params={"query": query}).json()["hits"]
            assert [hit["id"] for hit in hits if hit["likely"] is not False] == [number], query
            assert hits[0]["match"] == 1.0 and "Rex the <corgi>" in hits[0]["own"]
        first = client.get("/api/search", params={"query": "cat"}).json()["hits"][0]
        assert (first["id"], first["match"], first["likely"], first["asked"][0]["probability"]) == (number, 1, True, 1)


def test_many_own_tags_are_embedded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from tagprism.app.server import forms

    calls: list[int] = []
    ranker, tagger = forms.LabelRanker, load("photos-lite")
    monkeypatch.setattr(
        forms, "LabelRanker", lambda tagger, labels: calls.append(len(labels)) or ranker(tagger, labels)
    )
    ((_, record, _),) = tagger.records([PHOTOS / "rocket.jpg"])
    names = tagger.vocabulary.names[-40:]
    tags = forms.marked_tags(tagger, (), (), {normalise_phrase(name): (name, True) for name in names}, record)
    assert {tag.label for tag in tags if tag.mark} == set(names)
    assert calls == [40]


@pytest.mark.slow
def test_an_uploaded_picture_that_is_indexed_is_recognised_and_a_copy_is_fully_alike(
    own: tuple[Path, Path],
) -> None:
    folder, index = own
    data = (folder / "rocket.jpg").read_bytes()
    with serving(index) as client:
        number = number_of(client, "rocket.jpg")
        answer = client.post("/api/tag", files={"file": ("other.jpg", data)}, data={"similar": 3}).json()
        assert answer["known"]["id"] == number and answer["preview"] is None
        assert (answer["similar"][0]["id"], answer["similar"][0]["match"]) == (number, 1.0)
        assert all(hit["match"] < 0.991 for hit in answer["similar"][1:])
        picture = Image.open(io.BytesIO(data))
        smaller = io.BytesIO()
        picture.resize((picture.width * 9 // 10, picture.height * 9 // 10)).save(smaller, "PNG")
        answer = client.post("/api/tag", files={"file": ("a.png", smaller.getvalue())}, data={"similar": 1}).json()
        assert answer["known"] is None and answer["similar"][0]["id"] == number


def test_what_a_browser_cannot_show_comes_back_as_a_jpeg(client: TestClient, photos: Path) -> None:
    tiff = io.BytesIO()
    Image.open(photos / "rocket.jpg").save(tiff, "TIFF")
    asked = {"preview": "true", "top_k": "1"}
    answer = client.post("/api/tag", files={"file": ("a.tif", tiff.getvalue())}, data=asked).json()
    kind, _, data = answer["preview"].partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown, Image.open(photos / "rocket.jpg") as original:
        assert shown.format == "JPEG" and shown.size == original.size


@pytest.mark.slow
def test_several_pictures_are_tagged_written_and_exported(own: tuple[Path, Path]) -> None:
    folder, index = own
    with serving(index) as client:
        ids = [number_of(client, name) for name in ("chelsea.jpg", "coffee.jpg", "rocket.jpg")]
        said = client.put("/api/selection/marks", json={"ids": [*ids[:2], 999], "label": "Oma", "mark": True})
        assert said.json() == {"pictures": 2}
        hits = client.get("/api/search", params={"query": "tag:oma"}).json()["hits"]
        assert {hit["id"] for hit in hits} == set(ids[:2])
        (folder / "coffee.jpg").write_bytes(b"changed")
        written = client.post("/api/selection/keywords", json={"ids": ids}).json()
        assert written["written"] == 1 and len(written["left"]) == 1 and "coffee.jpg" in written["left"][0]
        assert b"Oma" in (folder / "chelsea.jpg.xmp").read_bytes()
        undone = client.post(f"/api/keywords/{written['run']}/undo").json()
        assert undone["files"] == 1 and not (folder / "chelsea.jpg.xmp").exists()
        again = client.post("/api/selection/keywords", json={"ids": ids[2:]}).json()
        assert again == {"written": 0, "left": [], "run": None}

        def exported(format: str, **more: object) -> Response:
            return client.post("/api/selection/export", json={"ids": ids[::2], "format": format, **more})

        paths = exported("paths")
        assert paths.text.split() == [str(folder / "chelsea.jpg"), str(folder / "rocket.jpg")]
        assert paths.headers["content-disposition"] == 'attachment; filename="pictures.txt"'
        rows = [json.loads(line) for line in exported("jsonl", query="rocket NOT head").text.splitlines()]
        assert rows[0]["path"].endswith("rocket.jpg") and len(rows) == 2
        assert [tag["label"] for tag in rows[0]["labels"]] == ["rocket", "head"]
        album = exported("album", query="rocket").json()
        assert album["query"] == "rocket" and len(album["pictures"]) == 2
        assert exported("csv").content.startswith("\ufeffpath,".encode())
        assert exported("exe").status_code == 422
        for ids_given in ([], [0], ["x"], list(range(1, 2002))):
            assert client.post("/api/selection/keywords", json={"ids": ids_given}).status_code == 422
        crossed = client.post("/api/selection/keywords", json={"ids": ids}, headers={"origin": "http://evil.example"})
        assert crossed.status_code == 403
