"""Anchor, class columns, joined backbones and neighbours, each against the slow way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tagprism.errors import InputError
from tagprism.labels.encoder_card import unit_rows
from tagprism.model.anchor import ClassifierAnchor
from tagprism.model.backbones import Backbone, BackboneUnion, make_backbone
from tagprism.model.class_places import ClassPlaces
from tagprism.model.classes import ClassColumns
from tagprism.model.embedding_matrix import EmbeddingMatrix, Network, RankingMatrix
from tagprism.model.max_similarity import max_similarity_numpy
from tagprism.model.neighbours import nearest_pictures, smoothed
from tagprism.model.places import find_places
from tagprism.model.queries import label_queries
from tagprism.model.sharp_classes import SharpColumns

C, K, D, S, M = 6, 8, 5, 7, 3
TINY = "test_efficientnet.r160_in1k"


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_the_anchor_is_the_direction_of_the_mixed_class_vectors() -> None:
    classifier, vectors, features = nn.Linear(C, K + 1), torch.randn(K, D), torch.randn(4, C)
    kept = list(range(1, K + 1))  # the label space does not know the first class
    anchor = ClassifierAnchor(C, K, D, weight=5.0, temperature=2.0).fill(classifier, kept, vectors)
    found = EmbeddingMatrix(C, M, D, anchor)
    logits = (features @ classifier.weight.T + classifier.bias)[:, 1:]
    for row, one in zip(found(features), features, strict=True):
        posterior = torch.exp((one @ classifier.weight.T + classifier.bias)[1:] / 2)
        mixed = sum(p * v for p, v in zip(posterior / posterior.sum(), vectors, strict=True))
        assert torch.allclose(row, found.trained(one[None])[0] + 5 * mixed / mixed.norm(), atol=1e-5)
    assert logits.shape == (4, K)
    assert [name for name, _ in found.named_parameters()] == ["linear.weight"]  # nothing of the anchor is trained


def test_class_columns_add_standardised_conse_to_labels_not_trained_on_alone() -> None:
    classifier, vectors, seen, features = nn.Linear(C, K), torch.randn(K, D), torch.randn(S, D), torch.randn(4, C)
    columns = ClassColumns(C, K, D, D, S, weight=0.35, surest=2).fill(classifier, list(range(K)), vectors, seen)
    network = Network(nn.Identity(), EmbeddingMatrix(C, M, D), RankingMatrix(seen), columns)
    plain = Network(nn.Identity(), network.head, network.ranking)
    labels = torch.randn(9, D)
    best = classifier(features).softmax(1).topk(2, dim=1)
    mixed = functional.normalize(torch.stack([v @ vectors[i] for v, i in zip(*best, strict=True)]), dim=1)
    over_seen = mixed @ seen.T
    conse = (mixed @ labels.T - over_seen.mean(1, keepdim=True)) / over_seen.std(1, keepdim=True, correction=0)
    with torch.inference_mode():
        matrices, before = network.of_features(features).numpy(), plain.of_features(features).numpy()
    assert matrices.shape == (4, M, D + 1 + D + 1) and network.class_queries is not None and plain.class_queries is None
    own = max_similarity_numpy(before, label_queries(labels.numpy()))[0]
    trained = np.arange(9) < 4
    scores = max_similarity_numpy(matrices, label_queries(labels.numpy(), network.class_queries, trained))[0]
    np.testing.assert_allclose(scores[:, :4], own[:, :4], atol=1e-5)
    np.testing.assert_allclose(scores[:, 4:], own[:, 4:] + 0.35 * conse[:, 4:].detach().numpy(), atol=1e-4)


def test_sharp_columns_add_what_every_class_says_to_all_labels_and_less_to_trained_ones() -> None:
    random = np.random.default_rng(0)
    vectors, seen, labels = (unit_rows(random.standard_normal((n, D)).astype(np.float32)) for n in (K, S, 9))
    features = torch.rand(4, C + K)  # the last K are the classes seen
    columns = SharpColumns(K, D, K, S, weight=0.7).fill(vectors, seen, features.numpy())
    network = Network(nn.Identity(), EmbeddingMatrix(C, M, D), RankingMatrix(torch.tensor(seen)), columns)
    plain = Network(nn.Identity(), network.head, network.ranking)
    with torch.inference_mode():
        matrices, before = network.of_features(features).numpy(), plain.of_features(features).numpy()

    def says(words: np.ndarray) -> np.ndarray:
        """(4, L), pair by pair."""
        say = np.exp(5 * np.array([[word @ one for one in vectors] for word in words]))
        say = (say - say.mean(axis=1, keepdims=True)) / say.std(axis=1, keepdims=True)
        return np.array([[sum(row[C + k] * one[k] for k in range(K)) for one in say] for row in features.numpy()])

    over = says(seen)
    expected = (says(labels) - over.mean(axis=1, keepdims=True)) / over.std(axis=1, keepdims=True)
    own = max_similarity_numpy(before, label_queries(labels))[0]
    found = max_similarity_numpy(matrices, label_queries(labels, network.class_queries, np.arange(9) < 4))[0]
    weight = np.where(np.arange(9) < 4, 0.7 / 4, 0.7)
    np.testing.assert_allclose(found, own + weight * expected, atol=1e-3)


def test_a_class_counts_in_the_whole_picture_and_at_its_best_place() -> None:
    inner = Backbone(TINY, "random").eval()
    inner.classifier = nn.Linear(inner.features, K)
    pixels, places = torch.randn(2, 3, 64, 64), find_places(inner, (64, 64))
    assert places == (2, 2)
    backbone = ClassPlaces(inner, places, K).eval()
    with torch.inference_mode():
        found, maps = backbone(pixels), inner.last_map(pixels)
        for row, one in zip(found, maps, strict=True):
            torch.testing.assert_close(row[: inner.features], one.mean(dim=(1, 2)), rtol=1e-4, atol=1e-5)
            whole = inner.classifier(one.mean(dim=(1, 2))).softmax(0)
            best = torch.stack([inner.classifier(one[:, y, x]).softmax(0) for y in (0, 1) for x in (0, 1)]).amax(0)
            torch.testing.assert_close(row[inner.features :], (whole * best).sqrt(), rtol=1e-3, atol=1e-5)
        alone = ClassPlaces(inner, None, K)(pixels)
        posterior = inner.classifier(found[:, : inner.features]).softmax(1)
        torch.testing.assert_close(alone[:, inner.features :], posterior, rtol=1e-3, atol=1e-5)
    assert find_places(backbone, (64, 64)) == places and backbone.channels == inner.features
    assert len({one.weights_digest() for one in (inner, backbone, ClassPlaces(inner, None, K))}) == 3


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
    matrices, scores = random.standard_normal((count, M, D + 3)), random.standard_normal((count, 4)).astype(np.float32)
    nearest = nearest_pictures(matrices, D, k)
    means = matrices[:, :, :D].mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert nearest.shape == (count, min(k, count - 1))
    found = smoothed(scores, np.arange(count), nearest)
    for own in range(count):
        alike = means @ means[own]
        likest = sorted((other for other in range(count) if other != own), key=lambda other: -alike[other])[:k]
        assert set(nearest[own]) == set(likest)
        mean = scores[likest].mean(axis=0) if likest else scores[own]
        np.testing.assert_allclose(found[own], 0.7 * scores[own] + 0.3 * mean, atol=1e-5)
