"""A collection of a Qdrant server or cluster: its form, filters in its terms, and its errors. Knows no records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from tagprism.errors import InputError, MachineError
from tagprism.search.conditions import Condition, Filter, field_conditions, folded, moments

API_KEY = "TAGPRISM_QDRANT_KEY"  # environment variable
ROWS, WHOLE, MOMENT = "rows", "whole", "moment"  # names in the collection
_FOLDED = "folded"
_WORD = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD)
_NUMBER = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True)
_DEGREES = models.FloatIndexParams(type=models.FloatIndexType.FLOAT)
_INDEXED: dict[str, Any] = {
    _FOLDED: _WORD,
    MOMENT: _NUMBER,
    "camera_folded": _WORD,
    "kind_folded": _WORD,
    "stars": _NUMBER,
    "north": _DEGREES,
    "east": _DEGREES,
}
_SHARDS_OF_A_NODE, _COPIES = 2, 2  # of a collection on a cluster: it can grow to twice the nodes, and lose one
SETTINGS, WHOLE_BY, MEASURED_AS = "tagprism", "tagprism_whole", "tagprism_measured"  # names in its metadata
_NOTE = "-tagprism-renewing"  # ending of the name of a collection without points, whose settings those of another are
_SECONDS = 60  # that an answer may take


def make_collection(client: QdrantClient, name: str, settings: dict[str, Any], whole: dict[str, Any]) -> None:
    """Make an empty collection; as `QdrantIndex.create`."""
    with server_errors(name):
        if client.collection_exists(name):
            raise InputError("there is a collection of that name.", where=name, remedy="Name another one.")
        shards, copies = _spread(client)
        client.create_collection(
            name,
            vectors_config=_vector_params(settings),
            metadata={SETTINGS: settings, WHOLE_BY: whole},
            on_disk_payload=True,
            shard_number=shards,
            replication_factor=copies,
        )
        for field, kind in _INDEXED.items():  # a filter need not read every payload then
            client.create_payload_index(name, field, kind, wait=True)


def connect(where: str) -> tuple[QdrantClient, str]:
    """A client, and the name of the collection, for `qdrant+http://host:6333/collection` or `qdrant+https://...`.

    The environment variable `TAGPRISM_QDRANT_KEY` has the server's API key, if it wants one.

    Raises:
        InputError: it is no such address.
    """
    parts = urlsplit(where)
    name = parts.path.strip("/")
    if parts.scheme not in ("qdrant+http", "qdrant+https") or not parts.hostname or not name or "/" in name:
        raise InputError(
            "is not the address of a collection.", where=where, remedy="Write qdrant+http://HOST:6333/COLLECTION."
        )
    address = f"{parts.scheme.removeprefix('qdrant+')}://{parts.netloc}"
    port = parts.port or 6333
    with server_errors(where):
        key = os.environ.get(API_KEY)
        return QdrantClient(url=address, port=port, api_key=key, timeout=_SECONDS, check_compatibility=False), name


def replace_collection(client: QdrantClient, name: str, settings: dict[str, Any], whole: dict[str, Any]) -> None:
    """Make an empty collection in place of one that tagprism has made, where that is.

    Settings go with their collection, and no step removes one and makes another. So a collection of its own has the new
    settings until all is done: a kill in between loses no folders.

    Raises:
        InputError: tagprism has not made it.
        MachineError: the server does not answer, or refuses.
    """
    note, noted = f"{name}{_NOTE}", {SETTINGS: {**settings, "renewing": "begun"}}
    with server_errors(name):
        if client.collection_exists(name):
            _metadata_of(client, name)
        if client.collection_exists(note):  # a kill has left it
            client.update_collection(note, metadata=noted)
        else:
            client.create_collection(note, vectors_config={}, metadata=noted)
        client.delete_collection(name)
        make_collection(client, name, settings, whole)
        client.delete_collection(note)


def kept_settings(client: QdrantClient, name: str) -> dict[str, Any]:
    """The settings that are kept with a collection, or those that it is being made anew with.

    Raises:
        InputError: there is no such collection, or tagprism has not made it.
        MachineError: the server does not answer, or refuses.
    """
    found: dict[str, Any] = kept_metadata(client, name)[SETTINGS]
    return found


def kept_metadata(client: QdrantClient, name: str) -> dict[str, Any]:
    """All that is kept with a collection, the settings as in `kept_settings`; errors as there."""
    with server_errors(name):
        kept = next((one for one in (f"{name}{_NOTE}", name) if client.collection_exists(one)), None)
        if kept is None:
            raise InputError("there is no such collection.", where=name, remedy="Make one with `tagprism index`.")
        return _metadata_of(client, kept)


def _metadata_of(client: QdrantClient, name: str) -> dict[str, Any]:
    found = client.get_collection(name).config.metadata or {}
    if not isinstance(found.get(SETTINGS), dict):
        raise InputError("is not a collection that tagprism has made.", where=name, remedy="Name another one.")
    return found


def _vector_params(settings: dict[str, Any]) -> dict[str, models.VectorParams]:
    """Rows on the disk, and of the vector of the whole an int8 copy in memory; no graphs, as both are scanned."""
    int8 = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.999, always_ram=True)
    common = {
        "distance": models.Distance.DOT,
        "datatype": models.Datatype.FLOAT32 if settings["storage"] == "float32" else models.Datatype.FLOAT16,
        "hnsw_config": models.HnswConfigDiff(m=0),
        "on_disk": True,
    }
    by_row = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    width = settings["dimension"] + settings["shared"]
    return {
        ROWS: models.VectorParams(size=settings["dimension"], multivector_config=by_row, **common),
        WHOLE: models.VectorParams(size=width, quantization_config=models.ScalarQuantization(scalar=int8), **common),
    }


def _spread(client: QdrantClient) -> tuple[int | None, int | None]:
    """Shards of a new collection on the nodes of a cluster, and copies of each; the server's own choice without one."""
    try:
        status = client.cluster_status()
    except NotImplementedError:  # the client's local mode
        return None, None
    nodes = len(status.peers) if isinstance(status, models.ClusterStatusOneOf1) else 1
    return (_SHARDS_OF_A_NODE * nodes, _COPIES) if nodes > 1 else (None, None)


