"""Tokens, addresses and what is deleted meanwhile: each in a way that somebody got wrong, or wrong on purpose."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tagprism.app.commands.serve import read_token
from tagprism.app.server import access, originals
from tagprism.app.server.public_url import PublicUrl
from tagprism.errors import InputError, PictureError
from tagprism.search.contract import Picture
from tests.attack.attackers import timed_get
from tests.command_line import tagprism
from tests.server.served import TOKEN, served, serving

PAGE = {"accept": "text/html"}
PUBLIC = "https://photos.example.org/tags"


@pytest.mark.slow
def test_a_brake_on_guessing(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(index, token=TOKEN) as client:
        known = client.post("/login", data={"token": TOKEN})
        assert known.status_code == 303
        cookie = {"cookie": known.headers["set-cookie"].partition(";")[0]}
        client.cookies.clear()
        for number in range(access.GUESSES):
            if number % 2:
                assert client.post("/login", data={"token": f"guess {number}"}).status_code == 401
            else:
                assert client.get("/", params={"token": "guess"}, headers=PAGE).headers["location"] == "/login"
        for token in ("one more", TOKEN):  # a right one says nothing now either
            answer = client.post("/login", data={"token": token})
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
        assert client.get("/api/search", headers=cookie).status_code == 200  # who is in stays in
        monkeypatch.setattr(access, "MINUTE", 0.0)
        assert client.post("/login", data={"token": TOKEN}).status_code == 303


@pytest.mark.slow
def test_behind_a_proxy_each_address_has_a_brake_of_its_own(index: Path) -> None:
    with serving(index, token=TOKEN, public=PUBLIC) as client:
        for number in range(access.GUESSES + 1):
            said = {"x-forwarded-for": f"10.0.0.{number}, 192.0.2.1"}  # the first is what a client says of itself
            last = client.post("/tags/login", data={"token": "guess"}, headers=said)
        assert last.status_code == 429
        other = client.post("/tags/login", data={"token": TOKEN}, headers={"x-forwarded-for": "192.0.2.2"})
        assert (other.status_code, other.headers["location"]) == (303, "/tags/")
        cookie = other.headers["set-cookie"]
        assert "Path=/tags;" in cookie + ";" and "Secure" in cookie


@pytest.mark.slow
def test_the_token_leaves_the_address_whoever_is_in(index: Path) -> None:
    with serving(index, token=TOKEN) as client:
        for _ in range(2):  # the second time with the cookie
            answer = client.get("/", params={"token": TOKEN, "q": "sky & sea"}, headers=PAGE)
            assert (answer.status_code, answer.headers["location"]) == (303, "/?q=sky+%26+sea")
        assert client.get("/", params={"token": "wrong"}, headers=PAGE).headers["location"] == "/"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("photos.example.org", "https://photos.example.org", 200),
        ("127.0.0.1:8765", "https://photos.example.org", 200),  # the proxy sends its upstream's name
        ("photos.example.org", "https://photos.example.org:443", 200),
        ("photos.example.org:443", "https://photos.example.org", 200),
        ("photos.example.org", "http://photos.example.org", 403),
        ("photos.example.org", "https://photos.example.org:444", 403),
        ("photos.example.org", "https://photos.example.org.evil.example", 403),
        ("photos.example.org", "https://evil.example", 403),
        ("photos.example.org", "null", 403),
        ("photos.example.org", "https://[", 403),
        ("evil.example", "https://photos.example.org", 421),
    ],
)
def test_the_origin_is_held_against_the_public_address(
    proxied: TestClient, host: str, origin: str, status: int
) -> None:
    said = {"host": host, "origin": origin, "sec-fetch-site": "same-origin"}
    said |= {"x-forwarded-host": "evil.example", "x-forwarded-proto": "gopher", "forwarded": "for=;;;", "via": "\x7f"}
    for prefix in ("", "/tags"):  # taken away by the proxy, or not
        path = f"{prefix}/api/images/1/marks"
        answer = proxied.put(path, json={"label": "planted", "mark": None}, headers=said)
        assert answer.status_code == status


@pytest.fixture(scope="module")
def proxied(index: Path) -> Iterator[TestClient]:
    with serving(index, public=PUBLIC) as client:
        yield client


@pytest.mark.slow
def test_addresses_follow_the_public_one(proxied: TestClient) -> None:
    client, host = proxied, {"host": "photos.example.org"}
    assert client.get("/openapi.json", headers=host).json()["servers"] == [{"url": PUBLIC}]
    for path in ("/tags", "/tags/", "/"):
        page = client.get(path, headers=host).text
        assert 'src="static/page.js"' in page and 'href="/' not in page and 'src="/' not in page
    assert client.get("/tagsX/", headers=host).status_code == 404


@pytest.mark.parametrize(
    "text",
    [
        "photos.example.org",
        "ftp://photos.example.org",
        "https://",
        "https://photos.example.org/../tags",
        "https://photos.example.org/a/./b",
        "https://photos.example.org//tags",
        "https://photos.example.org/%2e%2e",
        "https://photos.example.org/a b",
        "https://photos.example.org/tags?x",
        "https://photos.example.org/tags#x",
        "https://me@photos.example.org",
        "https://photos.example.org:99999",
        "https://[::1",
        'https://photos.example.org/"',
        "https://photos.example.org/\n",
    ],
)
def test_what_is_no_public_address(text: str) -> None:
    with pytest.raises(InputError):
        PublicUrl.of(text)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_an_address_that_says_the_same_again_or_an_error(host: str, path: str) -> None:
    try:
        url = PublicUrl.of(f"https://{host}/{path}")
    except InputError:
        return
    assert PublicUrl.of(str(url)) == url


def test_a_public_address_is_as_browsers_write_it() -> None:
    assert str(PublicUrl.of("https://Photos.Example.ORG:443/tags/")) == "https://photos.example.org/tags/"
    assert str(PublicUrl.of("http://[::1]:8080")) == "http://[::1]:8080/"


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (b"\n", 0o600, "is empty"),
        (b"0123456789abcdef\n", 0o644, "can be read by everyone"),
        (b"x" * 5000, 0o600, "too long"),
        (None, 0o600, "cannot be read"),
    ],
)
def test_a_token_file_that_is_no_secret(tmp_path: Path, text: bytes | None, mode: int, words: str) -> None:
    file = tmp_path / "token"
    if text is not None:
        file.write_bytes(text)
        file.chmod(mode)
    with pytest.raises(InputError, match=words):
        read_token(file)


@pytest.mark.slow
def test_a_token_file_as_people_give_it(index: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"0123456789abcdef\xff")
    file.chmod(0o600)
    done = tagprism("serve", index, "--token-file", file)
    said = " ".join(done.stderr.decode().split())
    assert done.returncode == 2 and "too short or not plain" in said and "Traceback" not in said, said
    file.write_text(f"{TOKEN}\n")
    with served(index, "--token-file", str(file)) as server:
        assert timed_get(server.address, "/api/search")[0] == 401
        asked = urllib.request.Request(f"{server.address}/api/search", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert answer.status == 200
        command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert TOKEN.encode() not in command


@pytest.mark.slow
def test_an_index_that_is_deleted_is_said_to_be_and_comes_back(own: tuple[Path, Path]) -> None:
    _, index = own
    away = index.parent / "away"
    with serving(index) as client:
        said = {"label": "mine", "mark": True}
        index.rename(away)
        refused = client.put("/api/images/1/marks", json=said)
        assert refused.status_code == 503 and "no longer there" in refused.json()["error"]["what"]
        while (answer := client.get("/api/search")).status_code == 503 and "retry-after" in answer.headers:
            time.sleep(0.05)
        assert answer.status_code == 503 and "is not an index" in answer.json()["error"]["what"]
        assert client.get("/health").status_code == 503
        away.rename(index)
        while client.get("/health").status_code != 200:
            time.sleep(0.05)
        assert client.put("/api/images/1/marks", json=said).status_code == 200
        (index / "marks.sqlite").unlink()
        assert client.put("/api/images/1/marks", json=said).status_code == 503
        shutil.rmtree(index)
        assert client.put("/api/images/1/marks", json=said).status_code == 503


@pytest.mark.slow
def test_a_photo_that_is_deleted_has_no_thumbnail(own: tuple[Path, Path]) -> None:
    folder, index = own
    with serving(index) as client:
        hits = client.get("/api/search").json()["hits"]
        for hit in hits[:2]:
            path = f"/api/images/{hit['id']}/thumbnail"
            made = client.get(path)
            assert made.status_code == 200
            os.utime(folder / hit["name"])  # touched, but the same
            assert client.get(path, headers={"if-none-match": made.headers["etag"]}).status_code == 304
            (folder / hit["name"]).unlink()
            assert client.get(path).status_code == 404
            assert client.get(path, headers={"if-none-match": made.headers["etag"]}).status_code == 404
        refused = client.put(f"/api/images/{hits[3]['id']}/marks", json={"label": "a\0b", "mark": True})
        assert refused.status_code == 422


def test_an_original_that_changes_while_it_is_sent_is_broken_off(tmp_path: Path) -> None:
    file, data = tmp_path / "a.jpg", os.urandom(2 * originals.PART + 5)
    file.write_bytes(data)
    picture = Picture(1, str(file), len(data), 0, hashlib.sha256(data).hexdigest(), 1, 1)
    described = originals.describe_original(picture, [str(tmp_path)])
    assert described.size == len(data)

    async def read(secret: bytes | None) -> bytes:
        got = b""
        async for part in originals.stream_original(described):
            got += part
            if secret is not None:
                file.write_bytes(secret)
        return got

    assert asyncio.run(read(None)) == data
    with pytest.raises(PictureError, match="was changed"):
        asyncio.run(read(b"secret" * originals.PART))
