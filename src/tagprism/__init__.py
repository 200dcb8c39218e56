"""tagprism: tag and find pictures with your own words, also words no model was trained on.

Everything that others may rely on is here. A name is imported from its room on first use, so that `import tagprism` is
quick and needs no torch.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

# These report their use to their makers where nothing says otherwise, and nothing leaves the machine that the user did
# not ask for. ONNX Runtime reads its variable when it is imported, so it is set before anything here can import it.
_NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}
onnxruntime_came_first = "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") is None
for _name, _value in _NO_TELEMETRY.items():
    os.environ.setdefault(_name, _value)
if onnxruntime_came_first:
    warnings.warn(
        "onnxruntime was imported before tagprism, so its telemetry may be on. Import tagprism first, or set "
        "ORT_DISABLE_TELEMETRY=1 in the environment (docs/privacy.md).",
        stacklevel=2,
    )

if TYPE_CHECKING:
    from tagprism import errors
    from tagprism.comparing.compare import Comparison, compare
    from tagprism.comparing.rows import OwnMethod
    from tagprism.datasets.draw_split import draw_split
    from tagprism.datasets.registry import open_data
    from tagprism.datasets.splits import Split, load_split
    from tagprism.datasets.table import ImageTable
    from tagprism.evaluation.evaluate import Result, evaluate
    from tagprism.evaluation.metrics import mean_average_precision, precision_recall_f1_at_k
    from tagprism.evaluation.protocols import EvaluationProtocol
    from tagprism.labels.label_space import LabelSpace
    from tagprism.labels.vocabulary import Vocabulary
    from tagprism.network.embedding_matrix import EmbeddingMatrix, max_similarity
    from tagprism.search.collection import Collection, open_index
    from tagprism.tagging.tagger import Tagger, load
    from tagprism.training.diversity_loss import SemanticDiversityLoss
    from tagprism.training.recipe import Recipe, load_recipe
    from tagprism.training.train import Run, train

__version__ = "0.1.0"
__all__ = [
    "Collection",
    "Comparison",
    "EmbeddingMatrix",
    "EvaluationProtocol",
    "ImageTable",
    "LabelSpace",
    "OwnMethod",
    "Recipe",
    "Result",
    "Run",
    "SemanticDiversityLoss",
    "Split",
    "Tagger",
    "Vocabulary",
    "__version__",
    "compare",
    "draw_split",
    "errors",
    "evaluate",
    "load",
    "load_recipe",
    "load_split",
    "max_similarity",
    "mean_average_precision",
    "open_data",
    "open_index",
    "precision_recall_f1_at_k",
    "train",
]

_MODULE_OF = {
    "Collection": "search.collection",
    "Comparison": "comparing.compare",
    "EmbeddingMatrix": "network.embedding_matrix",
    "EvaluationProtocol": "evaluation.protocols",
    "ImageTable": "datasets.table",
    "LabelSpace": "labels.label_space",
    "OwnMethod": "comparing.rows",
    "Recipe": "training.recipe",
    "Result": "evaluation.evaluate",
    "Run": "training.train",
    "SemanticDiversityLoss": "training.diversity_loss",
    "Split": "datasets.splits",
    "Tagger": "tagging.tagger",
    "Vocabulary": "labels.vocabulary",
    "compare": "comparing.compare",
    "draw_split": "datasets.draw_split",
    "evaluate": "evaluation.evaluate",
    "load": "tagging.tagger",
    "load_recipe": "training.recipe",
    "load_split": "datasets.splits",
    "max_similarity": "network.embedding_matrix",
    "mean_average_precision": "evaluation.metrics",
    "open_data": "datasets.registry",
    "open_index": "search.collection",
    "precision_recall_f1_at_k": "evaluation.metrics",
    "train": "training.train",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use.

    Raises:
        AttributeError: there is no such name.
        InputError: it trains, and the extra that training needs is not installed.
    """
    if name == "errors":
        return import_module("tagprism.errors")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'tagprism' has no attribute '{name}'")
    try:
        value: object = getattr(import_module(f"tagprism.{_MODULE_OF[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "tagprism":
            raise
        from tagprism.errors import InputError

        raise InputError(
            f"tagprism.{name} needs {error.name}, which is not installed.",
            remedy='Install it with: pip install "tagprism[train]"',
        ) from error
    globals()[name] = value  # found without this function the next time
    return value


def __dir__() -> list[str]:
    """The public names, and those that every module has."""
    return sorted({*globals(), *__all__})
