"""Tokenizers of CLIP, SigLIP and XLM-RoBERTa for small networks, as others write them; made of a few words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

LANGUAGES = (
    "ein Hund am Strand; ein alter roter Wagen; Schnee auf dem Berg, die Straße",
    "un chien sur la plage, un gâteau d'anniversaire, la forêt enneigée",
    "собака на пляже, снег в горах, старая красная машина, кошка",
    "海 の 犬 と 猫 、 雪 山 、 赤い 車",
    "كلب على الشاطئ ، قطة ، ثلج ، سيارة قديمة",
)
SENTENCES = (
    "a photo of a dog on the beach; two people dancing at night, an old car. The cat's whiskers! New York sunset "
    "mountain snow flower birthday cake train station bridge river boat horse field child playing football"
)


def clip_tokenizer(folder: Path) -> Any:
    """CLIP's own tokenizer as transformers writes it."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    theirs = SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab = {names.get(name, name): number for name, number in theirs.encoder.items()}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=list(theirs.bpe_ranks))
    tokenizer.save_pretrained(folder)
    return tokenizer


def siglip_tokenizer(folder: Path, *, bare: bool, second: bool = True) -> int:
    """A tokenizer as SigLIP's, first or second, trained on a few words; its number of tokens.

    `bare`: it neither lowers the case nor appends the end, as onnx-community's of the second.
    """
    special = ["<pad>", "<eos>", "<bos>", "<unk>"] if second else ["<unk>", "</s>"]
    pad, end = ("<pad>", "<eos>") if second else ("</s>", "</s>")
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_previous")
    letters = ".,;:!'ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghijklmnopqrstuvwxyz"
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([SENTENCES, SENTENCES.lower(), letters], trainer)
    if not bare:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, 1)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    kind = "PreTrainedTokenizerFast" if not bare else "GemmaTokenizer" if second else "SiglipTokenizer"
    config = {"tokenizer_class": kind, "pad_token": pad, "eos_token": end, "unk_token": "<unk>"}
    config |= {"add_eos_token": True, "padding_side": "right"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return int(tokenizer.get_vocab_size())


def xlm_roberta_text(folder: Path) -> dict[str, Any]:
    """A tokenizer of word pieces of several languages, as XLM-RoBERTa's, in a folder with such a network's settings."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([SENTENCES, *LANGUAGES], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>"}
    config = names | {"unk_token": "<unk>", "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    network = {"model_type": "xlm-roberta", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    network |= {"num_attention_heads": 2, "vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 80}
    network |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    (folder / "config.json").write_text(json.dumps(network))
    own = {"hf_model_name": str(folder), "hf_tokenizer_name": str(folder), "hf_model_pretrained": False}
    return {"context_length": 77, **own, "hf_pooler_type": "mean_pooler"}
