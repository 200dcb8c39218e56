"""Train and measure without writing a RUN: what comparisons and the demo are made of. Frozen features only."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int8, Int64
from torch import Tensor
from torch.nn import functional

from tagprism.bundle.neighbours import nearest_pictures
from tagprism.bundle.record import ClassAffinity, Records, scoring_vectors
from tagprism.comparing.baselines import clip_label_vectors, conse, ridge
from tagprism.comparing.decoder import FeatureTokens, decoder_scores, train_decoder
from tagprism.comparing.methods import (
    NEIGHBOURS,
    WITH_PRIOR,
    Method,
    authors_recipe,
    pooled_recipe,
    single_vector_recipe,
)
from tagprism.datasets.splits import Split
from tagprism.datasets.table import ImageTable
from tagprism.errors import PictureError
from tagprism.evaluation.protocols import Evaluation, Unverified
from tagprism.evaluation.streaming import evaluate_records, evaluate_scores
from tagprism.files import digest_json
from tagprism.images.picture_file import PictureFile
from tagprism.images.preprocess import Preprocess
from tagprism.images.stream import digest_pictures
from tagprism.labels.vocabulary import Groups, owners_of
from tagprism.network.backbones import FeatureNetwork
from tagprism.network.embedding_matrix import Standardiser
from tagprism.network.onnx_backbone import OnnxBackbone
from tagprism.network.onnx_models import ONNX
from tagprism.network.open_clip_backbone import ClipBackbone
from tagprism.network.open_clip_models import PREFIX
from tagprism.progress import Progress, silent
from tagprism.training.features import Features, compute_features, stored_features
from tagprism.training.networks import make_class_columns, make_prior
from tagprism.training.prepare import Prepared, make_preprocess, prepare
from tagprism.training.recipe import ModelTable, Recipe


@dataclass(frozen=True)
class Experiment:
    """One data set and split; every method is measured on the same test pictures.

    Args:
        table: the pictures.
        split: seen and unseen labels, training and test pictures.
        ks: labels per image for precision, recall and F1.
        unknown: what an unverified label counts as, as in `EvaluationProtocol`.
        progress: told how far it is.

    Attributes:
        skipped: pictures met so far that could not be used: key -> reason.
    """

    table: ImageTable
    split: Split
    ks: tuple[int, ...] = (3, 5)
    unknown: Unverified = "ignore"
    progress: Progress = silent
    skipped: dict[str, str] = field(default_factory=dict)
    _heads: dict[str, torch.nn.Module] = field(default_factory=dict, init=False, repr=False)

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

    @cached_property
    def test_files(self) -> list[PictureFile]:
        """The test pictures."""
        return [self.table.files[int(row)] for row in self.table.rows_of(self.split.test)]

    def test_features(self, network: FeatureNetwork, preprocess: Preprocess) -> Features:
        """Features of the test pictures that can be used."""
        features = compute_features(self.test_files, network, preprocess, self.progress)
        self._note(features.errors)
        return features

    def _note(self, errors: Iterable[tuple[int, PictureError]]) -> None:
        self.skipped.update({self.split.test[row]: error.message for row, error in errors})

    def run(self, method: Method) -> Evaluation:
        """Measure a row.

        Raises:
            InputError: a rival that this backbone does not allow, or anything `prepare` refuses.
        """
        kind, recipe = method.kind, method.recipe
        if kind.startswith(PREFIX):
            return self._clip(kind)
        if kind.startswith(ONNX):
            return self._plain(kind, recipe)
        if kind == "decoder":
            return self._decoder(self._prepare(pooled_recipe(recipe), self.split))
        if kind in ("conse", "ridge", *WITH_PRIOR):
            return self._without_training(kind, recipe)
        recipes = {"authors": authors_recipe, "single": single_vector_recipe}
        neighbours = int(kind.removeprefix(NEIGHBOURS)) if kind.startswith(NEIGHBOURS) else 0
        changed = recipes[kind](recipe) if kind in recipes else recipe
        return self._trained(changed, supervised=kind == "supervised", neighbours=neighbours)

    def _trained(self, recipe: Recipe, *, supervised: bool, neighbours: int) -> Evaluation:
        """Train a recipe and measure it: on unseen labels too, or with scores averaged over like test pictures."""
        from tagprism.training.fit import make_network

        split = replace(self.split, seen=self.names, unseen=()) if supervised else self.split
        prepared = self._prepare(recipe, split)
        network = make_network(prepared, self._fitted_head(prepared))
        features = self.test_features(prepared.backbone, prepared.preprocess)
        records = network.records(features.vectors)
        trained = ~self.unseen | supervised
        vectors, groups = prepared.vocabulary.scored(self.names)
        owners = np.arange(len(vectors)) if groups is None else owners_of(groups)
        queries = scoring_vectors(vectors, network.class_affinity, trained[owners])
        nearest = nearest_pictures(records.rows, neighbours) if neighbours else None
        return self._measure(
            records, queries, features.rows, _encoders(prepared), nearest, groups, recipe.model.best_rows
        )

    def _fitted_head(self, prepared: Prepared) -> torch.nn.Module:
        """Train, or take the head of an earlier recipe that differs in its name and in what is done after it alone."""
        from tagprism.training.fit import fit  # which loads Lightning; what is measured without training needs none

        values = prepared.recipe.model_dump(mode="json", exclude={"name"})
        if prepared.recipe.training.choose == "last":
            for name in list(values["model"]):  # how pictures are ranked, not trained
                if name == "standardise" or name.startswith("class_columns"):
                    del values["model"][name]
        key = digest_json([values, prepared.split.digest])
        if key not in self._heads:
            with tempfile.TemporaryDirectory() as folder:
                self._heads[key] = fit(prepared, Path(folder), self.progress).network.head
        return self._heads[key]

    def _without_training(self, kind: str, recipe: Recipe) -> Evaluation:
        """ConSE or ridge regression: one vector per picture, ranked as an embedding matrix with M = 1."""
        prepared = self._prepare(pooled_recipe(recipe), self.split)
        features = self.test_features(prepared.backbone, prepared.preprocess)
        if kind.startswith("conse"):
            vectors = conse(features.vectors, prepared.backbone, prepared.space)
        else:
            train = prepared.train
            assert train.features is not None, "baselines use frozen features"
            vectors = ridge(train.features, train.targets[:], prepared.seen_vectors, features.vectors)
        prior = kind in WITH_PRIOR
        records, affinity = _ranked(prepared, torch.from_numpy(vectors), torch.from_numpy(features.vectors), prior)
        queries = scoring_vectors(prepared.vocabulary.select(self.names).vectors, affinity, ~self.unseen)
        return self._measure(records, queries, features.rows, _encoders(prepared))

    def _decoder(self, prepared: Prepared) -> Evaluation:
        """Train a word-query decoder on stored feature maps; its logits are comparable between images as they are."""
        tokens = FeatureTokens(prepared.backbone, (prepared.preprocess.height, prepared.preprocess.width))
        maps = partial(
            stored_features, network=tokens, preprocess=prepared.preprocess, progress=self.progress, halves=True
        )
        train, channels = prepared.train, tokens.channels
        with maps(train.files) as stored:
            targets = train.targets[stored.rows].copy()
            if prepared.recipe.loss.unlabelled == "negative":
                targets[targets < 0] = 0
            seed, seen_vectors = prepared.recipe.seed, prepared.seen_vectors
            decoder = train_decoder(stored.read, channels, targets, seen_vectors, self.progress, seed=seed)
        vectors = prepared.vocabulary.select(self.names).vectors
        with maps(self.test_files) as stored:
            self._note(stored.errors)
            scores = decoder_scores(decoder, stored.read, channels, len(stored.rows), vectors, self.progress)
            rows = stored.rows
        encoders = _encoders(prepared)
        return evaluate_scores(
            scores,
            self.names,
            self.unseen,
            self._targets(rows),
            ks=self.ks,
            unknown=self.unknown,
            label_encoder=encoders,
        )

    def _clip(self, spec: str) -> Evaluation:
        """Cosines of an open_clip model, as they are, on its own preparation of pictures."""
        backbone = ClipBackbone(spec)
        features = self.test_features(backbone, make_preprocess(_on(spec), backbone))
        with torch.inference_mode():
            pictures = backbone.embed(torch.from_numpy(features.vectors)).numpy()
        records = Records(pictures[:, None], np.zeros_like(pictures[:, :1]))  # scores as they are
        return self._measure(records, clip_label_vectors(spec, self.names), features.rows, spec)

    def _plain(self, spec: str, recipe: Recipe) -> Evaluation:
        """A foreign model without training: its cosines, standardised over the seen labels where the recipe's are.

        So the difference to a head on top of it is what was trained.
        """
        backbone = OnnxBackbone(spec)
        features = self.test_features(backbone, make_preprocess(_on(spec), backbone))
        vectors = backbone.foreign.label_space.embed(self.names).vectors
        standardiser = Standardiser(torch.from_numpy(vectors[~self.unseen]), standardise=recipe.model.standardise)
        with torch.inference_mode():
            records = Records(*(part.numpy() for part in standardiser(torch.from_numpy(features.vectors)[:, None])))
        return self._measure(records, scoring_vectors(vectors), features.rows, spec)

    def _prepare(self, recipe: Recipe, split: Split) -> Prepared:
        prepared = prepare(recipe, self.table, split, self.progress)
        self.skipped.update({key: error.message for key, error in prepared.skipped})
        return prepared

    def _targets(self, rows: Int64[np.ndarray, " N"]) -> Int8[np.ndarray, "N L"]:
        return self.table.targets(self.table.rows_of(self.split.test)[rows], self.names)

    def _measure(
        self,
        records: Records,
        labels: Float32[np.ndarray, "L _"],
        rows: Int64[np.ndarray, " N"],
        label_encoder: str,
        nearest: Int64[np.ndarray, "N k"] | None = None,
        groups: Groups | None = None,
        best_rows: int = 1,
    ) -> Evaluation:
        """Measure records of those test pictures that can be used, `rows`."""
        return evaluate_records(
            records,
            self.names,
            labels,
            self.unseen,
            self._targets(rows),
            ks=self.ks,
            unknown=self.unknown,
            label_encoder=label_encoder,
            nearest=nearest,
            groups=groups,
            best_rows=best_rows,
        )


def _on(spec: str) -> Recipe:
    """A recipe with a CLIP model as its backbone, and all else as that model has it."""
    return Recipe(name=spec, model=ModelTable(backbone=spec))


def _encoders(prepared: Prepared) -> str:
    return " + ".join(prepared.space.encoders)


def _ranked(
    prepared: Prepared, vectors: Float[Tensor, "N 1 D"], features: Float[Tensor, "N F"], with_prior: bool
) -> tuple[Records, ClassAffinity | None]:
    """Records of one vector per picture; if asked with the recipe's prior and class columns.

    The vector then gets the prior's own length before the prior is added: each is half of the sum.
    """
    recipe, seen_vectors = prepared.recipe, prepared.seen_vectors
    standardiser = Standardiser(torch.tensor(seen_vectors), standardise=recipe.model.standardise)
    with torch.inference_mode():
        if not with_prior:
            return Records(*(part.numpy() for part in standardiser(vectors))), None
        prior = make_prior(recipe, prepared.backbone, prepared.space)
        if prior is not None:
            vectors = prior.weight * functional.normalize(vectors, dim=-1) + prior(features)[:, None]
        rows, shared = standardiser(vectors)
        columns = make_class_columns(
            recipe.model, prepared.backbone, prepared.space, seen_vectors, prepared.train.features
        )
        if columns is None:
            return Records(rows.numpy(), shared.numpy()), None
        shared = torch.cat([shared, columns(features)], dim=-1)
        return Records(rows.numpy(), shared.numpy()), columns.affinity
