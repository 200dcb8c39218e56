"""The README.md of a bundle: what the model is, what it was made from, what it can do and where it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from tagprism.network.onnx_models import ONNX
from tagprism.network.open_clip_models import PREFIX
from tagprism.training.prepare import Prepared
from tagprism.training.recipe import ModelTable

if TYPE_CHECKING:
    from tagprism.training.fit import Fitted

_LICENCES = {
    "openclipart": "drawings of Open Clip Art as packaged by Debian, nearly all marked public domain by their authors",
    "tagged": "a folder of tagged pictures of the user; its licence is the user's to state",
}

_WEIGHTS = {
    "pretrained": "pretrained on ImageNet-1k, whose pictures are for research; see the weights' own licence",
    "random": "from random weights",
}

_CARD = """\
# {{ recipe.name }}

**Data and licences.** Trained on {{ origin.training_images }} pictures ({{ licence }}) with
{{ split.seen | length }} labels. Backbone `{{ backbone }}`
({{ weights }}). Label vectors: {{ parts }}.

A tagprism bundle: it turns a picture into {{ recipe.model.vectors }} principal embedding vectors and ranks any word or
phrase against them, also words it was never trained on. Use it with `tagprism tag PICTURES --model THIS_FOLDER`.

| | |
|---|---|
| method | Semantic Diversity Learning, arXiv 2105.05926 |
| M, D | {{ recipe.model.vectors }}, {{ dimension }} |
| scores | {{ "standardised per image over the seen labels" if recipe.model.standardise else "raw dot products" }} |
{% if knows %}| from the backbone's ImageNet classes | {{ knows }} |
{% endif %}\
{% for kind, name in custom.items() %}| custom {{ kind }} | `{{ name }}` |
{% endfor %}\
| trained | {{ "end to end" if recipe.training.end_to_end else "head on frozen features" }}, seed {{ recipe.seed }} |
| split | {{ split.name }} ({{ split.seen | length }} seen, {{ split.unseen | length }} unseen labels) |
| validation mAP over seen labels | {{ validation }} |
| commit | {{ origin.commit or "installed package" }} |
| tagprism | {{ origin.versions.tagprism }} |

## Limits

{% if origin.no_calibration %}- Scores rank; they are not probabilities. This bundle carries no calibration:
  {{ origin.no_calibration }}
{% else %}- Probabilities were fitted on {{ origin.validation_images }} validation pictures. They hold for pictures and
  words like those: on other pictures, and for words that are rarer or more frequent there, they are off.
- Few words that were never trained on reach a probability of 0.5, as little is known about them; ask for the best K.
{% endif %}- A word is understood by its word vector alone: a word of two meanings gets a mixture of both.
- Unseen words are ranked clearly worse than seen ones; measure it on your own pictures with `tagprism evaluate`.
- Pictures unlike the training pictures get unreliable tags.
- Not for decisions about people. Labels carry the biases of those who wrote them.

## Seen labels

{{ split.seen | join(", ") }}
"""


def _weights(backbone: str, weights: str) -> str:
    if backbone.startswith((PREFIX, ONNX)) and weights == "pretrained":
        beside = " (not in this bundle, which refers to them)" if backbone.startswith(ONNX) else ""
        return (
            "CLIP, learned from pictures with texts of the web, so that no label is certainly unseen by it; see the "
            f"weights' own licence{beside}"
        )
    return _WEIGHTS.get(weights, "weights of the user's own")


def model_card(prepared: Prepared, fitted: Fitted, origin: dict[str, Any]) -> str:
    """Markdown of the model card.

    Args:
        prepared: what the run started from.
        fitted: what came out.
        origin: from `provenance`.
    """
    template = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True).from_string(_CARD)
    recipe, value = prepared.recipe, fitted.validation_mAP
    custom = {kind: one.rpartition(" ")[0] for kind, one in origin.get("custom", {}).items()}
    parts = ", ".join(f"`{part.encoder}`{' centred' if part.centre else ''}" for part in recipe.labels.parts)
    return template.render(
        recipe=recipe,
        split=prepared.split,
        fitted=fitted,
        origin=origin,
        backbone=prepared.backbone.name,
        knows=_knows(recipe.model),
        dimension=prepared.space.dimension,
        parts=parts,
        weights=_weights(prepared.backbone.name, "custom" if "backbone" in custom else recipe.model.weights),
        custom=custom,
        validation="no validation part" if value is None else f"{value:.1f}",
        licence=_LICENCES.get(origin["data_kind"], "see the data set's own licence"),
    )


def _knows(model: ModelTable) -> str:
    """What of the classifier's knowledge a recipe uses, in words; empty for nothing."""
    used = [f"a prior of length {model.prior:g} in each row"] if model.prior else []
    used += [f"class columns of weight {model.class_columns:g}"] if model.class_columns else []
    return f"{', '.join(used)}; names and definitions by WordNet" if used else ""
