"""Train and measure without writing a RUN: what comparisons and the demo are made of. Frozen features only."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int8

from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.errors import InputError
from tagprism.evaluation.evaluate import evaluate_matrices
from tagprism.evaluation.metrics import UnknownPolicy
from tagprism.evaluation.protocols import Evaluation
from tagprism.files import digest_json
from tagprism.images.digests import digest_pictures
from tagprism.model.embedding_matrix import EmbeddingMatrix, RankingMatrix
from tagprism.progress import Progress, silent
from tagprism.training.baselines import conse, ridge
from tagprism.training.features import Features, compute_features
from tagprism.training.fit import fit
from tagprism.training.prepare import Prepared, prepare
from tagprism.training.recipe import Recipe

BASELINES = ("ConSE", "ridge")


@dataclass(frozen=True)
class Experiment:
    """One data set and split; every method is measured on the same test pictures.

    Args:
        table: the pictures.
        split: seen and unseen labels, training and test pictures.
        ks: labels per image for precision, recall and F1.
        unknown: what an unverified label counts as.
        progress: told how far it is.

    Attributes:
        skipped: pictures met so far that could not be used: key -> reason.
    """

    table: ImageTable
    split: Split
    ks: tuple[int, ...] = (3, 5)
    unknown: UnknownPolicy = "ignore"
    progress: Progress = silent
    skipped: dict[str, str] = field(default_factory=dict)
    _heads: dict[str, EmbeddingMatrix] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """L labels, seen ones first."""
        return (*self.split.seen, *self.split.unseen)

    @cached_property
    def unseen(self) -> Bool[np.ndarray, " L"]:
        """(L,) true for unseen labels."""
        return np.arange(len(self.names)) >= len(self.split.seen)

    @cached_property
    def pictures_digest(self) -> str:
        """SHA-256 over the bytes of all pictures of the split, in order."""
        keys = (*self.split.train, *self.split.val, *self.split.test)
        digests, _ = digest_pictures([self.table.files[int(row)] for row in self.table.rows_of(keys)], self.progress)
        return digest_json(digests)

    def test_features(self, prepared: Prepared) -> Features:
        """Features of the test pictures that can be used."""
        places = self.table.rows_of(self.split.test)
        files = [self.table.files[int(row)] for row in places]
        features = compute_features(files, prepared.backbone, prepared.preprocess, self.progress)
        self.skipped.update({self.split.test[row]: error.message for row, error in features.errors})
        return features

    def targets(self, features: Features) -> Int8[np.ndarray, "N L"]:
        """Targets of the test pictures that can be used."""
        return self.table.targets(self.table.rows_of(self.split.test)[features.rows], self.names)

    def train(self, recipe: Recipe, *, supervised: bool = False) -> Evaluation:
        """Train a recipe and measure it.

        Args:
            recipe: with a frozen backbone.
            supervised: train on the unseen labels too: what a model reaches that has seen everything.

        Raises:
            InputError: an end-to-end recipe, or anything `prepare` refuses.
        """
        if recipe.training.end_to_end:
            raise InputError("comparisons train on frozen features.", remedy="Use `tagprism train` and `evaluate`.")
        split = replace(self.split, seen=self.names, unseen=()) if supervised else self.split
        prepared = self._prepare(recipe, split)
        head = self._fitted_head(prepared)
        ranking = RankingMatrix(torch.tensor(prepared.seen_vectors), standardise=recipe.model.standardise)
        features = self.test_features(prepared)
        with torch.inference_mode():
            matrices = ranking(head(torch.from_numpy(features.vectors))).numpy()
        return self._measure(matrices, prepared, features)

    def _fitted_head(self, prepared: Prepared) -> EmbeddingMatrix:
        """Train, or take the head of an earlier recipe that differs in name and standardisation alone."""
        values = prepared.recipe.model_dump(mode="json", exclude={"name"})
        if prepared.recipe.training.choose == "last":
            del values["model"]["standardise"]  # it changes how matrices are ranked, not how they are trained
        key = digest_json([values, prepared.split.digest])
        if key not in self._heads:
            with tempfile.TemporaryDirectory() as folder:
                self._heads[key] = fit(prepared, Path(folder), self.progress).network.head
        return self._heads[key]

    def baseline(self, method: str, recipe: Recipe) -> Evaluation:
        """Measure one of `BASELINES` on the features and label vectors of a recipe."""
        prepared = self._prepare(recipe, self.split)
        features = self.test_features(prepared)
        if method == "ConSE":
            vectors = conse(features.vectors, prepared.backbone, prepared.space)
        elif method == "ridge":
            train = prepared.train
            assert train.features is not None, "baselines use frozen features"
            vectors = ridge(train.features, train.targets[:], prepared.seen_vectors, features.vectors)
        else:
            raise InputError(f"there is no baseline `{method}`.", remedy=f"Choose one of: {', '.join(BASELINES)}.")
        ranking = RankingMatrix(torch.tensor(prepared.seen_vectors), standardise=recipe.model.standardise)
        return self._measure(ranking(torch.from_numpy(vectors)).numpy(), prepared, features)

    def _prepare(self, recipe: Recipe, split: Split) -> Prepared:
        prepared = prepare(recipe, self.table, split, self.progress)
        self.skipped.update({key: error.message for key, error in prepared.skipped})
        return prepared

    def _measure(self, matrices: Float32[np.ndarray, "N M D1"], prepared: Prepared, features: Features) -> Evaluation:
        return evaluate_matrices(
            matrices,
            self.names,
            prepared.vocabulary.select(self.names).vectors,
            self.unseen,
            self.targets(features),
            ks=self.ks,
            unknown=self.unknown,
            label_encoder=" + ".join(prepared.space.encoders),
        )
