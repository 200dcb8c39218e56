"""Features of pictures, computed once and kept: one vector per picture bytes, preprocessing and backbone weights.

The cache is an SQLite file per backbone and preprocessing: safe against `kill -9`, against two runs at
once, and shared by all runs. Knows neither labels nor heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64

from tagprism.bundle.onnx_model import OnnxNetwork
from tagprism.counted import counted
from tagprism.errors import InputError, PictureError
from tagprism.files import cache_dir, replaced_whole
from tagprism.images.picture_file import PictureFile
from tagprism.images.preprocess import Preprocess
from tagprism.images.stream import BATCH, digest_pictures, process_pictures, reading_order
from tagprism.network.backbone_union import BackboneUnion
from tagprism.network.backbones import FeatureNetwork
from tagprism.network.export import export_onnx
from tagprism.network.onnx_backbone import OnnxBackbone
from tagprism.progress import Progress, silent
from tagprism.sqlite_file import ByteCache

_KEPT_AT_ONCE = 32  # vectors written to disk together
_BATCH = 32 if torch.cuda.is_available() else BATCH
Pixels = Float32[np.ndarray, "B 3 H W"]


@dataclass(frozen=True)
class Features:
    """Features of those pictures of a list that could be used.

    Args:
        rows: (n,) their numbers in the list, rising.
        vectors: (n, C) feature vectors.
        digests: n SHA-256 of the files' bytes.
        errors: (number, error) of the others.
    """

    rows: Int64[np.ndarray, " n"]
    vectors: Float32[np.ndarray, "n C"]
    digests: tuple[str, ...]
    errors: tuple[tuple[int, PictureError], ...]


class FeatureCache:
    """Feature vectors by the SHA-256 of a picture's bytes, on disk.

    Args:
        path: the file; made when absent.
        size: C; vectors of another size are taken for absent.
        halves: kept in float16, for large vectors.

    Raises:
        MachineError: the file is damaged, or cannot be read or written; by every method.
    """

    def __init__(self, path: Path, size: int, *, halves: bool = False) -> None:
        self._type = np.dtype(np.float16 if halves else np.float32)
        self._cache, self._bytes = ByteCache(path, "features"), self._type.itemsize * size

    def holds(self, digests: Iterable[str]) -> set[str]:
        """The digests whose vectors are there."""
        sizes = self._cache.sizes(bytes.fromhex(digest) for digest in digests)
        return {key.hex() for key, size in sizes.items() if size == self._bytes}

    def get(self, digests: Iterable[str]) -> dict[str, Float[np.ndarray, " C"]]:
        """The vectors that are there, by digest."""
        found = self._cache.get(bytes.fromhex(digest) for digest in digests)
        return {
            key.hex(): np.frombuffer(value, self._type) for key, value in found.items() if len(value) == self._bytes
        }

    def put(self, digests: Sequence[str], vectors: Float32[np.ndarray, "B C"]) -> None:
        """Keep a batch of vectors; they are on disk when this returns."""
        rows = vectors.astype(self._type)
        self._cache.put({bytes.fromhex(one): row.tobytes() for one, row in zip(digests, rows, strict=True)})

    def close(self) -> None:
        """Close the file."""
        self._cache.close()


def compute_features(
    files: Sequence[PictureFile], network: FeatureNetwork, preprocess: Preprocess, progress: Progress = silent
) -> Features:
    """Feature vectors of pictures, from the cache where they are there.

    Args:
        files: picture files.
        network: gives (B, C) features.
        preprocess: what is done to each picture first.
        progress: told of pictures read and computed.

    Returns:
        Features of every picture that can be used; the others are listed with their reason.

    Raises:
        InputError: none of the pictures can be used.
    """
    if isinstance(network, BackboneUnion):  # each has a cache of its own, which other runs share
        parts = [compute_features(files, part, preprocess, progress) for part in network.members]
        return replace(parts[0], vectors=np.concatenate([part.vectors for part in parts], axis=1))
    with stored_features(files, network, preprocess, progress) as stored:
        return Features(stored.rows, stored.read(range(len(stored.rows))), stored.digests, stored.errors)


@dataclass(frozen=True)
class StoredFeatures:
    """As `Features`, but the vectors stay on disk.

    Args:
        rows, digests, errors: see `Features`.
        cache: holds the vectors.
    """

    rows: Int64[np.ndarray, " n"]
    digests: tuple[str, ...]
    errors: tuple[tuple[int, PictureError], ...]
    cache: FeatureCache

    def read(self, numbers: Iterable[int]) -> Float32[np.ndarray, "k C"]:
        """Vectors of some of the n pictures, by their numbers in `rows`."""
        digests = [self.digests[number] for number in numbers]
        found = self.cache.get(digests)
        return np.stack([found[digest] for digest in digests]).astype(np.float32, copy=False)


@contextmanager
def stored_features(
    files: Sequence[PictureFile],
    network: FeatureNetwork,
    preprocess: Preprocess,
    progress: Progress = silent,
    *,
    halves: bool = False,
) -> Iterator[StoredFeatures]:
    """Compute the features that the cache lacks, and keep it open for reading; arguments as for `compute_features`.

    Args:
        files, network, preprocess, progress: see there.
        halves: kept in float16; for vectors too large for memory.

    Raises:
        InputError: none of the pictures can be used.
    """
    digests, errors = digest_pictures(files, progress)
    weights = network.weights_digest()
    engine = "torch" if torch.cuda.is_available() else "onnx"  # the last bits differ: never mixed in one run
    name = f"{weights[:16]}-{preprocess.digest[:16]}-{engine}.sqlite"
    cache = FeatureCache(cache_dir("features") / name, network.features, halves=halves)
    try:
        known = cache.holds(digests.values())
        wanted = {digest: row for row, digest in reversed(digests.items()) if digest not in known}
        lacking = sorted(wanted.values())  # each content once, where it comes first
        missing = [lacking[position] for position in reading_order([files[row] for row in lacking])]
        failed: dict[str, PictureError] = {}
        if missing:
            run = _engine(network, preprocess, weights)
            with progress("computing features", len(missing)) as advance:
                results = process_pictures([files[row] for row in missing], preprocess, run, batch_size=_BATCH)
                while done := list(islice(zip(missing, results, strict=False), _KEPT_AT_ONCE)):
                    vectors = {one.digest: one.output for _, one in done if not isinstance(one.output, PictureError)}
                    failed |= {digests[row]: one.output for row, one in done if isinstance(one.output, PictureError)}
                    if vectors:
                        cache.put(list(vectors), np.stack(list(vectors.values())))
                    known.update(vectors)
                    advance(len(done))
        errors += [(row, failed[digest]) for row, digest in digests.items() if digest in failed]
        errors.sort(key=lambda item: item[0])
        rows = [row for row, digest in digests.items() if digest in known]
        if not rows:
            first = f" The first: {errors[0][1]}" if errors else ""
            raise InputError(f"none of {counted(len(files), 'picture')} can be used.{first}")
        yield StoredFeatures(np.asarray(rows, np.int64), tuple(digests[row] for row in rows), tuple(errors), cache)
    finally:
        cache.close()


def _engine(
    backbone: FeatureNetwork, preprocess: Preprocess, weights: str
) -> Callable[[Pixels], Float32[np.ndarray, "B C"]]:
    """The fastest way to run the network here: torch on a GPU, else ONNX Runtime (twice torch's speed on a CPU)."""
    if isinstance(backbone, OnnxBackbone):
        return backbone.foreign.model
    if torch.cuda.is_available():
        network = backbone.eval().cuda()

        def run(pixels: Pixels) -> Float32[np.ndarray, "B C"]:
            with torch.inference_mode():
                output: Float32[np.ndarray, "B C"] = network(torch.from_numpy(pixels).cuda()).float().cpu().numpy()
            return output

        return run
    size = (preprocess.height, preprocess.width)
    path = cache_dir("backbones") / f"{weights[:16]}-{size[0]}x{size[1]}.onnx"
    if not path.exists():
        with replaced_whole(path) as beside:
            export_onnx(backbone, size, beside)
    return OnnxNetwork(path, threads=1)
