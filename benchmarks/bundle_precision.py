"""What fp16 and int8 cost and give: size, agreement, mAP and pictures per second, paired in one process.

    python benchmarks/bundle_precision.py RUN --data tagged:DIR --split FILE#0
    python benchmarks/bundle_precision.py demo/run --data openclipart

Every form of the network ranks the same test pictures. Then the fp32 network ranks them with the label vectors of the
text encoders in float32 and of sentence encoders in int8 (weights only), embedded anew.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from tagprism.app import console
from tagprism.bundle.agreement import measure_agreement
from tagprism.bundle.config import MODEL
from tagprism.bundle.onnx_model import RecordNetwork
from tagprism.bundle.record import Records
from tagprism.datasets.registry import open_data
from tagprism.evaluation.streaming import evaluate_records
from tagprism.images.picture_file import PictureFile
from tagprism.images.stream import process_pictures
from tagprism.labels.encoders.encoder import load_encoder, read_card
from tagprism.labels.label_space import LabelSpace
from tagprism.network.onnx_weights import cosines, write_int8
from tagprism.network.quantise import quantise_network
from tagprism.tagging.tagger import Tagger, load
from tagprism.tagging.text_encoders import encoder_folders

_RANGES, _BATCH, _ROUNDS = 64, 32, 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", help="left out for data with a split of their own")
    given = parser.parse_args()
    tagger = load(given.run)
    table, split = open_data(given.data, given.split)
    pixels = _pixels(tagger, [table.files[int(row)] for row in table.rows_of(split.test)])
    names = (*split.seen, *split.unseen)
    unseen = np.arange(len(names)) >= len(split.seen)
    targets = table.targets(table.rows_of(split.test), names)

    def measure(records: Records, queries: np.ndarray) -> str:
        result = evaluate_records(records, names, queries, unseen, targets).to_json()
        return f"ZSL mAP {result['zsl']['mAP']:.2f}, GZSL mAP {result['gzsl']['mAP']:.2f}"

    queries = tagger.scoring_vectors(names)
    with tempfile.TemporaryDirectory() as folder:
        train = _pixels(tagger, [table.files[int(row)] for row in table.rows_of(split.train[:_RANGES])])
        networks = _networks(tagger, Path(folder), train)
        records = {form: _records(network, pixels) for form, (network, _) in networks.items()}
        rates = _rates([network for network, _ in networks.values()], pixels[: 2 * _BATCH])
        for rate, (form, (_, size)) in zip(rates, networks.items(), strict=True):
            agreement = measure_agreement(records["fp32"], records[form], queries, queries)
            print(f"network {form}: {size / 1e6:.1f} MB, {rate:.0f} pictures/s; {measure(records[form], queries)}")
            print(f"    {agreement}")
        for form, space in _spaces(tagger, Path(folder)).items():
            own = tagger.scoring_vectors_of(names, space.embed(names).vectors)
            print(f"text {form}: {measure(records['fp32'], own)}")


def _pixels(tagger: Tagger, files: list[PictureFile]) -> np.ndarray:
    pixels = []
    with console.progress(False)("reading pictures", len(files)) as advance:
        for seen in process_pictures(files, tagger.preprocess, np.copy):
            assert isinstance(seen.output, np.ndarray), seen.output
            pixels.append(seen.output)
            advance(1)
    return np.stack(pixels)


def _networks(tagger: Tagger, folder: Path, ranges: np.ndarray) -> dict[str, tuple[RecordNetwork, int]]:
    source = tagger.bundle.path / MODEL
    files = {"fp32": source}
    for form in ("fp16", "int8"):
        files[form] = folder / f"{form}.onnx"
        quantise_network(source, files[form], form, np.split(ranges, len(ranges) // 16))
    return {
        form: (RecordNetwork(file, tagger.bundle.config.dimension), file.stat().st_size) for form, file in files.items()
    }


def _records(network: RecordNetwork, pixels: np.ndarray) -> Records:
    with console.progress(False)("computing records", len(pixels)) as advance:
        batches = []
        for start in range(0, len(pixels), _BATCH):
            batches.append(network.records(pixels[start : start + _BATCH]))
            advance(len(batches[-1]))
    return Records.joined(batches)


def _rates(networks: list[RecordNetwork], pixels: np.ndarray) -> list[float]:
    """Pictures per second of each network, the median over rounds in which they take turns."""
    times: list[list[float]] = [[] for _ in networks]
    for _ in range(_ROUNDS):
        for own, network in zip(times, networks, strict=True):
            start = time.perf_counter()
            for place in range(0, len(pixels), _BATCH):
                network.records(pixels[place : place + _BATCH])
            own.append(time.perf_counter() - start)
    return [len(pixels) / float(np.median(own)) for own in times]


def _spaces(tagger: Tagger, folder: Path) -> dict[str, LabelSpace]:
    """The label space with its encoders as they are and, sentence encoders only, in int8."""
    assert tagger.label_space is not None and tagger.bundle.text is not None
    small = dict(tagger.label_space.encoders)
    for name, source in encoder_folders(tagger.bundle).items():
        assert source is not None
        if read_card(source).kind == "sentence":
            (folder / name).mkdir()
            write_int8(source, folder / name)
            mean, least = cosines(source, folder / name, tagger.vocabulary.names)
            size = (folder / name / MODEL).stat().st_size / 1e6
            print(f"{name} int8: {size:.1f} MB, cosine to fp32 mean {mean:.5f}, min {least:.4f}")
            small[name] = load_encoder(folder / name)
    return {"fp32": tagger.label_space, "int8": LabelSpace.load(tagger.bundle.text, small)}


if __name__ == "__main__":
    main()
