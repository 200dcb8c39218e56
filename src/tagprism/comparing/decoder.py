"""A rival to the embedding matrix: a decoder whose queries are label vectors, in the manner of ML-Decoder.

Each label's word vector is a query that looks at the places of the feature map; one shared layer turns what it saw into
the label's logit, so a label never trained on has one too. There is no self-attention among the queries: the labels
asked together do not change each other's scores. Knows neither words nor files.

Source: Ridnik et al., arXiv 2111.12933, sections 2.3 and 2.4 (zero-shot: no groups, queries from word vectors, shared
fully connected layer); the loss: arXiv 2009.14119. Theirs is 768 wide and trained with its backbone; this one is
narrower, so that a CPU trains it on stored feature maps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8
from torch import Tensor, nn
from torch.nn import functional

from tagprism.files import digest_bytes
from tagprism.network.backbones import Backbone, FeatureNetwork
from tagprism.progress import Progress, silent
from tagprism.training.batches import BatchIndex, InOrder, TrainingOrder

_WEIGHT_DECAY = 1e-4  # not on 1-D parameters
ReadMaps = Callable[[tuple[int, ...]], Float32[np.ndarray, "B TC"]]
"""Feature maps (B, T*C) of pictures by their rows."""


class FeatureTokens(FeatureNetwork):
    """A backbone before its pooling: the feature map as T places of C numbers, in one row.

    Args:
        backbone: any network whose features before the pooling are a map or a list of tokens.
        image_size: (H, W) of the pixels.

    Attributes:
        features: T * C.
        channels: C.

    Raises:
        InputError: a CLIP tower without patches.
    """

    def __init__(self, backbone: Backbone, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.name, self.network = f"{backbone.name} before pooling", backbone.network
        self._backbone = [backbone]  # in a list: its classifier or projection is no part of what is cached by
        self.eval()  # a batch norm in training would learn from the example below
        with torch.inference_mode():
            _, tokens = backbone.with_places(torch.zeros(1, 3, *image_size))
        self.features, self.channels = tokens[0].numel(), tokens.shape[-1]

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B TC"]:
        """Feature maps of prepared pixels, flattened."""
        places: Tensor = self._backbone[0].with_places(pixels)[1]
        return places.flatten(1)


class WordQueryDecoder(nn.Module):
    """Label vectors as queries -> cross-attention over places -> feed-forward -> one logit per query.

    Args:
        channels: C of the feature map.
        dimension: D of a label vector.
        width: size of queries and places inside.
        heads: of the attention; divides `width`.
        feed_forward: hidden size of the feed-forward layer.
        dropout: in training.
    """

    def __init__(
        self,
        channels: int,
        dimension: int,
        *,
        width: int = 128,
        heads: int = 8,
        feed_forward: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.heads, self.drop = heads, nn.Dropout(dropout)
        self.places, self.queries = nn.Linear(channels, width), nn.Linear(dimension, width)
        self.to_query, self.to_key, self.to_value = (nn.Linear(width, width) for _ in range(3))
        self.attended = nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, feed_forward), nn.Linear(feed_forward, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.logit = nn.Linear(width, 1)

    def forward(self, tokens: Float[Tensor, "B T C"], label_vectors: Float[Tensor, "L D"]) -> Float[Tensor, "B L"]:
        """Logits of labels for feature maps."""
        places = functional.relu(self.places(tokens))  # (B, T, width)
        asked = functional.relu(self.queries(label_vectors))  # (L, width), the same for every picture
        asked = self.norms[0](asked + self.drop(asked))
        query = self._by_head(self.to_query(asked)[None]).expand(len(tokens), -1, -1, -1)
        seen = functional.scaled_dot_product_attention(
            query, self._by_head(self.to_key(places)), self._by_head(self.to_value(places))
        )
        found = self.norms[1](asked + self.drop(self.attended(seen.transpose(1, 2).flatten(2))))  # (B, L, width)
        hidden = self.drop(functional.relu(self.expand(found)))
        logits: Tensor = self.logit(self.norms[2](found + self.drop(self.contract(hidden))))
        return logits[..., 0]

    def _by_head(self, rows: Float[Tensor, "B N W"]) -> Float[Tensor, "B heads N w"]:
        return rows.view(*rows.shape[:2], self.heads, -1).transpose(1, 2)


def asymmetric_loss(
    logits: Float[Tensor, "B L"], targets: Int8[Tensor, "B L"], *, focus: float = 4.0, margin: float = 0.05
) -> Float[Tensor, ""]:
    """Binary cross-entropy in which easy negatives count little and very easy ones nothing.

    Args:
        logits: (B, L).
        targets: (B, L) of 1 positive, 0 negative, -1 left out.
        focus: gamma of the negatives; positives have none.
        margin: taken off a negative's probability, in 0..1.

    Returns:
        Sum over labels, mean over images.

    Source: Ridnik et al., arXiv 2009.14119, equations 4 to 6, in ML-Decoder's settings.
    """
    probability = torch.sigmoid(logits)
    easier = (probability - margin).clamp_min(0)
    with torch.no_grad():  # the weight is not differentiated, as in the authors' training
        weight = easier**focus
    positive = functional.logsigmoid(logits)
    negative = weight * torch.log1p(-easier.clamp_max(1 - 1e-6))
    zero = logits.new_zeros(())
    terms = torch.where(targets == 1, positive, torch.where(targets == 0, negative, zero))
    return -terms.sum() / len(logits)


def train_decoder(
    read: ReadMaps,
    channels: int,
    targets: Int8[np.ndarray, "N L"],
    label_vectors: Float32[np.ndarray, "L D"],
    progress: Progress = silent,
    *,
    epochs: int = 8,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> WordQueryDecoder:
    """Train a decoder on stored feature maps.

    Args:
        read: gives the maps of pictures by their rows among the N.
        channels: C.
        targets: (N, L) over the seen labels; -1 is left out of the loss.
        label_vectors: (L, D) of the seen labels.
        progress: told how many batches are done.
        epochs, batch_size: as usual.
        learning_rate: peak of the OneCycle schedule. It is hardly tuned (two settings on pseudo-unseen labels of
            Corel-5k, no test pictures).
        seed: of weights, order and dropout.

    Returns:
        The decoder in evaluation mode.
    """
    torch.manual_seed(seed)
    device = _device()
    decoder = WordQueryDecoder(channels, label_vectors.shape[1]).to(device).train()
    groups = [
        {"params": [p for p in decoder.parameters() if p.ndim > 1], "weight_decay": _WEIGHT_DECAY},
        {"params": [p for p in decoder.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    order = TrainingOrder(len(targets), batch_size, epochs, seed)
    optimizer = torch.optim.Adam(groups, lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=max(2, len(order)), pct_start=0.2
    )
    queries, marks = torch.tensor(label_vectors, device=device), torch.from_numpy(targets)
    with progress("training the decoder", len(order)) as advance:
        for step, place in enumerate(order):
            # Dropout is a function of the seed and the step.
            torch.manual_seed(int(digest_bytes(f"{seed} step {step}".encode())[:15], 16))
            loss = asymmetric_loss(decoder(_tokens(read, place, channels), queries), marks[list(place.rows)].to(device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            advance(1)
    return decoder.eval()


@torch.inference_mode()
def decoder_scores(
    decoder: WordQueryDecoder,
    read: ReadMaps,
    channels: int,
    pictures: int,
    label_vectors: Float32[np.ndarray, "L D"],
    progress: Progress = silent,
) -> Float32[np.ndarray, "N L"]:
    """Logits of labels for stored feature maps, batch by batch.

    Args:
        decoder: trained.
        read: gives the maps of pictures by their rows among the N.
        channels: C.
        pictures: N.
        label_vectors: (L, D), seen and unseen.
        progress: told how many batches are done.
    """
    order, queries = InOrder(pictures, 32), torch.tensor(label_vectors, device=_device())
    rows = []
    with progress("scoring by the decoder", len(order)) as advance:
        for place in order:
            rows.append(decoder(_tokens(read, place, channels), queries).cpu().numpy())
            advance(1)
    return np.concatenate(rows)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _tokens(read: ReadMaps, index: BatchIndex, channels: int) -> Float[Tensor, "B T C"]:
    maps = torch.from_numpy(read(index.rows)).to(_device())
    return maps.view(len(maps), -1, channels)