def conditions_of(where: Filter) -> models.Filter:
    """The filter in the server's terms; `conditions.meets` says what it means."""

    def within(beginnings: tuple[str, str]) -> models.FieldCondition:
        first, last = moments(beginnings)
        return models.FieldCondition(key=MOMENT, range=models.Range(gte=first, lte=last))

    def holds(piece: str) -> models.FieldCondition:
        return models.FieldCondition(key=_FOLDED, match=models.MatchSubstring(substring=folded(piece)))

    def says(field: tuple[str, str]) -> models.Filter:
        return models.Filter(must=[_condition(one) for one in field_conditions(*field)])

    return models.Filter(
        must=[*map(within, where.taken), *map(holds, where.path), *map(says, where.fields)],
        must_not=[*map(within, where.not_taken), *map(holds, where.not_path), *map(says, where.not_fields)],
    )


def _condition(one: Condition) -> models.FieldCondition:
    if one.within is None:
        return models.FieldCondition(key=one.field, match=models.MatchSubstring(substring=one.holds))
    return models.FieldCondition(key=one.field, range=models.Range(gte=one.within[0], lte=one.within[1]))


@contextmanager
def server_errors(where: str) -> Iterator[None]:
    """What the client raises, as our error."""
    try:
        yield
    except (ApiException, OSError) as error:
        raise MachineError(
            f"the Qdrant server fails ({type(error).__name__}: {error}).",
            where=where,
            remedy=f"Start it, or see whether {API_KEY} has its key.",
        ) from error
