"""Names of models: packaged, on a hub (a server of our own on this machine), or a path."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tagprism
from tagprism.bundle import bundle as module
from tagprism.bundle import hub as hub_module
from tagprism.bundle.bundle import find_bundle
from tagprism.errors import InputError, MachineError
from tests.command_line import tagprism as command
from tests.small_world import World

COMMIT = "1" * 40


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World) -> Path:
    """A package folder with the bundle `photos-lite`."""
    monkeypatch.setattr(module, "BUNDLES", tmp_path / "bundles")
    shutil.copytree(world.run / "bundle", tmp_path / "bundles/photos-lite")
    return tmp_path / "bundles"


def test_a_packaged_name_is_not_changed_by_what_lies_in_the_folder(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos-lite").mkdir()
    (tmp_path / "run").mkdir()
    assert find_bundle("photos-lite") == packaged / "photos-lite"
    assert find_bundle("./photos-lite") == Path("photos-lite")
    assert find_bundle("run") == Path("run")
    assert tagprism.load().bundle.path == packaged / "photos-lite"
    with pytest.raises(InputError, match="is not a bundle"):
        tagprism.load(Path("photos-lite"))  # a Path is always a folder
    with pytest.raises(InputError, match=r"no model `photos`.*packaged: photos-lite"):
        find_bundle("photos")


def test_the_default_bundle_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUNDLES", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"photos-lite is not part of this installation.*--model"):
        find_bundle("photos-lite")


@pytest.mark.parametrize("name", ["a", "a/", "/b", "a/b/c", "a/b@", "../b", "a/..", "a b/c", "a/b@-x", "https://a/b"])
def test_names_that_are_none_of_a_hub(name: str) -> None:
    with pytest.raises(InputError, match=r"not of the form|not a name of the hub"):
        find_bundle(f"hf-hub:{name}")


class _Hub(BaseHTTPRequestHandler):
    """As much of a model hub as fetching a snapshot needs."""

    files: dict[str, bytes]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        name = path.partition(f"/owner/small/resolve/{COMMIT}/")[2]
        headers = {"X-Repo-Commit": COMMIT}
        if path.startswith("/api/models/owner/small/tree/"):
            digests = {at: hashlib.sha1(data).hexdigest() for at, data in self.files.items()}
            entries = [{"type": "file", "path": at, "size": 1, "oid": digest} for at, digest in digests.items()]
            data, status = json.dumps(entries).encode(), 200
        elif path.startswith("/api/models/owner/small"):
            info = {"id": "owner/small", "sha": COMMIT, "siblings": [{"rfilename": at} for at in self.files]}
            data, status = json.dumps(info).encode(), 200
        elif name in self.files:
            data, status = self.files[name], 200
            headers["ETag"] = f'"{hashlib.sha256(data).hexdigest()}"'
        else:
            data, status = b'{"error": "Repository not found"}', 404
            headers["X-Error-Code"] = "RepoNotFound"
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing."""


@pytest.fixture
def hub(world: World) -> Iterator[str]:
    """Address of a hub that holds the world's bundle, and a file that must not be fetched."""
    bundle = world.run / "bundle"
    files = {file.relative_to(bundle).as_posix(): file.read_bytes() for file in bundle.rglob("*") if file.is_file()}
    handler = type("Hub", (_Hub,), {"files": files | {"weights.pkl": b"never"}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_a_bundle_of_the_hub_through_the_command_line(hub: str, world: World, tmp_path: Path) -> None:
    there = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    tagging = ("tag", world.pictures()[0], "--format", "jsonl", "--quiet", "--model")
    done = command(*tagging, "hf-hub:owner/small", environment=there)
    assert done.returncode == 0, done.stderr.decode()
    own = command(*tagging, world.run)
    assert done.stdout == own.stdout
    assert not list((tmp_path / "hub").rglob("*.pkl"))
    missing = command(*tagging, "hf-hub:owner/none", environment=there)
    assert missing.returncode == 2 and b"no such repository" in missing.stderr, missing.stderr.decode()
    gone = there | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    assert command(*tagging, "hf-hub:owner/small", environment=gone).stdout == own.stdout
    offline = command(*tagging, "hf-hub:owner/other", environment=gone)
    assert offline.returncode == 6 and b"cannot be fetched" in offline.stderr, offline.stderr.decode()


def test_what_the_hub_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}
    files = ["config.json", "model.onnx", "weights.pkl"]

    def info(_api: object, repository: str, *, revision: str | None, files_metadata: bool) -> Any:
        if repository == "a/down":
            raise ConnectionError("no route")
        if repository == "a/full":
            raise OSError(errno.ENOSPC, "full")
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name, size=1) for name in files])

    def fetch(repository: str, *, local_files_only: bool = False, **options: Any) -> str:
        if local_files_only:
            raise ValueError("is not here")
        asked.update(options, repository=repository)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    (tmp_path / "config.json").touch()
    (tmp_path / "model.onnx").touch()
    assert find_bundle("hf-hub:a/b@v1.0") == tmp_path
    assert (asked["repository"], asked["revision"]) == ("a/b", "v1.0")
    assert asked["allow_patterns"] == ["config.json", "model.onnx"]
    with pytest.raises(MachineError, match=r"a/down: cannot be fetched \(ConnectionError: no route\)"):
        find_bundle("hf-hub:a/down")
    with pytest.raises(MachineError, match=r"a/full: cannot be kept .*Free space"):
        find_bundle("hf-hub:a/full")
    files.remove("config.json")
    with pytest.raises(InputError, match="holds no tagprism bundle"):
        find_bundle("hf-hub:a/b")


def test_what_arrives_damaged_is_never_used(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / hashlib.sha256(b"right").hexdigest()
    file = tmp_path / "snapshots" / COMMIT / "model.onnx"
    for path in (blob, file):
        path.parent.mkdir(parents=True)
    file.symlink_to(blob)
    blob.write_bytes(b"right")
    hub_module._check(file)
    blob.write_bytes(b"wrong")
    with pytest.raises(MachineError, match="arrived damaged"):
        hub_module._check(file)
    assert not blob.exists() and not file.is_symlink()
