"""The word-query decoder against torch's own layers, its loss against the slow definition, and what it can learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tagprism.comparing.decoder import (
    FeatureTokens,
    WordQueryDecoder,
    asymmetric_loss,
    decoder_scores,
    train_decoder,
)
from tagprism.evaluation.metrics import mean_average_precision
from tagprism.network.backbones import Backbone


@pytest.fixture
def decoder() -> WordQueryDecoder:
    torch.manual_seed(0)
    return WordQueryDecoder(12, 6, width=16, heads=4, feed_forward=24).eval()


def test_it_is_torchs_attention_between_layer_norms(decoder: WordQueryDecoder) -> None:
    attention = nn.MultiheadAttention(16, 4, batch_first=True).eval()
    parts = (decoder.to_query, decoder.to_key, decoder.to_value)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        attention.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        attention.out_proj.load_state_dict(decoder.attended.state_dict())
    tokens, vectors = torch.randn(3, 5, 12), torch.randn(7, 6)
    first, second, third = decoder.norms
    places = functional.relu(decoder.places(tokens))
    asked = functional.relu(decoder.queries(vectors)).expand(3, -1, -1)
    asked = first(asked + asked)
    found = second(asked + attention(asked, places, places, need_weights=False)[0])
    found = third(found + decoder.contract(functional.relu(decoder.expand(found))))
    torch.testing.assert_close(decoder(tokens, vectors), decoder.logit(found)[..., 0], rtol=1e-4, atol=1e-5)


def test_labels_asked_together_do_not_change_each_other_and_places_have_no_order(decoder: WordQueryDecoder) -> None:
    tokens, vectors = torch.randn(2, 9, 12), torch.randn(8, 6)
    together = decoder(tokens, vectors)
    alone = torch.cat([decoder(tokens, vectors[i : i + 1]) for i in range(8)], dim=1)
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(together, decoder(tokens.flip(1), vectors))
    assert together.std() > 1e-3


def test_the_loss_is_the_slow_definition() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (5, 9))
    targets = random.integers(-1, 2, (5, 9)).astype(np.int8)
    total = 0.0
    for logit, target in zip(logits.ravel(), targets.ravel(), strict=True):
        probability = 1 / (1 + math.exp(-logit))
        easier = max(probability - 0.05, 0)
        total -= {1: math.log(probability), 0: easier**4 * math.log(1 - easier), -1: 0.0}[int(target)]
    found = asymmetric_loss(torch.from_numpy(logits), torch.from_numpy(targets))
    assert float(found) == pytest.approx(total / 5, rel=1e-9)


def test_without_focus_and_margin_the_loss_is_binary_cross_entropy() -> None:
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 2, (4, 6), dtype=torch.int8)
    ours = asymmetric_loss(logits, targets, focus=0.0, margin=0.0)
    torchs = functional.binary_cross_entropy_with_logits(logits, targets.double(), reduction="sum") / 4
    assert float(ours.detach()) == pytest.approx(float(torchs.detach()))
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, torchs)]
    torch.testing.assert_close(*gradients)


def test_extreme_logits_give_finite_losses_and_gradients() -> None:
    logits = torch.tensor([[-200.0, 200.0, -200.0, 200.0]], requires_grad=True)
    loss = asymmetric_loss(logits, torch.tensor([[1, 1, 0, 0]], dtype=torch.int8))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


@pytest.mark.slow
def test_it_finds_labels_it_was_not_trained_on_at_any_place() -> None:
    random = np.random.default_rng(3)
    vectors = random.standard_normal((40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    present = np.stack([random.permutation(40)[:2] for _ in range(600)])
    maps = 0.1 * random.standard_normal((600, 4, 8)).astype(np.float32)
    for row, labels in enumerate(present):  # each label's vector stands at one of the four places
        maps[row, random.permutation(4)[:2]] += vectors[labels]
    targets = np.zeros((600, 40), np.int8)
    np.put_along_axis(targets, present, 1, axis=1)
    seen, flat = np.arange(32), maps.reshape(600, -1)

    def trained(epochs: int) -> np.ndarray:
        decoder = train_decoder(
            lambda places: flat[list(places)],
            8,
            targets[:500, seen],
            vectors[seen],
            epochs=epochs,
            learning_rate=3e-3,
        )
        return decoder_scores(decoder, lambda places: flat[500 + np.array(places)], 8, 100, vectors)

    scores, marks = trained(8)[:, 32:], targets[500:, 32:]
    chance = 100 * marks.mean()
    assert mean_average_precision(scores, marks) > 4 * chance  # labels never trained on
    np.testing.assert_array_equal(trained(1), trained(1))  # the same seed, the same numbers


def test_tokens_pool_to_the_features_and_looking_changes_no_weight() -> None:
    torch.manual_seed(0)
    backbone = Backbone("test_efficientnet.r160_in1k", "random")
    before = backbone.weights_digest()
    tokens = FeatureTokens(backbone, (64, 96))
    assert backbone.weights_digest() == before != tokens.weights_digest()
    pixels = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        maps, pooled = tokens(pixels), backbone.eval()(pixels)
    assert maps.shape == (2, tokens.features) and tokens.features == 2 * 3 * tokens.channels
    torch.testing.assert_close(maps.view(2, -1, tokens.channels).mean(1), pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["test_vit.r160_in1k", "test_convnext.r160_in1k"])
def test_other_kinds_of_networks_have_tokens_too(name: str) -> None:
    tokens = FeatureTokens(Backbone(name, "random"), (160, 160))
    assert tokens.features % tokens.channels == 0
    assert tokens(torch.rand(2, 3, 160, 160)).shape == (2, tokens.features)
