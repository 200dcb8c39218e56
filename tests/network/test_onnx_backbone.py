"""A foreign network in ONNX as frozen backbone and as label encoder: parity with the plain model, and refusals."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tagprism.bundle.bundle import open_model
from tagprism.bundle.record import max_similarity_numpy, score_records, scoring_vectors
from tagprism.bundle.referring import foreign_encoder, network_files, open_foreign, open_reference, text_encoder
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError
from tagprism.images.preprocess import Preprocess
from tagprism.labels.encoders.encoder import EncoderCard, ForeignReference, find_encoder, load_encoder, read_card
from tagprism.network.backbones import make_backbone
from tagprism.network.embedding_matrix import Network, Standardiser
from tagprism.network.encoder_sources import encoder_folder
from tagprism.network.onnx_backbone import OnnxBackbone
from tagprism.training.networks import make_head, make_prior, open_backbone
from tagprism.training.prepare import embed_labels, make_preprocess, prepare
from tagprism.training.recipe import LabelTable, Recipe
from tests.small_foreign import Foreign, make_fastembed, make_immich

PROMPT = "a photo of a {}"
SEEN = ("dog", "beach", "birthday cake", "snow", "old car", "train")
UNSEEN = ("harbour", "cat")
SPLIT = Split(seen=SEEN, unseen=UNSEEN, train=("a.jpg",), val=("b.jpg",), test=("c.jpg",))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    return make_immich(tmp_path_factory.mktemp("clip") / "small-clip")


def recipe(folder: Path, **model: object) -> Recipe:
    spec = f"onnx:{folder}"
    its = {"backbone": spec, "vectors": 5, "prior": 100} | model
    return Recipe(name="on top", labels={"parts": [{"encoder": spec, "template": PROMPT}]}, model=its)


def prepared_pictures(preprocess: Preprocess, n: int = 24) -> np.ndarray:
    random = np.random.default_rng(0)
    images = [Image.fromarray(random.integers(0, 255, (60, 80 + at, 3), dtype=np.uint8)) for at in range(n)]
    return np.stack([preprocess.apply(image) for image in images])


def test_before_training_it_is_the_plain_model(clip: Foreign) -> None:
    its = recipe(clip.folder)
    names = (*SEEN, *UNSEEN)
    space, vocabulary, _ = embed_labels(its.labels, 0, SPLIT)
    backbone = open_backbone(its.model)
    torch.manual_seed(0)
    head = make_head(its.model, backbone, space.dimension, make_prior(its, backbone, space))
    seen_vectors = vocabulary.select(SEEN).vectors
    network = Network(backbone, head, Standardiser(torch.tensor(seen_vectors))).eval()
    pixels = prepared_pictures(make_preprocess(its, backbone))
    with torch.inference_mode():
        matrices = head(backbone(torch.from_numpy(pixels))).numpy()
        features = backbone(torch.from_numpy(pixels)).numpy()

    plain = open_model(clip.folder)
    vectors, phrases = plain.model(pixels), plain.label_space.embed(names).vectors  # type: ignore[operator]
    np.testing.assert_array_equal(features, vectors)
    np.testing.assert_allclose(vocabulary.vectors, phrases, atol=1e-6)
    cosines = vectors @ phrases.T
    raw, _ = max_similarity_numpy(matrices, vocabulary.vectors)
    assert np.abs(raw / its.model.prior - cosines).max() <= 1e-5
    scores, _ = score_records(network.records(features), scoring_vectors(vocabulary.vectors))
    among = cosines[:, : len(SEEN)]
    expected = (cosines - among.mean(axis=1, keepdims=True)) / among.std(axis=1, keepdims=True)
    deviation = among.std(axis=1).min()
    assert np.abs(scores - expected).max() <= 1e-5 * max(1.0, 0.02 / deviation)


def test_first_steps_move_every_row(clip: Foreign) -> None:
    its = recipe(clip.folder)
    backbone = open_backbone(its.model)
    space, _, _ = embed_labels(its.labels, 0, SPLIT)
    torch.manual_seed(0)
    head = make_head(its.model, backbone, space.dimension, make_prior(its, backbone, space))
    features = torch.nn.functional.normalize(torch.randn(32, backbone.features), dim=1)
    (head(features) @ torch.tensor(space.embed(SEEN).vectors).T).amax(dim=1).sum().backward()
    gradient = head.linear.weight.grad
    assert gradient is not None
    assert (gradient.view(its.model.vectors, -1).norm(dim=1) > 0).all()


@pytest.mark.parametrize("siglip", [False, True])
def test_its_text_network_is_a_label_encoder(siglip: bool, clip: Foreign, tmp_path: Path) -> None:
    if siglip:
        made = make_immich(tmp_path / "a-model", siglip=True)
    else:
        made = replace(clip, folder=Path(shutil.copytree(clip.folder, tmp_path / "a-model")))
    folder = encoder_folder(f"onnx:{made.folder}")
    card = read_card(folder)
    assert [file.name for file in folder.iterdir()] == ["encoder.json"] and card.kind == "foreign"
    assert find_encoder(card.id, card.digest) == folder
    phrases = ("a polar bear", "two people", "new york at night")
    found = load_encoder(folder, source_digest=card.digest, foreign=foreign_encoder).encode(phrases)
    assert (found * made.phrases(phrases)).sum(axis=1).min() > 0.9999
    with pytest.raises(InputError, match="another model"):
        load_encoder(folder, source_digest="0" * 64, foreign=foreign_encoder)
    with pytest.raises(InputError, match="foreign_encoder"):
        load_encoder(folder)
    tokenizer = made.folder / "textual/tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    with pytest.raises(InputError, match=r"is not the network.*textual/tokenizer\.json") as refused:
        load_encoder(folder, foreign=foreign_encoder)
    assert "--with-network" in str(refused.value)


def test_a_bundle_brings_both_halves_of_a_model_in_two_folders(tmp_path: Path) -> None:
    made = make_fastembed(tmp_path / "models" / "small-vision")
    model, reference = open_foreign(str(made.folder))
    bundle = tmp_path / "bundle"
    for name, content in network_files(model).items():
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        content(bundle / name)
    (tmp_path / "models").rename(tmp_path / "moved")
    brought = open_reference(reference, bundle)
    assert brought.config.digests == reference.files
    phrases = ("a dog", "snow")
    assert (text_encoder(brought, "onnx-a").encode(phrases) * made.phrases(phrases)).sum(axis=1).min() > 0.9999
    with pytest.raises(InputError, match="not on this machine"):
        open_reference(reference)


@pytest.mark.parametrize("name", ["//server/share", "\\\\server\\share", "relative", "../up"])
def test_a_reference_names_a_place_on_this_machine(name: str) -> None:
    with pytest.raises(ValueError, match="on this machine"):
        ForeignReference(name=name, files={"a": "0" * 64})


def test_older_cards_are_written_as_before(tmp_path: Path) -> None:
    EncoderCard(id="a", kind="words", dimension=3, licence="x", source="y", digest="0" * 64).write(tmp_path)
    assert "foreign" not in (tmp_path / "encoder.json").read_text()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"image_size": 64}, "48 pixels a side only"),
        ({"weights": "random"}, "weights that are in its files"),
        ({"rows_from": "patches"}, "no patches"),
        ({"class_columns": 0.5}, "no ImageNet-1k classifier"),
    ],
)
def test_what_it_cannot_do_is_refused(clip: Foreign, model: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_backbone(recipe(clip.folder, **model).model)


def test_refused_before_a_picture_is_read(clip: Foreign, tmp_path: Path) -> None:
    its = recipe(clip.folder)
    backbone = OnnxBackbone(f"onnx:{clip.folder}")
    other = its.model_copy(update={"labels": LabelTable()})
    with pytest.raises(InputError, match="needs its text tower in the label space"):
        make_prior(other, backbone, embed_labels(its.labels, 0, SPLIT)[0])
    with pytest.raises(InputError, match="joined"):
        make_backbone([f"onnx:{clip.folder}", "tf_efficientnet_lite0"])
    with pytest.raises(InputError, match="is not a bundle"):
        make_backbone(f"onnx:{tmp_path}")
    ended = its.model_copy(update={"training": its.training.model_copy(update={"end_to_end": True})})
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        Image.new("RGB", (50, 50)).save(tmp_path / name)
    table = ImageTable.from_labels([(name, ["dog"]) for name in ("a.jpg", "b.jpg", "c.jpg")], folder=tmp_path)
    with pytest.raises(InputError, match="used as it is"):
        prepare(ended, table, SPLIT)
