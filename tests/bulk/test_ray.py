"""Two raylets on this machine: every picture one row, whatever is killed, and the numbers of one machine."""

from __future__ import annotations

import functools
import http.server
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tagprism import load
from tagprism.bulk.actors import Part, results
from tagprism.bulk.cluster import cluster
from tagprism.bulk.shards import read_manifest
from tagprism.errors import MachineError
from tagprism.images.elsewhere import Item
from tests.app.conftest import Cli

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # its sockets are left open
]
PHOTOS = Path(__file__).parents[1] / "photos"
STORE = 100 << 20  # bytes; records alone pass through it
NICENESS = "RAY_worker_niceness"
BAD = {"bad.jpg": "not_an_image", "empty.png": "empty"}


@pytest.fixture(scope="module")
def nodes(s3: str) -> Iterator[Any]:
    """A cluster of a head, which has no processor, and two nodes of one each."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ[NICENESS] = "0"  # beside other tests a process would get hardly any time at its usual 15
    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=STORE)
    ray.init(address=made.address, log_to_driver=False, logging_level=logging.CRITICAL)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()
    del os.environ[NICENESS]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a server that speaks as S3 does."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    yield f"http://{host}:{port}"
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    server.stop()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos beside the tests, cut to many, and some files that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for photo in sorted(PHOTOS.glob("*.jpg")):
        with Image.open(photo) as image:
            image.thumbnail((320, 320))
            for number in range(60):
                x, y = (int(random.integers(0, side // 2)) for side in image.size)
                part = image.crop((x, y, x + image.width // 2, y + image.height // 2)).convert("RGB")
                part.save(folder / f"{photo.stem}-{number:03d}.jpg", quality=85)
    (folder / "bad.jpg").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    return folder


def rows_in(shards: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(shards.glob("part-*.parquet")) for row in pq.read_table(file).to_pylist()]


def assert_complete(shards: Path, pictures: Path) -> None:
    """Exactly one row for each file, with its reason where it is no picture, and the numbers of one machine."""
    rows = rows_in(shards)
    assert sorted(row["path"] for row in rows) == sorted(map(str, pictures.iterdir()))
    assert {Path(row["path"]).name: row["error_code"] for row in rows if row["error"]} == BAD
    manifest = read_manifest(shards)
    assert manifest.complete and manifest.pictures == len(rows)
    paths = sorted(row["path"] for row in rows)  # as the walk gives them
    by_path = {row["path"]: row for row in rows}
    for place, record, digest in load().records(paths):
        row = by_path[paths[place]]
        if row["error"] is None:
            assert row["digest"] == digest
            assert np.array_equal(np.array(row["rows"], np.float16), record.rows.astype(np.float16).ravel())
            assert np.array_equal(np.array(row["shared"], np.float16), record.shared.astype(np.float16).ravel())


def test_a_node_is_killed_and_every_picture_has_one_row(cli: Cli, nodes: Any, pictures: Path, tmp_path: Path) -> None:
    killed: list[Any] = []

    def kill() -> None:
        """Kill the first node that is seen to work."""
        deadline = time.monotonic() + 200
        while not killed and time.monotonic() < deadline:
            killed.extend([node for node in nodes.worker_nodes if is_working(node)][:1])
            time.sleep(0.05)
        for node in killed:
            os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    done = cli("index", pictures, "--ray", nodes.address, "--shards", tmp_path / "out")
    thread.join()
    assert killed
    nodes.remove_node(killed[0], allow_graceful=False)
    assert done.code == 4 and "bad.jpg: The file is not a picture" in done.err and "302 rows" in done.err
    assert_complete(tmp_path / "out", pictures)
    loaded = cli("index", "--from-shards", tmp_path / "out", "--into", tmp_path / "i")
    assert loaded.code == 4 and "300 added, 2 skipped; 300 pictures in" in loaded.err


def is_working(node: Any) -> bool:
    """Whether a process of ours looks at pictures on a node."""
    raylet = str(node.all_processes["raylet"][0].process.pid)
    found = subprocess.run(["ps", "-ww", "-o", "args=", "--ppid", raylet], capture_output=True, text=True, check=False)
    return "ray::_Process.do" in found.stdout


DRIVER = "import tagprism.bulk.shards as s; s._ROWS = 64; from tagprism.app.cli import main; main()"


def test_a_driver_is_killed_and_the_same_command_goes_on(cli: Cli, nodes: Any, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["index", str(pictures), "--ray", nodes.address, "--shards", str(out)]
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, *command], stderr=subprocess.PIPE)
    while driver.poll() is None and not list(out.glob("part-*.parquet")):
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    kept = {file: file.stat().st_mtime_ns for file in out.glob("part-*.parquet")}
    assert kept and not read_manifest(out).complete
    cli("index", "--from-shards", out, "--into", tmp_path / "i").refused("is not complete")
    assert cli(*command).code == 4
    assert_complete(out, pictures)
    assert all(file.stat().st_mtime_ns == time for file, time in kept.items())


class Deadly:
    """A job one of whose pictures kills the process that looks at it."""

    def open(self) -> Callable[[Part], bytes]:
        def look(part: Part) -> bytes:
            if any(item.name == "7" for item in part):
                os._exit(1)
            return " ".join(item.name for item in part).encode()

        return look


def test_a_picture_that_kills_its_process_is_known_by_name(nodes: Any, capfd: pytest.CaptureFixture[str]) -> None:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    parts = [[Item(str(number), "") for number in range(start, start + 4)] for start in (0, 4, 8)]
    with cluster(nodes.address) as processors:
        found = list(results(Deadly(), parts, processors))
        assert_free(processors)
    names = [item.name for part, _ in found for item in part]
    assert sorted(names, key=int) == [str(number) for number in range(12)]
    assert [[item.name for item in part] for part, result in found if result is None] == [["7"]]
    assert capfd.readouterr().out == "", "what Ray says of a death would stand among the rows of `tag`"


def assert_free(processors: int) -> None:
    """No processor is held any more, as the next job would wait for it."""
    import ray

    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) < processors:
        assert time.monotonic() < deadline, ray.available_resources()
        time.sleep(0.1)


def test_a_cluster_that_another_job_holds(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr("tagprism.bulk.actors._BUSY", 2.0)
    monkeypatch.setattr("tagprism.bulk.actors._LOOK", 0.5)
    part = [Item("1", "")]
    with cluster(nodes.address) as processors:
        held = [ray.remote(num_cpus=1)(Holder).remote() for _ in range(processors)]
        ray.get([one.hold.remote() for one in held])
        with pytest.raises(MachineError, match="other jobs have had all processors"):
            list(results(Deadly(), [part], processors))
        monkeypatch.setattr("tagprism.bulk.actors._BUSY", 600.0)
        threading.Timer(1, lambda: [ray.kill(one) for one in held]).start()
        assert list(results(Deadly(), [part], processors)) == [(part, b"1")]
        assert_free(processors)


class Holder:
    """Keeps a processor."""

    def hold(self) -> None:
        """Return when it has it."""


@pytest.fixture(scope="module")
def elsewhere(nodes: Any, s3: str, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Two pictures each: in a bucket, on a web server, in a tar, in Parquet; and in a folder by its URL."""
    import fsspec

    folder = tmp_path_factory.mktemp("elsewhere")
    names = ["chelsea-000.jpg", "rocket-000.jpg"]
    (folder / "web").mkdir()
    for name in names:
        shutil.copy(pictures / name, folder / "web")
    bucket = fsspec.filesystem("s3")
    bucket.mkdir("photos")
    bucket.put(str(folder / "web") + "/", "photos/2024/", recursive=True)
    with tarfile.open(folder / "some.tar", "w") as tar:
        for name in names:
            tar.add(folder / "web" / name, f"./{name}")
    cells = [{"bytes": (folder / "web" / name).read_bytes(), "path": name} for name in names]
    pq.write_table(pa.table({"image": cells, "label": [0, 1]}), folder / "some.parquet")
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        web = f"http://127.0.0.1:{server.server_port}"
        yield [
            "s3://photos/2024",
            f"{web}/web/",
            f"{web}/some.tar",
            str(folder / "some.parquet"),
            f"file://{folder}/web",
        ]
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_pictures_are_tagged_wherever_they_lie(cli: Cli, elsewhere: list[str], pictures: Path) -> None:
    there = cli("tag", *elsewhere, "--ray", "auto", "--format", "jsonl", "--quiet")
    assert there.code == 0, there.err
    found = [json.loads(line) for line in there.out.splitlines()]
    assert len(found) == 10 and found[0]["path"] == "s3://photos/2024/chelsea-000.jpg"
    assert found[4]["path"].endswith("/some.tar#./chelsea-000.jpg") and found[6]["path"].endswith(".parquet#0")
    here = cli("tag", pictures / "chelsea-000.jpg", pictures / "rocket-000.jpg", "--format", "jsonl", "--quiet")
    expected = [[tag["label"] for tag in json.loads(line)["tags"]] for line in here.out.splitlines()]
    assert [[tag["label"] for tag in row["tags"]] for row in found] == expected * 5


def test_a_bucket_into_an_index(cli: Cli, elsewhere: list[str], tmp_path: Path) -> None:
    assert cli("index", elsewhere[0], "--ray", "auto", "--shards", tmp_path / "out").code == 0
    assert cli("index", "--from-shards", tmp_path / "out", "--into", tmp_path / "i").code == 0
    found = cli("search", tmp_path / "i", "cat", "--format", "jsonl")
    assert json.loads(found.out.splitlines()[0])["path"] == "s3://photos/2024/chelsea-000.jpg"
