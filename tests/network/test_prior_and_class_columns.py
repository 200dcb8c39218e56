"""Prior, class columns, joined backbones and neighbours, each against the slow way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tagprism.bundle.neighbours import nearest_pictures, smoothed
from tagprism.bundle.record import score_records, scoring_vectors
from tagprism.errors import InputError
from tagprism.labels.encoders.encoder import unit_rows
from tagprism.network.backbone_union import BackboneUnion
from tagprism.network.backbones import Backbone, make_backbone
from tagprism.network.class_columns import ClassColumns, ClassEvidence, ClassifierPrior
from tagprism.network.embedding_matrix import EmbeddingMatrix, Network, Standardiser
from tagprism.network.export import find_places

C, K, D, S, M = 6, 8, 5, 7, 3
TINY = "test_efficientnet.r160_in1k"


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_the_prior_is_the_direction_of_the_mixed_class_vectors() -> None:
    classifier, vectors, features = nn.Linear(C, K + 1), torch.randn(K, D), torch.randn(4, C)
    kept = list(range(1, K + 1))  # the label space does not know the first class
    prior = ClassifierPrior(C, K, D, weight=5.0).fill(classifier, kept, vectors)
    found = EmbeddingMatrix(C, M, D, prior)
    logits = (features @ classifier.weight.T + classifier.bias)[:, 1:]
    for row, one in zip(found(features), features, strict=True):
        posterior = torch.exp((one @ classifier.weight.T + classifier.bias)[1:] / 2)
        mixed = sum(p * v for p, v in zip(posterior / posterior.sum(), vectors, strict=True))
        assert torch.allclose(row, found.trained(one[None])[0] + 5 * mixed / mixed.norm(), atol=1e-5)
    assert logits.shape == (4, K)
    assert [name for name, _ in found.named_parameters()] == ["linear.weight"]  # nothing of the prior is trained


@pytest.mark.parametrize(("trained", "sharpness", "power"), [(0.25, 5.0, 1.0), (0.5, 8.0, 0.7)])
def test_class_columns_add_evidence_times_affinity_to_all_labels_and_less_to_trained_ones(
    trained: float, sharpness: float, power: float
) -> None:
    random = np.random.default_rng(0)
    vectors, seen, labels = (unit_rows(random.standard_normal((n, D)).astype(np.float32)) for n in (K, S, 9))
    features = torch.rand(4, C + K)  # the last K are the evidence for the classes
    settings = {"trained": trained, "sharpness": sharpness, "power": power}
    columns = ClassColumns(K, D, K, S, weight=0.7, **settings).fill(vectors, seen, features.numpy())
    network = Network(nn.Identity(), EmbeddingMatrix(C, M, D), Standardiser(torch.tensor(seen)), columns)
    plain = Network(nn.Identity(), network.head, network.standardiser)
    records, before = network.records(features.numpy()), plain.records(features.numpy())

    def affinities_times_evidence(words: np.ndarray) -> np.ndarray:
        """(4, L), pair by pair."""
        affinity = np.exp(sharpness * np.array([[word @ one for one in vectors] for word in words]))
        affinity = (affinity - affinity.mean(axis=1, keepdims=True)) / affinity.std(axis=1, keepdims=True)
        return np.array(
            [[sum(row[C + k] ** power * one[k] for k in range(K)) for one in affinity] for row in features.numpy()]
        )

    over = affinities_times_evidence(seen)
    expected = (affinities_times_evidence(labels) - over.mean(axis=1, keepdims=True)) / over.std(axis=1, keepdims=True)
    own = score_records(before, scoring_vectors(labels))[0]
    found = score_records(records, scoring_vectors(labels, network.class_affinity, np.arange(9) < 4))[0]
    weight = np.where(np.arange(9) < 4, 0.7 * trained, 0.7)
    np.testing.assert_allclose(found, own + weight * expected, atol=1e-3)


def test_a_class_counts_in_the_whole_picture_and_at_its_best_place() -> None:
    inner = Backbone(TINY, "random").eval()
    inner.classifier = nn.Linear(inner.features, K)
    pixels, places = torch.randn(2, 3, 64, 64), find_places(inner, (64, 64))
    assert places == (2, 2)
    backbone = ClassEvidence(inner, places, K).eval()
    with torch.inference_mode():
        found, maps = backbone(pixels), inner.last_map(pixels)
        for row, one in zip(found, maps, strict=True):
            torch.testing.assert_close(row[: inner.features], one.mean(dim=(1, 2)), rtol=1e-4, atol=1e-5)
            whole = inner.classifier(one.mean(dim=(1, 2))).softmax(0)
            best = torch.stack([inner.classifier(one[:, y, x]).softmax(0) for y in (0, 1) for x in (0, 1)]).amax(0)
            torch.testing.assert_close(row[inner.features :], (whole * best).sqrt(), rtol=1e-3, atol=1e-5)
        alone = ClassEvidence(inner, None, K)(pixels)
        posterior = inner.classifier(found[:, : inner.features]).softmax(1)
        torch.testing.assert_close(alone[:, inner.features :], posterior, rtol=1e-3, atol=1e-5)
    assert find_places(backbone, (64, 64)) == places and backbone.channels == inner.features
    assert len({one.weights_digest() for one in (inner, backbone, ClassEvidence(inner, None, K))}) == 3


def test_a_class_that_is_not_seen_at_all_leaves_the_training_of_the_backbone_finite() -> None:
    inner = Backbone(TINY, "random")
    inner.classifier = nn.Linear(inner.features, K)
    nn.init.zeros_(inner.classifier.weight)
    inner.classifier.bias.data = torch.tensor([200.0] + [0.0] * (K - 1))
    found = ClassEvidence(inner, (2, 2), K)(torch.randn(2, 3, 64, 64))
    assert (found[:, -1] == 0).all()
    found[:, : inner.features].square().sum().backward()
    grown = [one.grad for one in inner.network.parameters() if one.grad is not None]
    assert grown and all(bool(one.isfinite().all()) for one in grown)


def test_joined_backbones_are_their_features_end_to_end_and_their_mean_logits() -> None:
    parts = [Backbone(TINY, "random").eval() for _ in range(2)]
    for part in parts:
        part.classifier = nn.Linear(part.features, K)
    union, pixels = BackboneUnion(parts).eval(), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        features = [part(pixels) for part in parts]
        assert torch.allclose(union(pixels), torch.cat(features, dim=1), atol=1e-5)
        assert union.classifier is not None
        logits = [part.classifier(own) for part, own in zip(parts, features, strict=True) if part.classifier]
        assert torch.allclose(union.classifier(union(pixels)), torch.stack(logits).mean(0), atol=1e-5)
    assert union.features == 2 * parts[0].features
    assert find_places(union, (64, 64)) == find_places(parts[0], (64, 64)) == (2, 2)
    digests = {parts[0].weights_digest(), parts[1].weights_digest(), union.weights_digest()}
    assert len(digests) == 3


def test_backbones_that_want_other_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="different mean or deviation"):
        make_backbone(("tf_efficientnet_lite0", "resnet18"), "random")
    assert make_backbone((TINY,), "random").name == TINY


@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 2**32 - 1))
def test_smoothing_is_the_mean_over_the_likest_pictures(count: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, scores = random.standard_normal((count, M, D)), random.standard_normal((count, 4)).astype(np.float32)
    nearest = nearest_pictures(rows, k)
    means = rows.mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert nearest.shape == (count, min(k, count - 1))
    found = smoothed(scores, np.arange(count), nearest)
    for own in range(count):
        alike = means @ means[own]
        likest = sorted((other for other in range(count) if other != own), key=lambda other: -alike[other])[:k]
        assert set(nearest[own]) == set(likest)
        mean = scores[likest].mean(axis=0) if likest else scores[own]
        np.testing.assert_allclose(found[own], 0.7 * scores[own] + 0.3 * mean, atol=1e-5)
