"""A Qdrant server of three nodes as far as tagprism asks for it: each request must be one of the client's own models.

What it is asked is carried out by the client's local mode. No Qdrant runs where these tests do; what a real one makes
of the same requests is tried where `TAGPRISM_TEST_QDRANT` names one.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import BaseModel, TypeAdapter
from qdrant_client import QdrantClient, models

_CLUSTER = {
    "status": "enabled",
    "peer_id": 1,
    "peers": {number: {"uri": f"http://node{number}:6335"} for number in ("1", "2", "3")},
    "raft_info": {"term": 1, "commit": 1, "pending_operations": 0, "leader": 1, "role": "Leader", "is_voter": True},
    "consensus_thread_status": {"consensus_thread_status": "working", "last_update": "2026-01-01T00:00:00Z"},
    "message_send_failures": {},
}


@dataclass
class Server:
    """What was asked of it, and how often it is to be busy instead of doing it."""

    address: str = ""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    busy: int = 0
    client: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))

    def carry_out(self, method: str, path: str, body: Any) -> Any:
        """The result of a request."""
        if (method, path) == ("GET", "/cluster"):
            return _CLUSTER
        found = re.fullmatch(r"/collections/([\w-]+)(/.*)?", path)
        assert found, f"{method} {path} is no request that this server knows"
        kind, answer = _ROUTES[method, found[2] or ""]
        asked = None if kind is None else TypeAdapter(kind).validate_python(body)
        self.asked.append((method, found[2] or "", asked))
        return answer(self.client, found[1], asked)


_Answer = Callable[[QdrantClient, str, Any], Any]


def _create(client: QdrantClient, name: str, asked: models.CreateCollection) -> Any:
    return client.create_collection(name, vectors_config=asked.vectors, metadata=asked.metadata)


def _collection(client: QdrantClient, name: str, asked: None) -> Any:
    found = client.get_collection(name).model_dump(mode="json")
    found["config"]["params"].setdefault("shard_number", 1)
    return found


def _scroll(client: QdrantClient, name: str, asked: models.ScrollRequest) -> Any:
    points, following = client.scroll(
        name,
        scroll_filter=asked.filter,
        limit=asked.limit,
        order_by=asked.order_by,
        offset=asked.offset,
        with_payload=asked.with_payload,
    )
    return {"points": points, "next_page_offset": None if asked.order_by else following}


def _points(client: QdrantClient, name: str, asked: models.PointRequest) -> Any:
    vectors = asked.with_vector or False
    return client.retrieve(name, asked.ids, with_payload=asked.with_payload, with_vectors=vectors)


_ROUTES: dict[tuple[str, str], tuple[Any, _Answer]] = {
    ("PUT", ""): (models.CreateCollection, _create),
    ("GET", ""): (None, _collection),
    ("GET", "/exists"): (None, lambda client, name, asked: {"exists": client.collection_exists(name)}),
    ("PATCH", ""): (
        models.UpdateCollection,
        lambda client, name, asked: client.update_collection(name, metadata=asked.metadata),
    ),
    ("DELETE", ""): (None, lambda client, name, asked: client.delete_collection(name)),
    ("PUT", "/index"): (
        models.CreateFieldIndex,
        lambda client, name, asked: client.create_payload_index(name, asked.field_name, asked.field_schema),
    ),
    ("PUT", "/points"): (models.PointsList, lambda client, name, asked: client.upsert(name, asked.points)),
    ("POST", "/points/delete"): (models.PointsSelector, lambda client, name, asked: client.delete(name, asked)),
    ("POST", "/points"): (models.PointRequest, _points),
    ("POST", "/points/scroll"): (models.ScrollRequest, _scroll),
    ("POST", "/points/count"): (models.CountRequest, lambda client, name, asked: client.count(name, asked.filter)),
    ("POST", "/points/query/batch"): (
        models.QueryRequestBatch,
        lambda client, name, asked: client.query_batch_points(name, asked.searches),
    ),
}


@contextmanager
def qdrant_server() -> Iterator[Server]:
    """Serve at `address`, `qdrant+http://127.0.0.1:PORT`, until the end of the block."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, answer = 200, {}
            if server.busy and self.command == "PUT" and "/points" in self.path:
                server.busy -= 1
                code, answer = 503, {"status": {"error": "busy"}}
            else:
                path = self.path.partition("?")[0]
                try:
                    result = server.carry_out(self.command, path, json.loads(body) if body else None)
                    answer = {"result": _plain(result), "status": "ok", "time": 0.0}
                except Exception as error:  # told to the client, whose test then fails with it
                    code, answer = 400, {"status": {"error": f"{type(error).__name__}: {error}"}}
            data = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.address = f"qdrant+http://127.0.0.1:{http.server_port}"
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield server
        http.shutdown()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
