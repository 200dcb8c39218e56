"""The server behind nginx and Caddy, with the configurations of docs/server.md: below a path, or of a host."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.attack.attackers import timed_get
from tests.server.served import TOKEN, make_index, make_photos, served

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
NGINX = """daemon off; {user} error_log stderr; pid {folder}/pid;
events {{}}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
server {{ listen 127.0.0.1:{port};
{block}
}} }}
"""
CADDY = """{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  bind 127.0.0.1
{block}
}}
"""


def blocks(kind: str) -> list[str]:
    """The configurations of a proxy that the documentation gives."""
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / "docs" / "server.md").read_text(encoding="utf-8"), re.DOTALL)


@contextmanager
def proxy(kind: str, block: str, folder: Path, upstream: str) -> Iterator[int]:
    """nginx or Caddy in a process of its own; gives its port."""
    program = shutil.which(kind, path="/usr/sbin:/usr/local/bin:/usr/bin:/bin")
    if program is None:
        pytest.skip(f"there is no {kind}: apt-get install {'nginx-light' if kind == 'nginx' else kind}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "config"
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers may not write below the folder
    template = NGINX if kind == "nginx" else CADDY
    config.write_text(
        template.format(user=user, folder=folder, port=port, block=block.replace("127.0.0.1:8765", upstream))
    )
    command = [program, "-p", folder, "-c", config] if kind == "nginx" else [program, "run", "--adapter", "caddyfile"]
    command += [] if kind == "nginx" else ["--config", config]
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "said").open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said, env=home) as process:
        try:
            for _ in range(600):
                if timed_get(f"http://127.0.0.1:{port}", "/")[0]:
                    break
                assert process.poll() is None, (folder / "said").read_text()
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def ask(address: str, path: str, **options: object) -> tuple[int, dict[str, str], bytes]:
    """Status code, headers and body; redirects are not followed."""
    headers = {"Authorization": f"Bearer {TOKEN}"} | options.pop("headers", {})  # type: ignore[operator]
    request = urllib.request.Request(f"{address}{path}", headers=headers, **options)  # type: ignore[arg-type]
    try:
        answer = urllib.request.build_opener(NoRedirects).open(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of these tests, which mark its pictures."""
    folder = tmp_path_factory.mktemp("behind")
    return make_index(folder / "photos.index", make_photos(folder / "photos", drawn=0))


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
@pytest.mark.parametrize("which", [0, 1])
def test_what_the_documents_say_works(index: Path, tmp_path: Path, kind: str, which: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        inner = free.getsockname()[1]
    block, prefix = blocks(kind)[which], ("/tags", "")[which]
    with proxy(kind, block, tmp_path, f"127.0.0.1:{inner}") as port:
        public = f"http://127.0.0.1:{port}{prefix}"
        options = ("--public-url", public, "--port", str(inner))
        with served(index, *options, environment={"TAGPRISM_TOKEN": TOKEN}) as server:
            assert server.address == f"{public}/"
            code, headers, _ = ask(public, "/", headers={"Accept": "text/html", "Authorization": ""})
            assert (code, headers["location"]) == (303, f"{prefix}/login")
            assert ask(public, "/static/login.css", headers={"Authorization": ""})[0] == 200
            code, headers, _ = ask(public, f"/?token={quote(TOKEN)}&q=sky", headers={"Accept": "text/html"})
            assert (code, headers["location"]) == (303, f"{prefix}/?q=sky")
            assert f"Path={prefix or '/'};" in headers["set-cookie"] + ";"
            cookie = {"Cookie": headers["set-cookie"].partition(";")[0], "Authorization": ""}
            assert b"static/page.js" in ask(public, "/", headers=cookie)[2]
            code, _, body = ask(public, "/api/search?query=sky", headers=cookie)
            assert code == 200 and json.loads(body)["pictures"] == 5
            said = cookie | {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
            mark = {"method": "PUT", "data": b'{"label": "behind a proxy", "mark": true}'}
            own = {"Origin": f"http://127.0.0.1:{port}"}
            assert ask(public, "/api/images/1/marks", headers=said | own, **mark)[0] == 200
            for origin in ("http://evil.example", "http://127.0.0.1:1"):
                assert ask(public, "/api/images/1/marks", headers=said | {"Origin": origin}, **mark)[0] == 403
            data = (index.parent / "photos" / "coffee.jpg").read_bytes()
            form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + data + b"\r\n--x--\r\n"
            kind_of = cookie | own | {"Content-Type": "multipart/form-data; boundary=x"}
            assert ask(public, "/api/tag", method="POST", data=form, headers=kind_of)[0] == 200
            large = bytes(3 << 20)  # more than nginx takes unless it is told to
            assert ask(public, "/api/tag", method="POST", data=large, headers=kind_of)[0] != 413


def test_the_page_works_below_a_path(index: Path, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with socket.create_server(("127.0.0.1", 0)) as free:
        inner = free.getsockname()[1]
    with proxy("nginx", blocks("nginx")[0], tmp_path, f"127.0.0.1:{inner}") as port:
        public = f"http://127.0.0.1:{port}/tags"
        with (
            served(index, "--public-url", public, "--port", str(inner), environment={"TAGPRISM_TOKEN": TOKEN}),
            sync_api.sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_page()
            page.set_default_timeout(60_000)
            page.goto(f"{public}/")
            page.fill("#token", TOKEN)
            page.click("button")
            sync_api.expect(page.locator(".tile")).to_have_count(5)
            page.click(".tile button")
            page.fill("#new-tag", "mine below")
            page.press("#new-tag", "Enter")
            sync_api.expect(page.locator("#tags")).to_contain_text("mine below")
            assert page.url.startswith(f"{public}/?photo=")
            assert page.evaluate("document.querySelector('#photo').naturalWidth") > 0
            browser.close()
