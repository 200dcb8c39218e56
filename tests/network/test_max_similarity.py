"""The one torch and the one numpy maximum are equal, and equal to the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tagprism.bundle.record import largest_similarity, max_similarity_numpy
from tagprism.errors import InputError
from tagprism.labels.vocabulary import groups_of, owners_of
from tagprism.network.embedding_matrix import max_similarity

# Small whole numbers: sums are exact in float32, so ties are real ties in both.
_whole = st.integers(-3, 3).map(float)


@st.composite
def inputs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    B, M, D, L = (draw(st.integers(1, 5)) for _ in range(4))
    matrices = draw(arrays.arrays(np.float32, (B, M, D), elements=_whole))
    return matrices, draw(arrays.arrays(np.float32, (L, D), elements=_whole))


@given(inputs())
def test_torch_equals_numpy_equals_definition(given_: tuple[np.ndarray, np.ndarray]) -> None:
    matrices, vectors = given_
    scores, winners = max_similarity_numpy(matrices, vectors)
    torch_scores, torch_winners = max_similarity(torch.from_numpy(matrices), torch.from_numpy(vectors))
    products = np.einsum("bmd,ld->bml", matrices, vectors)
    np.testing.assert_array_equal(scores, products.max(axis=1))
    np.testing.assert_array_equal(winners, products.argmax(axis=1))  # numpy's argmax is the first of equals
    np.testing.assert_array_equal(torch_scores.numpy(), scores)
    np.testing.assert_array_equal(torch_winners.numpy(), winners)


@given(inputs(), st.data())
def test_a_soft_maximum_is_the_mean_of_the_best_products(
    given_: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    matrices, vectors = given_
    k = data.draw(st.integers(1, matrices.shape[1] + 1))
    scores, winners = max_similarity_numpy(matrices, vectors, best_rows=k)
    found = max_similarity(torch.from_numpy(matrices), torch.from_numpy(vectors), best_rows=k)
    products = np.einsum("bmd,ld->bml", matrices, vectors)
    np.testing.assert_allclose(scores, np.sort(products, axis=1)[:, -k:].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found[0].numpy(), scores, rtol=1e-6)
    np.testing.assert_array_equal(winners, products.argmax(axis=1))
    np.testing.assert_array_equal(found[1].numpy(), winners)
    assert (scores <= largest_similarity(matrices, vectors)).all()  # what an index knows is a bound


@given(inputs(), st.data())
def test_a_label_of_several_vectors_has_the_best_of_them(
    given_: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    matrices, vectors = given_
    sizes = data.draw(
        st.lists(st.integers(1, 3), min_size=1, max_size=len(vectors)).filter(lambda s: sum(s) <= len(vectors))
    )
    vectors = vectors[: sum(sizes)]
    groups = groups_of(sizes)
    assert owners_of(groups).tolist() == np.repeat(np.arange(len(sizes)), sizes).tolist()
    scores, winners = max_similarity_numpy(matrices, vectors, groups)
    found = max_similarity(torch.from_numpy(matrices), torch.from_numpy(vectors), torch.from_numpy(groups))
    np.testing.assert_array_equal(found[0].numpy(), scores)
    np.testing.assert_array_equal(found[1].numpy(), winners)
    for label, own in enumerate(np.split(vectors, np.cumsum(sizes)[:-1])):
        products = np.einsum("bmd,kd->bkm", matrices, own)
        np.testing.assert_array_equal(scores[:, label], products.max(axis=(1, 2)))
        best = products.reshape(len(matrices), -1).argmax(axis=1) % matrices.shape[1]  # of the first vector that won
        np.testing.assert_array_equal(winners[:, label], best)


def test_half_precision_matrices_are_widened() -> None:
    matrices = np.random.default_rng(0).standard_normal((3, 2, 8)).astype(np.float16)
    scores, _ = max_similarity_numpy(matrices, np.ones((1, 8), np.float32))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[:, 0], matrices.astype(np.float32).sum(2).max(1), rtol=1e-5)


def test_negative_scores_keep_their_maximum() -> None:
    scores, winners = max_similarity_numpy(np.full((1, 2, 1), -2.0, np.float32), np.ones((1, 1), np.float32))
    assert scores[0, 0] == -2 and winners[0, 0] == 0


@pytest.mark.usefixtures("no_type_checks")
def test_what_cannot_be_scored_is_refused() -> None:
    vectors = torch.eye(3)
    with pytest.raises(InputError, match=r"\(2, 6\), not \(images, M, 3\).*D-major"):
        max_similarity(torch.ones(2, 6), vectors)
    with pytest.raises(InputError, match=r"\(2, 2, 4\), not \(images, M, 3\)"):
        max_similarity(torch.ones(2, 2, 4), vectors)
    with pytest.raises(InputError, match=r"\(3,\), not \(labels, D\)"):
        max_similarity(torch.ones(2, 2, 3), vectors[0])
    with pytest.raises(InputError, match=r"2 of them hold NaN or infinity, the first is number 0"):
        max_similarity(torch.ones(2, 2, 3), vectors * torch.tensor([[torch.inf], [1], [torch.nan]]))
