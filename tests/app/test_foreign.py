"""A public CLIP through the command line: tag, index, search, evaluate, models; from a folder and from a hub."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.command_line import python
from tests.command_line import tagprism as command
from tests.server.served import serving
from tests.small_foreign import make_fastembed, make_immich
from tests.small_world import World

pytestmark = pytest.mark.slow
PHOTOS = sorted((Path(__file__).parents[1] / "photos").glob("*.jpg"))
COMMIT = "2" * 40


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in Immich's layout, with what its real repositories also hold."""
    folder = make_immich(tmp_path_factory.mktemp("models") / "small-clip").folder
    (folder / "README.md").write_text("A model.")
    (folder / "visual/armnn").mkdir()
    (folder / "visual/armnn/model.armnn").write_bytes(b"never")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment with a cache of its own."""
    return {"TAGPRISM_CACHE": str(tmp_path_factory.mktemp("cache"))}


def test_tag_says_what_its_scores_are(clip: Path, cache: dict[str, str], tmp_path: Path) -> None:
    done = command("tag", PHOTOS[0], "--model", clip, "--top-k", "3", "--format", "jsonl", environment=cache)
    assert done.returncode == 0, done.stderr.decode()
    (row,) = map(json.loads, done.stdout.splitlines())
    assert len(row["tags"]) == 3 and all(tag["probability"] is None for tag in row["tags"])
    assert b"not calibrated" in done.stderr and b"1,000 common words" in done.stderr
    words = tmp_path / "words.txt"
    words.write_text("a birthday cake\nsnow\nan old red car\n")
    arguments = ("tag", PHOTOS[0], "--model", clip, "--labels", words)
    own = command(*arguments, "--format", "jsonl", environment=cache)
    assert {tag["label"] for tag in json.loads(own.stdout)["tags"]} == set(words.read_text().splitlines())
    shown = command("tag", PHOTOS[0], "--model", clip, environment=cache)
    assert b"a score of 2.5 or more" in shown.stderr
    scores = [float(word) for word in shown.stdout.decode().split() if word.replace(".", "").isdecimal()]
    assert len(scores) <= 10 and min(scores) >= 2.5
    refused = command(*arguments, "--min-probability", "0.5", environment=cache)
    assert refused.returncode == 2 and b"no probabilities" in refused.stderr


def test_explain_without_views_is_refused_before_more_is_loaded(clip: Path, tmp_path: Path) -> None:
    arguments = ("--model", clip, "--labels", "none.txt", "--explain", tmp_path / "why")
    done = command("tag", PHOTOS[0], *arguments, environment={"TAGPRISM_CACHE": str(tmp_path)})
    assert done.returncode == 2 and b"--views 5" in done.stderr and b"none.txt" not in done.stderr
    assert list(tmp_path.iterdir()) == []  # no words were embedded


def test_index_search_and_serve(
    clip: Path, cache: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = tmp_path / "index"
    done = command("index", *PHOTOS, "--into", into, "--model", clip, environment=cache)
    assert done.returncode == 0, done.stderr.decode()
    found = command("search", into, "snow AND NOT car", "--format", "jsonl", environment=cache)
    assert len(found.stdout.splitlines()) == len(PHOTOS), found.stderr.decode()
    with monkeypatch.context() as patched:
        for key, value in cache.items():
            patched.setenv(key, value)
        with serving(into) as page:
            (best, *_) = page.get("/api/search?query=snow").json()["hits"]
            assert best["asked"][0]["probability"] is None and best["tags"]
            refused = page.get(f"/api/images/{best['id']}/explain?label=snow")
    assert refused.status_code == 422 and "does not say where" in refused.text
    moved = tmp_path / "moved"
    shutil.copytree(clip, moved)
    again = command("search", into, "snow AND NOT car", "--format", "jsonl", "--model", moved, environment=cache)
    assert again.stdout == found.stdout
    settings = moved / "visual/preprocess_cfg.json"
    settings.write_text(settings.read_text().replace("shortest", "squash"))
    other = command("search", into, "snow", "--model", moved, environment=cache)
    assert other.returncode == 5 and b"another model" in other.stderr


def test_keywords_are_written_and_taken_back(clip: Path, cache: dict[str, str], tmp_path: Path) -> None:
    photo, words = tmp_path / "photo.jpg", tmp_path / "words.txt"
    shutil.copyfile(PHOTOS[0], photo)
    words.write_text("snow\na red car\ndog\n")
    there = cache | {"TAGPRISM_STATE": str(tmp_path / "state")}
    arguments = ("keywords", "write", photo, "--model", clip, "--labels", words)
    refused = command(*arguments, environment=there)
    assert refused.returncode == 2 and b"--top-k 5 or --min-score 2.5" in refused.stderr
    done = command(*arguments, "--top-k", "2", "--views", "3", environment=there)
    assert done.returncode == 0, done.stderr.decode()
    rows = command("tag", photo, *arguments[3:], "--top-k", "2", "--views", "3", "--format", "jsonl", environment=there)
    shown = command("keywords", "show", photo, "--format", "jsonl", environment=there)
    assert json.loads(shown.stdout)["ours"] == [tag["label"] for tag in json.loads(rows.stdout)["tags"]]
    assert command("undo", environment=there).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.jpg", "state", "words.txt"]


def test_evaluate_says_that_labels_may_have_been_seen(
    clip: Path, cache: dict[str, str], world: World, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    done = command("evaluate", clip, *world.on(), "--format", "json", "--report", report, environment=cache)
    assert done.returncode == 0, done.stderr.decode()
    assert b"may have seen the labels" in done.stderr
    result = json.loads(done.stdout)
    origin = result["provenance"]["model"]
    assert origin["foreign"] == "immich" and len(origin["words_digest"]) == 64 and "unknown" in origin["trained_on"]
    assert 0 <= result["zsl"]["mAP"] <= 100
    assert origin["trained_on"] in report.read_text() and "onnx on cpu" in report.read_text()


def test_no_torch_is_loaded(clip: Path) -> None:
    code = (
        "import sys, tagprism; tagger = tagprism.load(sys.argv[1]); tagger.tag(sys.argv[2], ['dog']);"
        "assert not {'torch', 'transformers', 'open_clip'} & set(sys.modules)"
    )
    done = python(code, str(clip), str(PHOTOS[0]))
    assert done.returncode == 0, done.stderr.decode()


class _Hub(BaseHTTPRequestHandler):
    """As much of a model hub as fetching needs, of several repositories."""

    repositories: dict[str, dict[str, bytes]]
    asked: list[str]
    cut: str | None = None  # a file of which half arrives
    gated = ""  # a repository whose conditions must be accepted first

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        headers, data, status = {"X-Repo-Commit": COMMIT}, b'{"error": "Repository not found"}', 404
        for name, files in self.repositories.items():
            file = path.partition(f"/{name}/resolve/{COMMIT}/")[2]
            entries = [
                {"type": "file", "path": at, "size": len(its), "oid": hashlib.sha1(its).hexdigest()}
                for at, its in files.items()
            ]
            if path.startswith(f"/api/models/{name}/tree/"):
                data, status = json.dumps(entries).encode(), 200
            elif path.startswith(f"/api/models/{name}"):
                siblings = [{"rfilename": one["path"], "size": one["size"]} for one in entries]
                data, status = json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode(), 200
            elif file in files:
                data, status = files[file], 200
                headers["ETag"] = f'"{hashlib.sha256(data).hexdigest()}"'
        if status == 404:
            headers["X-Error-Code"] = "RepoNotFound"
        if self.gated and self.gated in path:
            headers["X-Error-Code"], data, status = "GatedRepo", b'{"error": "restricted"}', 403
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(key, value)
        self.end_headers()
        if body and self.cut is not None and path.endswith(self.cut):
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif body:
            self.wfile.write(data)

    def log_message(self, format: str, *values: object) -> None:
        """Nothing."""


def _files(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def hub(clip: Path, tmp_path: Path) -> Iterator[tuple[dict[str, str], type[_Hub]]]:
    """Environment in which the hub is a server of ours; and the server."""
    vision = make_fastembed(tmp_path / "half-vision").folder
    repositories = {
        "owner/small-clip": _files(clip),
        "owner/half-vision": _files(vision),
        "owner/half-text": _files(vision.with_name("half-text")),
        "owner/other": {"config.json": b"{}", "model.safetensors": b"0"},
    }
    handler = type("Hub", (_Hub,), {"repositories": {}, "asked": []})
    handler.repositories = {name: repositories[name] for name in sorted(repositories)}
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    yield (
        {
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "TAGPRISM_CACHE": str(tmp_path / "cache"),
        },
        handler,
    )
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_of_the_hub(hub: tuple[dict[str, str], type[_Hub]], clip: Path, tmp_path: Path) -> None:
    there, server = hub
    name, into = "hf-hub:owner/small-clip", tmp_path / "index"
    fetched = command("models", "fetch", name, environment=there)
    assert fetched.returncode == 0, fetched.stderr.decode()
    assert b" MB" in fetched.stderr and b"1,000 words ready" in fetched.stderr
    stored = [file.name for file in (tmp_path / "hub").rglob("*") if file.is_symlink()]
    assert "model.onnx" in stored and "README.md" not in stored and "model.armnn" not in stored
    server.asked.clear()
    done = command("index", *PHOTOS[:2], "--into", into, "--model", name, environment=there)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads((into / "index.json").read_text())["model"] == f"{name}@{COMMIT}"
    assert not server.asked  # what is here is used without asking anybody
    arguments = ("tag", PHOTOS[0], "--format", "jsonl", "--quiet", "--model")
    gone = there | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    own = command(*arguments, clip, environment=there)
    assert command(*arguments, name, environment=gone).stdout == own.stdout != b""
    brought = gone | {"TAGPRISM_CACHE": str(tmp_path / "new")}  # the hub's cache copied from another machine
    assert command(*arguments, name, environment=brought).stdout == own.stdout
    missing = command(*arguments, "hf-hub:owner/half-vision", environment=gone)
    assert missing.returncode == 6 and b"tagprism models fetch hf-hub:owner/half-vision" in missing.stderr
    told = json.loads(command("models", "info", name, "--format", "json", environment=gone).stdout)
    assert (told["revision"], told["foreign"], told["dimension"]) == (COMMIT, "immich", 24)
    assert command("models", "remove", name, environment=gone).returncode == 0
    again = command("models", "remove", name, environment=gone)
    assert again.returncode == 3 and b"never fetched, or is removed already" in again.stderr
    for own in (str(clip), "photos-lite", "clip"):
        refused = command("models", "remove", own, environment=gone)
        assert refused.returncode == 2 and b"was not fetched from a hub" in refused.stderr
    assert command(*arguments, name, environment=gone).returncode == 6


def test_what_arrived_in_part_is_not_used(hub: tuple[dict[str, str], type[_Hub]], tmp_path: Path) -> None:
    there, server = hub
    server.cut = "textual/model.onnx"
    broken = command("models", "fetch", "hf-hub:owner/small-clip", environment=there)
    assert broken.returncode == 6, broken.stderr.decode()
    gone = there | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    arguments = ("tag", PHOTOS[0], "--format", "jsonl", "--quiet", "--model", "hf-hub:owner/small-clip")
    assert command(*arguments, environment=gone).returncode == 6
    server.cut = None
    assert command(*arguments, environment=there).returncode == 0


def test_a_repository_that_needs_a_login(hub: tuple[dict[str, str], type[_Hub]]) -> None:
    there, server = hub
    server.gated = "owner/small-clip"
    done = command("models", "fetch", "hf-hub:owner/small-clip", environment=there)
    assert done.returncode == 2 and b"hf auth login" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size")
def test_a_full_disk(hub: tuple[dict[str, str], type[_Hub]], tmp_path: Path) -> None:
    there, _ = hub
    arguments = [sys.executable, "-m", "tagprism", "models", "fetch", "hf-hub:owner/small-clip"]
    line = f"ulimit -f 200; exec {shlex.join(arguments)}"  # blocks: the network of phrases is larger
    done = subprocess.run(["bash", "-c", line], env=os.environ | there, capture_output=True, check=False)
    assert done.returncode == 6 and b"run the same command again: it continues" in done.stderr, done.stderr.decode()
    gone = there | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    unused = command("tag", PHOTOS[0], "--model", "hf-hub:owner/small-clip", "--format", "jsonl", environment=gone)
    assert unused.returncode == 6 and unused.stdout == b""
    assert command("models", "fetch", "hf-hub:owner/small-clip", environment=there).returncode == 0


def test_two_halves_and_what_is_no_model(hub: tuple[dict[str, str], type[_Hub]]) -> None:
    there, server = hub
    arguments = ("tag", PHOTOS[0], "--format", "jsonl", "--quiet", "--model")
    done = command(*arguments, "hf-hub:owner/half-text", environment=there)
    assert done.returncode == 0 and json.loads(done.stdout)["tags"], done.stderr.decode()
    other = command(*arguments, "hf-hub:owner/nothing", environment=there)
    assert other.returncode == 2 and b"no such repository" in other.stderr
    form = command(*arguments, "hf-hub:owner/small-clip#fp16", environment=there)
    assert form.returncode == 2 and b"no form `fp16`" in form.stderr
    del server.repositories["owner/small-clip"]["textual/tokenizer.json"]
    lacking = command(*arguments, "hf-hub:owner/small-clip", environment=there)
    assert lacking.returncode == 2 and b"lacks textual/tokenizer.json" in lacking.stderr
    server.repositories["owner/other"].pop("config.json")
    none = command(*arguments, "hf-hub:owner/other", environment=there)
    assert none.returncode == 2 and b"in a layout that is known" in none.stderr


def test_the_list_of_models() -> None:
    done = command("models", "list", "--format", "json")
    listed = json.loads(done.stdout)
    assert len({one["name"] for one in listed}) == len(listed) >= 5
    shown = command("models", "list").stdout.decode()
    assert listed[0]["name"] in shown and shown.count("(not verified)") == sum(
        not one["licence_from"] for one in listed
    )
    assert listed[0]["name"] == "photos-lite" and "in this package, the default" in shown
    assert "MIT (by the page of Qdrant/clip-ViT-B-32-vision)" in shown
