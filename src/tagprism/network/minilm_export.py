"""MiniLM as one ONNX graph, tokens to unit sentence vectors: the only module of this room that needs torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from tagprism.errors import InputError, MachineError
from tagprism.labels.encoders.sentence_encoder import MODEL_FILE, TOKENIZER_FILE
from tagprism.onnx_graph import OnnxGraph

try:
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    from tagprism.network.text_export import export_text_network
except ImportError as error:
    raise InputError(
        f"making the encoder minilm needs the package {error.name}.",
        remedy='Install it with `pip install "tagprism[train]"`.',
    ) from error

TOLERANCE = 1e-4  # largest allowed difference between ONNX on a padded batch and torch on each phrase alone
_LONGEST = 256  # tokens, as the model was trained
_PROBES = ("cat", "polar bear", "t-shirt", "a photo of a sailing boat at sunset", "the old man and the sea, " * 8)


class _SentenceVectors(torch.nn.Module):
    """BERT, the mean over the tokens that are not padding, length one."""

    def __init__(self, source: Path) -> None:
        super().__init__()
        config = BertConfig.from_json_file(source / "config.json")
        config._attn_implementation = "eager"  # plain matrix products, which every ONNX run time knows
        self.bert = BertModel(config, add_pooling_layer=False)
        weights = load_file(source / "model.safetensors")
        # The published file also holds a pooler, which sentence vectors do not use, and a table of positions.
        wanted = self.bert.state_dict().keys()
        self.bert.load_state_dict({name: weight for name, weight in weights.items() if name in wanted})

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # (B, T, D)
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        return torch.nn.functional.normalize(mean, dim=1)  # (B, D)


def export_minilm(source: Path, folder: Path) -> float:
    """Write `model.onnx` and `tokenizer.json` (which pads and truncates), and check them against torch.

    Args:
        source: folder of the weights as published: config.json, model.safetensors, tokenizer.json.
        folder: an existing folder to write to.

    Returns:
        The largest difference between any number of the graph's vectors, for a padded batch of phrases of different
        lengths, and torch's, for each phrase alone.

    Raises:
        InputError: torch or transformers is absent (on import of this module).
        MachineError: the difference is above 1e-4.
    """
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=_LONGEST)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
    with torch.random.fork_rng(devices=[]):  # building a network draws from the process's generator
        model = _SentenceVectors(source).eval()
    export_text_network(model, folder / MODEL_FILE, _LONGEST)
    error = _largest_difference(model, tokenizer, folder / MODEL_FILE)
    if not error <= TOLERANCE:
        raise MachineError(
            f"the exported text network differs from the original by {error:.1e} (allowed: {TOLERANCE:.0e}).",
            where="minilm",
            remedy="Other versions of torch, transformers and onnxscript may do; the changelog names tested ones.",
        )
    return error


def _largest_difference(model: _SentenceVectors, tokenizer: Tokenizer, path: Path) -> float:
    padded = tokenizer.encode_batch(list(_PROBES))
    ids, mask = (
        np.array(rows, dtype=np.int64) for rows in ([t.ids for t in padded], [t.attention_mask for t in padded])
    )
    (ours,) = OnnxGraph(path).run(["vectors"], {"input_ids": ids, "attention_mask": mask}, pictures=1)
    with torch.no_grad():
        alone = [tokenizer.encode(phrase).ids for phrase in _PROBES]
        theirs = [model(torch.tensor([row]), torch.ones((1, len(row)), dtype=torch.int64))[0].numpy() for row in alone]
    return float(np.abs(ours - np.stack(theirs)).max())
