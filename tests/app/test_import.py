"""`tagprism import-official`: a checkpoint of the authors' network becomes a bundle that gives their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tagprism.app import console
from tagprism.app.cli import app
from tagprism.bundle.bundle import Bundle
from tagprism.bundle.record import Records
from tagprism.labels.encoders.word_table import read_word_file
from tagprism.tagging.tagger import load
from tests.app.conftest import Cli
from tests.network.official_network import OfficialNetwork
from tests.small_world import LABELS, UNSEEN, World

pytestmark = pytest.mark.slow

M, D, SIZE = 3, 12, 64

EXPORT = "tagprism.network.official_bundle.export_onnx"


@dataclass(frozen=True)
class Released:
    """A checkpoint of the authors' form, its label vectors and the bundle made of it."""

    folder: Path
    network: OfficialNetwork
    vectors: np.ndarray

    @property
    def checkpoint(self) -> Path:
        return self.folder / "released.pth"

    @property
    def labels(self) -> Path:
        return self.folder / "label_vectors.npz"

    @property
    def unseen(self) -> Path:
        return self.folder / "unseen.txt"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def arguments(self, into: Path) -> tuple[str, ...]:
        named = ("--labels", str(self.labels), "--into", str(into), "--image-size", str(SIZE))
        return ("import-official", str(self.checkpoint), *named, "--quiet")


