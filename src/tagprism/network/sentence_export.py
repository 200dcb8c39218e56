"""A sentence encoder of transformers as one ONNX graph, tokens to unit vectors. Called once; needs torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from tokenizers import Tokenizer

from tagprism.errors import InputError, MachineError
from tagprism.labels.encoders.sentence_encoder import MODEL_FILE, TOKENIZER_FILE
from tagprism.onnx_graph import OnnxGraph

try:
    import torch
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging as transformers_logging

    from tagprism.network.export import export_text_network
except ImportError as error:
    raise InputError(
        f"making a sentence encoder needs the package {error.name}.",
        remedy='Install it with `pip install "tagprism[train]"`.',
    ) from error

Pooling: TypeAlias = Literal["mean", "cls", "last"]
TOLERANCE = 1e-4  # largest allowed difference between ONNX on a padded batch and torch on each phrase alone
_LONGEST = 512  # tokens, where the model does not say
_PROBES = ("cat", "polar bear", "t-shirt", "a photo of a sailing boat at sunset", "the old man and the sea, " * 8)
_POOLINGS: Mapping[str, Pooling] = {  # sentence-transformers' own words, old and new
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "mean": "mean",
    "cls": "cls",
    "lasttoken": "last",
}


class _SentenceVectors(torch.nn.Module):
    """A text network, one vector of its tokens that are not padding, length one."""

    def __init__(self, network: torch.nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.network, self._pooling = network, pooling

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.network(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # (B, T, D)
        if self._pooling == "mean":
            weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
            vectors = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        else:
            last = attention_mask.sum(dim=1) - 1
            vectors = hidden[torch.arange(hidden.shape[0]), last if self._pooling == "last" else 0]
        return torch.nn.functional.normalize(vectors, dim=1)  # (B, D)


def export_sentence_encoder(source: Path, folder: Path, pooling: Pooling) -> int:
    """Write `model.onnx` and `tokenizer.json` (which pads and truncates), and check them against torch.

    Args:
        source: folder of the weights as published: config.json, model.safetensors, tokenizer.json.
        folder: an existing folder to write to.
        pooling: how the tokens' vectors become one: their mean, the first (`cls`), or the last one.

    Returns:
        D, the length of a vector.

    Raises:
        InputError: torch or transformers is absent (on import of this module), or this is no such folder.
        MachineError: any number of the graph's vectors, for a padded batch of phrases of different lengths, differs
            from torch's, for each phrase alone, by more than 1e-4.
    """
    network = _network(source)
    tokenizer, longest = _tokenizer(source, network.config)
    tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
    model = _SentenceVectors(network, pooling).eval()
    export_text_network(model, folder / MODEL_FILE, longest)
    error, dimension = _largest_difference(model, tokenizer, folder / MODEL_FILE)
    if not error <= TOLERANCE:
        raise MachineError(
            f"the exported text network differs from the original by {error:.1e} (allowed: {TOLERANCE:.0e}).",
            where=source.name,
            remedy="Other versions of torch, transformers and onnxscript may do; the changelog names tested ones.",
        )
    return dimension


def stated_pooling(source: Path) -> Pooling | None:
    """What the folder itself says of its pooling, as sentence-transformers writes it; None when it says nothing.

    Raises:
        InputError: it pools in another way, or something that changes vectors follows the pooling.
    """
    modules = _json(source / "modules.json")
    names = {str(one.get("type", "")).rpartition(".")[2] for one in modules} if isinstance(modules, list) else set()
    if more := sorted(names - {"Transformer", "Pooling", "Normalize", ""}):
        raise InputError(f"has a module `{more[0]}` after its pooling, which is not supported.", where=str(source))
    stated = _json(source / "1_Pooling" / "config.json")
    if not isinstance(stated, dict):
        return None
    mode = stated.get("pooling_mode") or [name for name, on in stated.items() if name.startswith("pooling_") and on]
    modes = mode if isinstance(mode, list) else [mode]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        known = ", ".join(get_args(Pooling))
        raise InputError(f"pools by {modes}; supported are {known}.", where=str(source / "1_Pooling"))
    return _POOLINGS[modes[0]]


def _network(source: Path) -> Any:
    """The encoder of a folder, from safetensors alone; none of its own code is run."""
    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        config = AutoConfig.from_pretrained(source, **here)
        with torch.random.fork_rng(devices=[]):  # building a network draws from the process's generator
            network = AutoModel.from_pretrained(
                source,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",  # plain matrix products, which every ONNX run time knows
                **here,
            )
    except Exception as error:  # transformers raises whatever its files and torch raise
        raise InputError(
            f"transformers cannot open it ({next(iter(str(error).splitlines()), type(error).__name__)}).",
            where=str(source),
            remedy="A sentence encoder is a folder with config.json, model.safetensors and tokenizer.json, of a kind "
            "that transformers knows without code of its own.",
        ) from error
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    return network.get_encoder() if config.is_encoder_decoder else network


def _tokenizer(source: Path, config: Any) -> tuple[Tokenizer, int]:
    """Set to pad, and to truncate to the greatest number of tokens, which is given too."""
    try:
        tokenizer = Tokenizer.from_file(str(source / TOKENIZER_FILE))
    except Exception as error:  # the tokenizers package raises bare Exception
        raise InputError(f"not a readable tokenizer ({error}).", where=str(source / TOKENIZER_FILE)) from error
    stated = (_json(source / "sentence_bert_config.json") or {}).get("max_seq_length")
    pad = getattr(config, "pad_token_id", None) or 0
    offset = pad + 1 if "roberta" in config.model_type else 0  # its positions are counted from behind the padding's
    positions = (getattr(config, "max_position_embeddings", None) or _LONGEST) - offset
    longest = int(min(stated or _LONGEST, positions))
    tokenizer.enable_truncation(max_length=longest)
    tokenizer.enable_padding(pad_id=pad, pad_token=tokenizer.id_to_token(pad))
    return tokenizer, longest


def _json(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({error}).", where=str(path), remedy="Copy the encoder again.") from error


def _largest_difference(model: _SentenceVectors, tokenizer: Tokenizer, path: Path) -> tuple[float, int]:
    padded = tokenizer.encode_batch(list(_PROBES))
    ids, mask = (
        np.array(rows, dtype=np.int64) for rows in ([t.ids for t in padded], [t.attention_mask for t in padded])
    )
    (ours,) = OnnxGraph(path).run(["vectors"], {"input_ids": ids, "attention_mask": mask}, pictures=1)
    with torch.no_grad():
        alone = [tokenizer.encode(phrase).ids for phrase in _PROBES]
        theirs = [model(torch.tensor([row]), torch.ones((1, len(row)), dtype=torch.int64))[0].numpy() for row in alone]
    return float(np.abs(ours - np.stack(theirs)).max()), int(ours.shape[1])
