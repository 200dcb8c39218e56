"""`tagprism serve` as people start and stop it."""

from __future__ import annotations

import http.client
import importlib.util
import json
import signal
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tagprism.app import console
from tagprism.app.cli import app
from tests.command_line import python, tagprism
from tests.server.served import Served, served
from tests.small_world import World


def get(address: str, path: str) -> dict[str, object]:
    with urllib.request.urlopen(f"{address}{path}", timeout=60) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_it_serves_says_where_and_stops_well(index: Path) -> None:
    with served(index) as server:
        assert server.lines == [f"21 pictures at {server.address} (Ctrl-C stops)\n"]
        assert server.address.startswith("http://127.0.0.1:")
        assert get(server.address, "/health")["status"] == "ok"
        assert get(server.address, "/api/search?query=sky")["pictures"] == 21


@pytest.mark.slow
def test_ctrl_c_is_130_and_quiet_is_quiet(index: Path) -> None:
    server = Served(index)
    code, out = server.stop(signal.SIGINT)
    assert (code, out) == (130, "") and "Traceback" not in "".join(server.lines)


@pytest.mark.slow
def test_a_request_under_way_is_finished(index: Path, photos: Path) -> None:
    server = Served(index)
    port = int(server.address.rpartition(":")[2])
    body = b"".join(
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n',
            (photos / "coffee.jpg").read_bytes(),
            b"\r\n--x--\r\n",
        )
    )
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    line.putrequest("POST", "/api/tag")
    line.putheader("Content-Type", "multipart/form-data; boundary=x")
    line.putheader("Content-Length", str(len(body)))
    line.endheaders(body[:1000])
    time.sleep(0.3)
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(server.stop)
        time.sleep(0.5)
        line.send(body[1000:])
        answer = line.getresponse()
        assert answer.status == 200 and json.load(answer)["tags"]
        line.close()
        assert stopped.result(30)[0] == 0


@pytest.mark.slow
def test_it_uses_no_torch(index: Path) -> None:
    # The server's own process; that of the library is looked at from outside, where that can be.
    code = """
import os, sys
from tests.attack.attackers import children
from tests.server.served import serving
from pathlib import Path
with serving(Path(sys.argv[1])) as client:
    assert client.get("/api/search?query=sky").status_code == 200
    assert client.get("/api/images/1/explain?label=sky").status_code == 200
    parts = [Path(f"/proc/{one}/maps") for one in children(os.getpid())] if sys.platform == "linux" else []
    assert all("onnxruntime" in part.read_text() and "libtorch" not in part.read_text() for part in parts)
    assert len(parts) == (sys.platform == "linux")
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("torch", "timm", "lightning", "transformers")))
"""
    done = python(code, str(index))
    assert done.stdout == b"[]\n", done.stderr.decode()


def test_without_the_extra_it_says_what_to_install(
    index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "fastapi" else find(name, *rest)
    )
    assert console.run(lambda: app(["serve", str(index)], standalone_mode=False)) == 2
    assert 'pip install "tagprism[serve]"' in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
def test_what_cannot_be_served(index: Path, tmp_path: Path, world: World) -> None:
    for arguments, code, words in (
        ((tmp_path / "nothing",), 2, "is not an index"),
        ((index, "--host", "0.0.0.0"), 2, "--token"),
        ((index, "--token", "short"), 2, "too short"),
        ((index, "--model", world.run), 5, "another model"),
    ):
        done = tagprism("serve", *arguments)
        said = done.stderr.decode()
        assert done.returncode == code and words in said and "Traceback" not in said, said


@pytest.mark.slow
def test_a_port_in_use_is_code_6(index: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = tagprism("serve", index, "--port", str(other.getsockname()[1]))
    assert done.returncode == 6 and b"--port 0" in done.stderr


@pytest.mark.slow
def test_another_address_with_a_token(index: Path) -> None:
    token = "0123456789abcdef"
    with served(index, "--host", "0.0.0.0", environment={"TAGPRISM_TOKEN": token}) as server:
        port = server.address.rpartition(":")[2]
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/search")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code == 401
        refused.value.close()
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["pictures"] == 21
