"""Word-vector files: every format gives what was written, every damage a clear error."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tagprism.errors import InputError
from tagprism.labels.encoders.word_table import read_word_file
from tagprism.labels.vocabulary import Vocabulary

DATA = Path(__file__).parent / "data"
WORDS = ["the", "schön", "new york", "北京"]
VECTORS = np.array([[0.5, -1.25, 3], [1e-3, 2, -0.0625], [7, 8, 9], [-1, 0, 1]], dtype=np.float32)


def glove(path: Path) -> None:
    lines = [f"{word} {' '.join(map(str, row))}" for word, row in zip(WORDS, VECTORS.tolist(), strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def word2vec_text(path: Path) -> None:
    glove(path)
    path.write_text("4 3\n" + path.read_text(encoding="utf-8"), encoding="utf-8")


def fasttext_vec(path: Path) -> None:  # fastText ends its rows with a space
    word2vec_text(path)
    path.write_text(path.read_text(encoding="utf-8").replace("\n", " \n").replace("4 3 \n", "4 3\n"), encoding="utf-8")


def word2vec_binary(path: Path, newline: bytes = b"") -> None:
    rows = [word.replace(" ", "_").encode() + b" " + row.tobytes() for word, row in zip(WORDS, VECTORS, strict=True)]
    path.write_bytes(b"4 3\n" + newline.join(rows) + newline)


def npz(path: Path, key: str = "labels") -> None:
    with path.open("wb") as file:
        np.savez(file, vectors=VECTORS, **{key: np.array(WORDS)})


def safetensors(path: Path) -> None:
    save_file({"vectors": VECTORS}, path, {"labels": json.dumps(WORDS)})


def vocabulary(path: Path) -> None:
    Vocabulary(tuple(WORDS), VECTORS, ("seen",) * 4).save(path)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (glove, "glove.txt"),
        (word2vec_text, "w2v.txt"),
        (fasttext_vec, "cc.vec"),
        (word2vec_binary, "w2v.bin"),
        (lambda path: word2vec_binary(path, b"\n"), "w2v.bin"),
        (npz, "v.npz"),
        (lambda path: npz(path, "names"), "v.npz"),
        (lambda path: npz(path, "words"), "v"),
        (safetensors, "v.safetensors"),
        (vocabulary, "v.safetensors"),
    ],
)
def test_every_format_gives_what_was_written(tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    write(tmp_path / name)
    words, vectors = read_word_file(tmp_path / name)
    assert [word.replace("_", " ") for word in words] == WORDS
    np.testing.assert_array_equal(vectors, VECTORS)


@pytest.mark.parametrize("name", ["fasttext_plain", "fasttext_subwords"])
def test_fasttext_models_give_what_fasttext_gives(name: str) -> None:
    expected = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    words, vectors = read_word_file(DATA / f"{name}.bin")
    assert words == list(expected)
    np.testing.assert_allclose(vectors, list(expected.values()), rtol=1e-5, atol=1e-8)


def test_the_official_label_vectors(shared: Path) -> None:
    path = shared / "data/protocols/nus_wide/official_label_vectors.npz"
    words, vectors = read_word_file(path)
    with np.load(path) as file:
        assert words == file["labels"].tolist()
        np.testing.assert_array_equal(vectors, file["vectors"])


def test_a_word_may_be_an_odd_space(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("cat 1 2\n\xa0 3 4\n. . . 5 6\n", encoding="utf-8")
    assert read_word_file(tmp_path / "v.txt")[0] == ["cat", "\xa0", ". . ."]


def test_blank_lines_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes(b"cat 1 2\r\n\r\ndog 3 4\r\n")
    words, vectors = read_word_file(tmp_path / "v.txt")
    assert words == ["cat", "dog"]
    np.testing.assert_array_equal(vectors, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "0 words and an array of shape"),
        (b"hello\n", "row 1 is not a word and some numbers"),
        (b"cat 1 2\ndog 1 2 x\n", "row 2 is not a word and 2 numbers"),
        (b"cat 1 2\ndog 1\n", "row 2 is not a word and 2 numbers"),
        (b"2 2\ncat 1 2\ndog\n", "row 3 is not a word and 2 numbers"),
        (b"3 2\ncat 1 2\ndog 3 4\n", "its first row promises 3 words; it holds 2"),
        (b"9 3\ncat \x00\x00\x00\x00", "promises 9 words of 3 numbers; it is too short"),
        (b"2 1\ncat \x00\x00\x00\x00dooooog", "it ends in word 2 of 2"),
        (b"PK\x03\x04 nothing", "not a readable npz file"),
        (struct.pack("<ii", 793712314, 11) + bytes(99), "fastText format 11 is not known"),
        (struct.pack("<i", 793712314), "the fastText model ends too soon"),
        (b"\x1f\x8b\x08\x00\x00\x00", "row 1 is not a word"),
    ],
)
def test_bad_files_are_named_with_the_row(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "words.any"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"words\.any: .*{re.escape(message)}"):
        read_word_file(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file of word vectors"):
        read_word_file(tmp_path / "v.txt")


@pytest.mark.parametrize("name", ["fasttext_plain", "fasttext_subwords"])
def test_a_fasttext_model_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    whole = (DATA / f"{name}.bin").read_bytes()
    for end in range(4, _input_table_end(whole), 7):  # (what follows the input table is not read)
        (tmp_path / "cut.bin").write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"cut\.bin: "):
            read_word_file(tmp_path / "cut.bin")


def _input_table_end(model: bytes) -> int:
    words = 12
    output_table = 1 + 16 + words * 4 * 4  # quantised?, two sizes, 4 dimensions of float32
    return len(model) - output_table


@pytest.mark.parametrize(
    ("at", "value"),
    [(8, 5), (8 + 8 * 4, 0), (8 + 8 * 4, 10**9), (64 + 4, 13), (64 + 4, -1)],
    ids=["size", "no buckets", "many buckets", "more words than entries", "less than no words"],
)
def test_a_fasttext_model_that_contradicts_itself(tmp_path: Path, at: int, value: int) -> None:
    model = bytearray((DATA / "fasttext_subwords.bin").read_bytes())
    model[at : at + 4] = struct.pack("<i", value)
    (tmp_path / "odd.bin").write_bytes(model)
    with pytest.raises(InputError, match=r"odd\.bin: its table of 52 x 4 does not fit its dictionary"):
        read_word_file(tmp_path / "odd.bin")


def test_a_quantised_fasttext_model_is_refused(tmp_path: Path) -> None:
    whole = bytearray((DATA / "fasttext_plain.bin").read_bytes())
    flag = _input_table_end(whole) - 12 * 16 - 16 - 1
    assert whole[flag] == 0
    whole[flag] = 1
    (tmp_path / "quantised.bin").write_bytes(whole)
    with pytest.raises(InputError, match=r"a quantised fastText model has no plain vectors\. Use the \.vec"):
        read_word_file(tmp_path / "quantised.bin")


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    for arrays, message in (
        ({"a": np.zeros(1)}, "it holds a; wanted are `labels` and `vectors`"),
        ({"labels": np.array(["a"]), "vectors": np.zeros((2, 3))}, r"1 words and an array of shape \(2, 3\)"),
        ({"labels": np.array(["a"]), "vectors": np.zeros(1)}, r"array of shape \(1,\)"),
        ({"labels": np.array([1]), "vectors": np.zeros((1, 2))}, "names are not a list of texts"),
        ({"labels": np.array(["a"]), "vectors": np.zeros((1, 2), int)}, "vectors are not floating-point"),
        ({"labels": np.array(["a"], object), "vectors": np.zeros((1, 2))}, "not a readable npz file"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=message):
            read_word_file(path)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "sprung",)

    np.savez(tmp_path / "v.npz", labels=np.array([Trap()], object), vectors=np.zeros((1, 2)))
    with pytest.raises(InputError, match="not a readable npz file"):
        read_word_file(tmp_path / "v.npz")
    assert not (tmp_path / "sprung").exists()


def test_safetensors_without_names(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    save_file({"vectors": VECTORS}, path)
    with pytest.raises(InputError, match="wanted are an array `vectors` and the metadata `labels`"):
        read_word_file(path)
    save_file({"vectors": VECTORS}, path, {"labels": "the, schön"})
    with pytest.raises(InputError, match="the names in its metadata are no JSON list"):
        read_word_file(path)
    save_file({"vectors": VECTORS}, path, {"tagprism": "null"})
    with pytest.raises(InputError, match="the names in its metadata are no JSON list"):
        read_word_file(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        read_word_file(path)


@given(st.binary(max_size=300))
def test_no_bytes_make_it_crash(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(content)
    try:
        words, vectors = read_word_file(path)
    except InputError:
        return
    assert len(words) == len(vectors) > 0
