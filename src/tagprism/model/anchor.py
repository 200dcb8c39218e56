"""What a CLIP backbone already knows, as a vector of the label space that every row starts from. Knows only tensors."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class Anchor(nn.Module):
    """`strength * e(x) T`: CLIP's own unit vector e of a picture, put where its text vectors lie in the label space.

    With a label space of that text tower alone, `T` is the identity and the score of a label is `strength` times CLIP's
    own cosine. Nothing of it is trained.

    Args:
        projection: features (B, C) -> CLIP's space (B, E).
        lift: (E, D), from CLIP's space to the label space.
        strength: length of the anchor; CLIP's own logits are cosines times about 100.
    """

    def __init__(self, projection: nn.Module, lift: Float[Tensor, "E D"], strength: float) -> None:
        super().__init__()
        self.projection, self.strength = projection, strength
        self.register_buffer("lift", lift)

    def forward(self, features: Float[Tensor, "B C"]) -> Float[Tensor, "B D"]:
        """One vector of the label space per picture."""
        embedded = nn.functional.normalize(self.projection(features), dim=-1)
        lifted: Tensor = self.strength * embedded @ self.get_buffer("lift")
        return lifted