@pytest.fixture(scope="module")
def released(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    folder = tmp_path_factory.mktemp("released")
    words, table = read_word_file(world.words)
    vectors = np.stack([table[words.index(label)] for label in LABELS]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made = Released(folder, OfficialNetwork(M, D).randomise(), vectors)
    np.savez(made.labels, labels=np.array(LABELS), vectors=vectors)
    classes = dict(enumerate(LABELS))
    torch.save(
        {"model": made.network.state_dict(), "num_classes": len(classes), "idx_to_class": classes}, made.checkpoint
    )
    made.unseen.write_text("\n".join(UNSEEN))
    arguments = [*made.arguments(made.bundle), "--unseen", str(made.unseen)]
    assert console.run(lambda: app(arguments, standalone_mode=False)) == 0
    yield made


def authors_pixels(path: Path) -> np.ndarray:
    """Squash to a square, bilinear, pixels / 255."""
    with Image.open(path) as image:
        squashed = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(squashed, np.float32).transpose(2, 0, 1) / 255


def authors_scores(released: Released, paths: list[Path]) -> np.ndarray:
    """Scores of all labels as the authors' inference computes them, from their flat output."""
    with torch.inference_mode():
        flat = released.network(torch.from_numpy(np.stack([authors_pixels(path) for path in paths]))).numpy()
    return np.stack([(row.reshape(D, M).T @ released.vectors.T).max(axis=0) for row in flat])


def bundle_scores(bundle: Path, paths: list[Path]) -> np.ndarray:
    tagger = load(bundle)
    records = Records.joined(record for _, record, _ in tagger.records(paths) if isinstance(record, Records))
    scores: np.ndarray = (records.rows @ tagger.embed(LABELS).T).max(axis=1) + records.shared
    return scores


def test_standardised_scores_are_the_authors_on_another_scale(released: Released, world: World) -> None:
    paths = world.pictures()[:6]
    theirs = authors_scores(released, paths)
    seen = np.array([label not in UNSEEN for label in LABELS])
    mean, deviation = (getattr(theirs[:, seen], name)(axis=1, keepdims=True) for name in ("mean", "std"))
    np.testing.assert_allclose(bundle_scores(released.bundle, paths), (theirs - mean) / deviation, atol=1e-4)


def test_raw_scores_are_the_authors_and_new_words_come_from_their_encoder(
    cli: Cli, released: Released, world: World, tmp_path: Path
) -> None:
    into = tmp_path / "raw"
    seen = tmp_path / "split.json"
    seen.write_text(json.dumps({"seen_5": LABELS[:5], "unseen_2": LABELS[5:7], "categories": LABELS}))
    done = cli(*released.arguments(into), "--raw", "--seen", seen, "--encoder", f"file:{world.words}")
    assert (done.code, done.out, done.err) == (0, "", "")
    paths = world.pictures()[:6]
    np.testing.assert_allclose(bundle_scores(into, paths), authors_scores(released, paths), atol=1e-4)
    tagger = load(into)
    assert not tagger.bundle.config.standardised
    assert [tagger.vocabulary.names_of(role) for role in ("seen", "unseen", "other")] == [
        LABELS[:5],
        LABELS[5:7],
        LABELS[7:],
    ]
    words, table = read_word_file(world.words)
    orange = table[words.index("orange")]
    np.testing.assert_allclose(tagger.embed(["orange"])[0], orange / np.linalg.norm(orange), atol=1e-6)
    assert "1 other" in (into / "README.md").read_text()


def test_the_bundle_is_used_like_any_other(cli: Cli, released: Released, world: World, tmp_path: Path) -> None:
    config = Bundle(released.bundle).config
    assert (config.vectors, config.dimension, config.standardised) == (M, D, True)
    assert set(config.seen) == set(LABELS) - set(UNSEEN)
    card = (released.bundle / "README.md").read_text()
    assert "MIT" in card and "6 seen, 2 unseen" in card and "{" not in card
    tagged = cli("tag", world.pictures()[0], "--model", released.bundle, "--format", "jsonl", "--top-k", 3, "--quiet")
    assert tagged.code == 0 and len(json.loads(tagged.out)["tags"]) == 3
    report = tmp_path / "report.html"
    asked = ("evaluate", released.bundle, *world.on(0), "--format", "json", "--report", report, "--quiet")
    result = json.loads(cli(*asked).out)
    assert result["zsl"]["labels"] == 2 and not result["leak"]
    assert result["protocol"]["label_encoder"] == "label_vectors.npz" and report.is_file()
    assert "label_vectors.npz" in cli("evaluate", released.bundle, *world.on(0), "--quiet").out
    words = tmp_path / "words.txt"
    words.write_text("orange")
    cli("tag", world.pictures()[0], "--model", released.bundle, "--labels", words).refused("orange", "no text encoders")
    cli("evaluate", released.bundle, *world.on(1), "--quiet").refused("green")  # the other split's unseen was seen


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--image-size", "225"), ("225", "multiple of 4")),
        (("--labels", "wide.npz"), ("13 numbers do not fit", "36 rows")),
        (("--labels", "others.npz", "--unseen", "unseen.txt"), ("none of 2 labels", "yellow")),
        (("--seen", "unseen.txt", "--unseen", "unseen.txt"), ("0 of its 8 labels are seen",)),
        (("--seen", "nothing.json"), ("nothing.json", "does not name the seen labels")),
        (("--encoder", "file:others.npz"), ("did not make these label vectors", "median cosine")),
        (("--encoder", "file:wide.npz"), ("gives 13 numbers, the labels have 12",)),
    ],
)
def test_what_does_not_fit_is_refused(
    more: tuple[str, ...],
    words: tuple[str, ...],
    cli: Cli,
    released: Released,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    np.savez("wide.npz", labels=np.array(LABELS), vectors=random.standard_normal((8, 13)).astype(np.float32))
    names = np.array([*(f"word {i}" for i in range(7)), "red"])
    np.savez("others.npz", labels=names, vectors=random.standard_normal((8, 12)).astype(np.float32))
    Path("unseen.txt").write_text("\n".join(UNSEEN))
    arguments = ["--unseen", str(released.unseen)] if "--seen" not in more and "--unseen" not in more else []
    cli(*released.arguments(tmp_path / "b"), *arguments, *more).refused(*words)
    assert not (tmp_path / "b").exists()
    cli(*released.arguments(released.bundle)).refused("exists already")


def test_a_checkpoint_that_does_not_tell_its_seen_labels_says_so(
    cli: Cli, released: Released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EXPORT, lambda _module, _size, path: path.write_bytes(b""))
    monkeypatch.setattr(Bundle, "model", None)  # the writer opens what it wrote
    done = cli(*released.arguments(tmp_path / "all"))
    assert done.code == 0 and "does not tell which labels were kept out" in done.err
    assert Bundle(tmp_path / "all").config.seen == LABELS
    some = tmp_path / "some.pth"
    torch.save({"model": released.network.state_dict(), "idx_to_class": dict(enumerate(LABELS[:5]))}, some)
    (name, _, *rest) = released.arguments(tmp_path / "some")
    done = cli(name, some, *rest)
    assert done.code == 0 and done.err == ""
    config = Bundle(tmp_path / "some").config
    assert config.seen == LABELS[:5] and "idx_to_class" in config.provenance["seen_labels"]


def test_the_protocol_lists_of_nus_wide_give_925_and_81(
    cli: Cli, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EXPORT, lambda _module, _size, path: path.write_bytes(b""))
    monkeypatch.setattr(Bundle, "model", None)  # the writer opens what it wrote
    lists = shared / "data" / "protocols" / "nus_wide"
    checkpoint = tmp_path / "NUS_mtresnet_224.pth"
    torch.save({"model": OfficialNetwork(7, 300).randomise().state_dict(), "num_classes": 1006}, checkpoint)
    named = ("import-official", checkpoint, "--labels", lists / "official_label_vectors.npz", "--into", tmp_path / "b")
    assert cli(*named, "--seen", lists / "TagList1k.txt", "--unseen", lists / "Concepts81.txt", "--quiet").code == 0
    vocabulary = load(tmp_path / "b").vocabulary
    assert (len(vocabulary.seen), len(vocabulary.unseen), vocabulary.dimension) == (925, 81, 300)
    assert Bundle(tmp_path / "b").config.vectors == 7
