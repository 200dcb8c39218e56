"""What the first stage of a Qdrant collection finds: by the mean of rows, and fitted to words, as floats and in 8 bits.

Run: python benchmarks/server_candidates.py PHOTOS [--pictures 10000] [--records FILE.npz]
Records are made as `made_records` says. The collection is in the client's local mode, which keeps floats and
scans all. What a server's 8 bits lose is seen in a shard of Qdrant Edge, which has the server's own engine.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np
import qdrant_edge as edge
from qdrant_client import QdrantClient

from made_records import ASKED, LIMIT, QUERIES, best_places, largest_scores, real_records, recall, resampled, say
from tagprism import load
from tagprism.bundle.record import Records
from tagprism.search import contract
from tagprism.search.contract import MEASURED
from tagprism.search.qdrant_index import QdrantIndex

SHARES = (50, 25, 12)  # one in so many pictures is a candidate


def main() -> None:
    """Measure, and print a line of JSON a result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--records", type=Path, help="file (.npz) that keeps the real records between runs")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "Local mode|Payload indexes")
    tagger = load()
    names = np.random.default_rng(0).permutation(tagger.vocabulary.names)[: QUERIES + ASKED].tolist()
    queries, others = np.split(tagger.scoring_vectors(names), [QUERIES])
    pages = list(resampled(real_records(tagger, arguments.photos, arguments.records), arguments.pictures))
    records = Records.joined(page for _, page in pages)
    wanted = [best_places(one) for one in largest_scores(records, queries)]
    for name, asked in (("mean", None), ("fit", others[MEASURED:])):
        settings = {**records.shape._asdict(), "storage": "half"}
        index = QdrantIndex.create(QdrantClient(":memory:"), "photos", settings, asked)
        for pictures, its in pages:
            index.add(pictures, its)
        small = index._whole.of(records.rows, records.shared)
        in_8_bits = edge_finds(small, index._whole.asked(queries), len(records) // min(SHARES))
        for share in SHARES:
            count = len(records) // share
            contract.FIRST_STAGE = contract._BY_MEAN = 1
            contract._CANDIDATES = count, 1
            found = [np.array([hit.id - 1 for hit in hits]) for hits in index.search(queries, LIMIT)]
            said = {"by": name, "pictures": len(records), "candidates": count}
            say(what="local mode", **said, **recall(wanted, found))
            say(what="8 bits", **said, **recall(wanted, [one[:count] for one in in_8_bits]))


def edge_finds(small: np.ndarray, asked: np.ndarray, count: int) -> list[np.ndarray]:
    """The places that the server's engine finds in 8 bits, best first."""
    in_8_bits = edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8, quantile=0.999, always_ram=True)
    kept = edge.EdgeVectorParams(
        size=small.shape[1],
        distance=edge.Distance.Dot,
        datatype=edge.VectorStorageDatatype.Float16,
        hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10),
        quantization_config=in_8_bits,
    )
    config = edge.EdgeConfig(vectors={"small": kept}, optimizers=edge.EdgeOptimizersConfig(indexing_threshold=10))
    params = edge.SearchParams(quantization=edge.QuantizationSearchParams(rescore=False))
    with tempfile.TemporaryDirectory() as folder:
        shard = edge.EdgeShard.create(folder, config)
        for start in range(0, len(small), 1000):
            some = enumerate(small[start : start + 1000].tolist(), start)
            points = [edge.Point(id=1 + place, vector={"small": its}, payload={}) for place, its in some]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.flush()
        shard.optimize()  # only whole segments are kept in 8 bits
        found = []
        for vector in asked.tolist():
            nearest = edge.Query.Nearest(vector, using="small")
            hits = shard.query(edge.QueryRequest(limit=count, query=nearest, params=params))
            found.append(np.array([int(hit.id) - 1 for hit in hits]))
        shard.close()
    return found


if __name__ == "__main__":
    main()
