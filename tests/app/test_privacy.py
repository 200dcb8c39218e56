"""Nothing leaves the machine: the using commands with an empty home, without a network, and watched by a tracer.

What a process asks of the network it asks by system calls, which strace shows; a namespace of its own has no network
at all. Either is used where the system has it and allows it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "tests" / "photos" / "chelsea.jpg"
MAY_BE_IN_A_HOME = (".cache/tagprism/", ".local/state/tagprism/")  # docs/privacy.md

# In a new namespace even 127.0.0.1 is down. Brings it up, and becomes the command behind.
LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))  # SIOCSIFFLAGS: up and running
os.execvp(sys.argv[1], sys.argv[1:])
"""
SERVE = """
import json, re, signal, subprocess, sys, threading, urllib.request, uuid
index, photo = sys.argv[1:]
server = subprocess.Popen([sys.executable, "-m", "tagprism", "serve", index, "--port", "0"], stderr=subprocess.PIPE)
late = threading.Timer(300, server.kill)
late.daemon = True
late.start()
try:
    address = next(found[0] for line in server.stderr if (found := re.search(r"http://\\S+", line.decode())))
    found = json.load(urllib.request.urlopen(address + "/api/search?query=cat"))
    edge = uuid.uuid4().hex
    head = f'--{edge}\\r\\nContent-Disposition: form-data; name="file"; filename="a.jpg"\\r\\n\\r\\n'
    body = head.encode() + open(photo, "rb").read() + f"\\r\\n--{edge}--\\r\\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
    tagged = json.load(urllib.request.urlopen(urllib.request.Request(address + "/api/tag", body, kind)))
    print(len(found["hits"]), tagged["tags"][0]["label"])
finally:
    server.send_signal(signal.SIGTERM)
    server.wait()
sys.exit(server.returncode)
"""


def namespace() -> list[str]:
    """The start of a command without a network; empty where that is not allowed."""
    for command in (["unshare", "-n"], ["unshare", "-rn"]):
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return []


def tracer(log: Path) -> list[str]:
    """The start of a command whose system calls about networks are logged; empty where that is not allowed."""
    command = ["strace", "-f", "-qq", "-e", "trace=network", "-o", str(log)]
    if shutil.which("strace") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
        return command
    return []


class Watched:
    """Commands in an empty home, watched.

    Args:
        folder: for the home and the logs.
    """

    def __init__(self, folder: Path) -> None:
        self.home, self.log = folder / "home", folder / "calls.log"
        self.home.mkdir()
        self.alone, self.traced = namespace(), tracer(self.log)
        if not self.alone and not self.traced:
            pytest.skip("neither strace nor a namespace without a network: apt-get install strace")
        ours = ("HOME", "XDG_", "TAGPRISM_", "ORT_", "HF_", "RAY_", "PYTHONPATH")
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self._environment |= {"HOME": str(self.home), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}

    def python(self, *arguments: str | Path) -> bytes:
        """What `python ARGUMENTS` writes."""
        start = [*self.alone, sys.executable, "-c", LOOPBACK_UP] if self.alone else []
        command = [*start, *self.traced, sys.executable, *map(str, arguments)]
        done = subprocess.run(command, env=self._environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def calls(self) -> list[str]:
        """What the last command asked of a network, other than of this machine alone."""
        if not self.traced:
            return []
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if "AF_INET" in line]
        return [line for line in lines if "htons(53)" in line or not re.search(r"\(AF_INET|127\.0\.0\.1", line)]

    def strange_files(self) -> list[str]:
        """Files below the home that the documents do not name."""
        files = [file.relative_to(self.home).as_posix() for file in self.home.rglob("*") if not file.is_dir()]
        return [name for name in files if not name.startswith(MAY_BE_IN_A_HOME)]


def test_using_a_model_asks_no_network_and_leaves_nothing_in_the_home(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    index = tmp_path / "photos.index"
    for words, expected in (
        (("tag", PHOTO, "--format", "jsonl"), b'"cat"'),
        (("index", PHOTO, "--into", index), b""),
        (("search", index, "cat", "--format", "jsonl"), b"chelsea.jpg"),
    ):
        assert expected in watched.python("-m", "tagprism", *words)
        assert watched.calls() == [] and watched.strange_files() == []
    pytest.importorskip("fastapi", reason="the server needs the extra [serve]")
    assert watched.python("-c", SERVE, index, PHOTO) == b"1 cat\n"
    assert watched.calls() == [] and watched.strange_files() == []


def test_a_look_up_and_a_file_in_the_home_would_be_seen(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.python("-c", "from pathlib import Path; Path.home().joinpath('.device').touch()")
    assert watched.strange_files() == [".device"]
    ask = "import socket\ntry: socket.gethostbyname('tagprism.invalid')\nexcept OSError: print('nothing')"
    assert watched.python("-c", ask) == b"nothing\n"
    assert watched.calls() or not watched.traced
