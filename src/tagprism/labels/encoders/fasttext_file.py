"""The reader of fastText's binary models: the vectors that fastText itself gives its words. Knows no other format."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from tagprism.errors import InputError

MAGIC = struct.pack("<i", 793712314)
_VERSION = 12
_SETTINGS = struct.Struct("<12id")  # dim ws epoch minCount neg wordNgrams loss model bucket minn maxn lrUpdateRate t
_COUNTS = struct.Struct("<3i2q")  # entries, words, labels, tokens, pruned
_ENTRY = struct.Struct("<qb")  # count, type (0 word, 1 label), after the name and a zero byte
_END_OF_SENTENCE = "</s>"  # the one word without subwords


def read_fasttext(path: Path, data: mmap.mmap) -> tuple[list[str], Float32[np.ndarray, "W D"]]:
    """Words and vectors of a fastText model: the mean of each word's own row and those of its subwords.

    Two million words take some minutes.

    Args:
        path: the file, for messages.
        data: its bytes.

    Returns:
        W words, the most frequent first, and their vectors (W, D).

    Raises:
        InputError: another version, a quantised model, or a file that ends too soon.

    Source: fastText 0.9.2, Dictionary::load, Dictionary::computeSubwords and FastText::getWordVector.
    """
    try:
        at = len(MAGIC)
        (version,) = struct.unpack_from("<i", data, at)
        settings = _SETTINGS.unpack_from(data, at + 4)
        size, bucket, shortest, longest = settings[0], settings[8], settings[9], settings[10]
        if version != _VERSION:
            raise InputError(f"fastText format {version} is not known, only {_VERSION}.", where=str(path))
        at += 4 + _SETTINGS.size
        entries, count, _, _, pruned = _COUNTS.unpack_from(data, at)
        words, at = _read_entries(data, at + _COUNTS.size, entries, count)
        quantised = data[at + 8 * max(pruned, 0)]
        if pruned >= 0 or quantised:
            raise InputError(
                "a quantised fastText model has no plain vectors.", where=str(path), remedy="Use the .vec."
            )
        rows, width = struct.unpack_from("<2q", data, at + 1)
        wanted = count + (bucket if longest else 0)
        if width != size or rows < wanted or not 0 < count <= entries or (longest and bucket < 1):
            raise InputError(f"its table of {rows} x {width} does not fit its dictionary.", where=str(path))
        table = np.frombuffer(data, dtype="<f4", count=rows * width, offset=at + 17).reshape(rows, width)
    except (struct.error, ValueError, IndexError) as error:
        raise InputError(
            f"the fastText model ends too soon ({error}).", where=str(path), remedy="Fetch it again."
        ) from error
    vectors = np.empty((count, size), dtype=np.float32)
    for row, word in enumerate(words):
        subwords = [] if word == _END_OF_SENTENCE else _subword_hashes(word, shortest, longest)
        vectors[row] = table[[row, *(count + number % bucket for number in subwords)]].mean(axis=0)
    return words, vectors


def _read_entries(data: mmap.mmap, at: int, entries: int, count: int) -> tuple[list[str], int]:
    """The dictionary's words (they come before its labels) and the position after it."""
    words = []
    for _ in range(entries):
        end = data.find(b"\0", at)
        if end < 0:
            raise ValueError("in its dictionary")
        words.append(data[at:end].decode(errors="surrogateescape"))
        at = end + 1 + _ENTRY.size
    return words[:count], at


def _subword_hashes(word: str, shortest: int, longest: int) -> list[int]:
    """FNV-1a hashes, as fastText computes them, of the character n-grams of `<word>`."""
    letters = [letter.encode(errors="surrogateescape") for letter in f"<{word}>"]
    hashes = []
    for start in range(len(letters)):
        number = 2166136261
        for length, letter in enumerate(letters[start : start + longest], start=1):
            for byte in letter:
                signed = byte | 0xFFFFFF00 if byte >= 128 else byte  # fastText's bytes have a sign
                number = ((number ^ signed) * 16777619) & 0xFFFFFFFF
            alone = length == 1 and (start == 0 or start == len(letters) - 1)  # `<` or `>` by itself
            if length >= shortest and not alone:
                hashes.append(number)
    return hashes
