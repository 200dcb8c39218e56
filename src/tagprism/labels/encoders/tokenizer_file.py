"""A `tokenizer.json` that a stranger may have made: opened and run within limits. Knows no networks.

The tokenizers package ends the process where memory is not enough, so what would make a short text very long is refused
before it sees one.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tagprism.errors import InputError

_LONGEST = 10_000  # times that a text may grow by normalisation
_PIECES = 64  # that a template may put together
_GROWTH = {"NFD": 4, "NFC": 3, "Lowercase": 3, "BertNormalizer": 12, "ByteLevel": 4}
_GROWTH |= dict.fromkeys(("Strip", "StripAccents", "Nmt"), 1)
_PADDING = 1024  # tokens that a short text may be filled up to
_UNICODE = 18  # the most that any normalisation of Unicode makes of a character
_AGAIN = "Copy the model again, or use another one."


def open_tokenizer(file: Path) -> Any:
    """The `tokenizers.Tokenizer` of a file.

    Raises:
        InputError: it is damaged, or would make a short text very long.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
        longer = _growth(_settings(tokenizer.normalizer)) * _split(_settings(tokenizer.pre_tokenizer))
        padding = tokenizer.padding or {}
        filled = max(padding.get("length") or 0, padding.get("pad_to_multiple_of") or 0)
        pieces = _pieces(_settings(tokenizer.post_processor))
    except Exception as error:  # the tokenizers package raises bare Exception
        raise InputError(f"is not a readable tokenizer ({error}).", where=str(file), remedy=_AGAIN) from error
    if longer > _LONGEST or pieces > _PIECES or filled > _PADDING:
        raise InputError("would make a short text too long to be read.", where=str(file), remedy=_AGAIN)
    return tokenizer


def encode_texts(tokenizer: Any, texts: Sequence[str], where: Path) -> list[Any]:
    """Encodings of texts.

    Raises:
        InputError: the tokenizer fails.
    """
    try:
        return list(tokenizer.encode_batch(list(texts)))
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # which is none, but Rust's
            raise
        raise InputError(f"cannot read a text ({error}).", where=str(where), remedy=_AGAIN) from error


def _settings(part: Any) -> dict[str, Any]:
    found: dict[str, Any] = {} if part is None else json.loads(part.__getstate__())
    return found


def _growth(part: dict[str, Any]) -> int:
    """How many times longer a normaliser makes a text at most."""
    kind = part.get("type")
    if kind is None:
        return 1
    if kind == "Sequence":
        return math.prod(map(_growth, part["normalizers"]))
    if kind == "Replace":
        return 1 + len(part["content"])  # a pattern may match between letters
    if kind == "Prepend":
        return 1 + len(part["prepend"])
    if kind == "Precompiled":
        return _longest_replacement(part["precompiled_charsmap"])
    return _GROWTH.get(kind, _UNICODE)


def _split(part: dict[str, Any]) -> int:
    """How many times longer a pre-tokenizer makes a text at most: bytes may be written as two."""
    if part.get("type") == "Sequence":
        return math.prod(map(_split, part["pretokenizers"]))
    return 2 if part.get("type") == "ByteLevel" else 1


def _longest_replacement(charsmap: str) -> int:
    """Of SentencePiece's table: the size of a trie in four bytes, the trie, and the replacements with zeros between."""
    try:
        table = base64.b64decode(charsmap, validate=True)
    except binascii.Error:
        return _LONGEST + 1
    replacements = table[4 + int.from_bytes(table[:4], "little") :]
    return max(map(len, replacements.split(b"\0")), default=1) or 1


def _pieces(part: dict[str, Any]) -> int:
    """How many pieces a text is put together from by templates."""
    if part.get("type") == "Sequence":
        return math.prod(map(_pieces, part["processors"]))
    return max(1, len(part.get("single", ())))
