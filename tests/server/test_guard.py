"""Who may ask the server: hosts, origins, token, sizes, and what every answer carries."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tagprism.app.server import guard
from tests.server.served import TOKEN, serving


def error_of(answer: object) -> dict[str, str | None]:
    """The error of an answer, which must have the form of all errors."""
    body = answer.json()  # type: ignore[attr-defined]
    assert set(body) == {"error"} and set(body["error"]) >= {"what", "where", "remedy"}, body
    return body["error"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8765", "localhost:1", "[::1]:8765", "LOCALHOST", "localhost."]
)
def test_this_machine_may_be_named_so(client: TestClient, host: str) -> None:
    assert client.get("/api/search", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "192.168.1.2", ""]
)
def test_a_foreign_name_for_this_machine_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/api/search", headers={"host": host})
    assert answer.status_code == 421
    assert "not called" in str(error_of(answer)["what"])


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
)
def test_a_page_elsewhere_changes_nothing(client: TestClient, headers: dict[str, str]) -> None:
    before = client.get("/api/images/1").json()
    said = {"label": "planted", "mark": True}
    assert client.put("/api/images/1/marks", json=said, headers=headers).status_code == 403
    assert client.post("/api/images/1/keywords", headers=headers).status_code == 403
    assert client.post("/api/keywords/20260101-000000-000000/undo", headers=headers).status_code == 403
    assert client.get("/api/images/1").json() == before


def test_a_page_elsewhere_sees_no_picture_but_may_link_to_the_page(client: TestClient) -> None:
    elsewhere = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert client.get("/api/images/1/thumbnail", headers=elsewhere).status_code == 403
    assert client.get("/", headers=elsewhere | {"sec-fetch-mode": "navigate"}).status_code == 200
    own = {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1"}
    assert client.put("/api/images/1/marks", json={"label": "x", "mark": None}, headers=own).status_code == 200


def test_every_answer_has_the_headers(client: TestClient) -> None:
    for path in (
        "/",
        "/health",
        "/api/search",
        "/api/images/1/thumbnail",
        "/static/page.js",
        "/nowhere",
        "/openapi.json",
    ):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert client.get("/api/search").headers["cache-control"] == "no-store"


def test_without_the_token_there_is_nothing(index: Path) -> None:
    with serving(index, token=TOKEN) as client:
        for path in ("/api/search", "/api/images/1", "/api/images/1/thumbnail", "/openapi.json", "/static/page.js"):
            answer = client.get(path)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert client.get(path, headers={"authorization": f"Bearer {TOKEN}x"}).status_code == 401
            assert client.get(path, headers={"cookie": "tagprism=0"}).status_code == 401
            assert client.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/health").status_code == 200
        assert client.get("/api/search", params={"token": TOKEN}).status_code == 401  # in addresses for the page alone


@pytest.mark.slow
def test_a_browser_gets_a_cookie_for_the_token(index: Path) -> None:
    page = {"accept": "text/html"}
    with serving(index, token=TOKEN) as client:
        sent_away = client.get("/", headers=page)
        assert (sent_away.status_code, sent_away.headers["location"]) == (303, "/login")
        assert client.get("/login").status_code == 200
        assert client.post("/login", data={"token": "wrong"}).status_code == 401
        entered = client.post("/login", data={"token": TOKEN})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie and TOKEN not in cookie
        assert client.get("/", headers=page).status_code == 200
        assert client.get("/api/search").status_code == 200
        client.cookies.clear()
        linked = client.get("/", params={"token": TOKEN}, headers=page)
        assert (linked.status_code, linked.headers["location"]) == (303, "/")
        assert client.get("/api/search").status_code == 200


def test_what_is_too_large_is_refused_unread(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_UPLOAD", 1_000_000)
    assert client.post("/api/tag", files={"file": bytes(1_200_000)}).status_code == 413
    assert client.put("/api/images/1/marks", content=bytes(100_000)).status_code == 413

    def dripping() -> object:
        for _ in range(20):
            yield bytes(100_000)

    unstated = client.post("/api/tag", content=dripping(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert unstated.status_code == 413
    assert "at most" in str(error_of(unstated)["remedy"])


def test_too_many_at_once_are_told_to_come_again(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_AT_ONCE", 0)
    answer = client.get("/api/search")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    error_of(answer)
