"""A CLIP model's text tower as one ONNX graph and a tokenizer that need neither torch nor open_clip. Called once."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from tagprism.errors import InputError, MachineError
from tagprism.labels.encoders.sentence_encoder import MODEL_FILE, TOKENIZER_FILE
from tagprism.network.open_clip_models import load_clip
from tagprism.onnx_graph import OnnxGraph

try:
    import torch

    from tagprism.network.export import export_text_network
except ImportError as error:
    raise InputError(
        "making an encoder of a CLIP model needs the package torch.",
        remedy='Install it with `pip install "tagprism[train,clip]"`.',
    ) from error

TOLERANCE = 1e-4  # largest allowed difference between ONNX on a padded batch and open_clip on each phrase alone
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"  # what CLIP's byte-pair encoding works within
_PROBES = ("cat", "a polar bear's cub.", "t-shirt & 12 jeans", "crème brûlée", "子犬", "the old man and the sea, " * 30)


class _TextVectors(torch.nn.Module):
    """The tower for token rows of any length: the vector at the last token that is not padding, length one."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        length, tower = input_ids.shape[1], self.tower
        hidden = tower.token_embedding(input_ids) + tower.positional_embedding[:length]  # (B, T, W)
        causal = None if tower.attn_mask is None else tower.attn_mask[:length, :length]
        hidden = tower.ln_final(tower.transformer(hidden, attn_mask=causal))
        last = attention_mask.sum(dim=1) - 1  # the end of the text, with its highest token, where CLIP looks too
        vectors = hidden[torch.arange(hidden.shape[0]), last]
        projection = tower.text_projection
        if isinstance(projection, torch.nn.Linear):
            vectors = projection(vectors)
        elif projection is not None:
            vectors = vectors @ projection
        return torch.nn.functional.normalize(vectors, dim=1)  # (B, D)


def export_clip_text(spec: str, folder: Path) -> int:
    """Write `model.onnx` and `tokenizer.json` (which pads and truncates), and check both against open_clip.

    Args:
        spec: `open_clip:...`, see `open_clip_models`.
        folder: an existing folder to write to.

    Returns:
        D, the length of a vector.

    Raises:
        InputError: no such model, or its text tower or tokeniser is of another kind than CLIP's own.
        MachineError: its weights cannot be had, or what was written gives other tokens, or vectors by more than 1e-4.
    """
    clip, theirs = load_clip(spec)
    tower = _tower(clip, theirs, spec)
    causal = tower.attn_mask is not None
    tokenizer = _tokenizer(theirs, clip.context_length, causal=causal)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    model = _TextVectors(tower).eval()
    export_text_network(model, folder / MODEL_FILE, clip.context_length, free=causal)
    with torch.no_grad():
        wanted = torch.cat([clip.encode_text(theirs([probe]), normalize=True) for probe in _PROBES]).numpy()
    tokens = tokenizer.encode_batch(list(_PROBES))
    ids = np.array([one.ids for one in tokens], dtype=np.int64)
    mask = np.array([one.attention_mask for one in tokens], dtype=np.int64)
    (found,) = OnnxGraph(folder / MODEL_FILE).run(["vectors"], {"input_ids": ids, "attention_mask": mask}, pictures=1)
    error = float(np.abs(found - wanted).max())
    if not (np.array_equal(ids, theirs(list(_PROBES)).numpy()[:, : ids.shape[1]]) and error <= TOLERANCE):
        raise MachineError(
            f"the exported text tower differs from open_clip's by {error:.1e} (allowed: {TOLERANCE:.0e}).",
            where=spec,
            remedy="Other versions of torch, open_clip and onnxscript may do; the changelog names tested ones.",
        )
    return int(found.shape[1])


def _tower(clip: Any, tokeniser: Any, spec: str) -> Any:
    """The text transformer; refused where it is none that this module can write."""
    tower = getattr(clip, "text", clip)
    pool = getattr(tower, "pool_type", None) or getattr(tower, "text_pool_type", None)
    if type(tokeniser).__name__ != "SimpleTokenizer" or tokeniser.reduction_fn is not None:
        kind = f"tokeniser {type(tokeniser).__name__}"
    elif pool not in ("argmax", "eos") or getattr(tower, "cls_emb", None) is not None:
        kind = f"text tower {type(tower).__name__} with pooling `{pool}`"
    else:
        return tower
    raise InputError(
        f"its {kind} is not CLIP's own kind, the only one that can be a label encoder.",
        where=spec,
        remedy="Write it as ONNX with `recipes/clip_siglip/export.py` and name it `onnx:FOLDER`. As `open_clip:` it "
        "may still be a backbone and a rival in `compare`.",
    )


def _tokenizer(theirs: Any, context: int, *, causal: bool) -> Tokenizer:
    """CLIP's byte-pair encoding for the tokenizers package; it is given phrases that are normalised already."""
    ends = [(token, theirs.encoder[token]) for token in ("<start_of_text>", "<end_of_text>")]
    merges = sorted(theirs.bpe_ranks, key=theirs.bpe_ranks.__getitem__)
    tokenizer = Tokenizer(models.BPE(vocab=theirs.encoder, merges=merges, end_of_word_suffix="</w>"))
    steps: list[Any] = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    if "canonicalize" in theirs.clean_fn.__name__:
        steps.insert(0, normalizers.Replace(Regex(f"[{_escaped(string.punctuation)}]"), ""))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{ends[0][0]} $A {ends[1][0]}", special_tokens=ends
    )
    tokenizer.enable_truncation(max_length=context)
    # A causal tower never looks at what comes after a phrase; any other must see the padding it was trained with.
    tokenizer.enable_padding(pad_id=0, pad_token=theirs.decoder[0], length=None if causal else context)
    return tokenizer


def _escaped(characters: str) -> str:
    return "".join(f"\\{one}" for one in characters)
