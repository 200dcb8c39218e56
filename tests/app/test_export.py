"""`tagprism export`: what is written, what it agrees with, and what is refused with nothing left behind."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import tagprism
from tagprism.bundle.bundle import Bundle
from tagprism.bundle.config import MODEL, VOCABULARY
from tagprism.errors import InputError
from tests.app.conftest import Cli
from tests.small_world import World

LOOSE = ("--min-agreement", 0)  # a random network of the tests has near ties


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_export_tags_as_the_run_and_says_how_alike_it_is(
    precision: str, cli: Cli, world: World, tmp_path: Path
) -> None:
    into = tmp_path / "out/bundle"
    done = cli("export", world.run, "--into", into, "--precision", precision, "--photos", world.data, *LOOSE)
    assert (done.code, done.out) == (0, ""), done.err
    assert "the run's torch network" in done.err and "64 pictures: max error" in done.err
    own, copy = tagprism.load(world.run), tagprism.load(into)
    assert copy.bundle.config.precision == precision
    pixels = np.random.default_rng(0).standard_normal((3, 3, 64, 64), dtype=np.float32)
    near = 5e-2 if precision == "fp16" else 0
    np.testing.assert_allclose(copy.network(pixels).rows, own.network(pixels).rows, atol=near)
    np.testing.assert_allclose(copy.network(pixels).shared, own.network(pixels).shared, atol=near)
    np.testing.assert_allclose(copy.vocabulary.vectors, own.vocabulary.vectors, atol=5e-4 if precision == "fp16" else 0)
    np.testing.assert_allclose(copy.embed(["orange"]), own.embed(["orange"]), atol=1e-6)
    assert copy.bundle.trained_images == own.bundle.trained_images
    note = copy.bundle.config.provenance["export"]
    assert note["from"] == own.bundle.digest and note["pictures"] == 64 and note["mean_cosine"] >= 0.9999
    card = (into / "README.md").read_text()
    assert card.count("## Export") == 1 and f"- precision: {precision}" in card
    size, before = (one.bundle.path / MODEL for one in (copy, own))
    assert copy.bundle.former_digests == ((own.bundle.digest,) if precision == "fp32" else ())
    assert precision == "fp32" or size.stat().st_size < 0.8 * before.stat().st_size


@pytest.mark.slow
def test_the_runs_own_pictures_are_used_where_none_are_named(cli: Cli, world: World, tmp_path: Path) -> None:
    done = cli("export", world.run, "--into", tmp_path / "b")
    assert done.code == 0 and f"{len(json.loads((world.run / 'pictures.json').read_text()))} pictures:" in done.err
    again = cli("export", tmp_path / "b", "--into", tmp_path / "c")  # a bundle knows no pictures
    again.refused("no pictures to check", "--photos")
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_without_text_the_label_space_stays_and_the_cache_has_the_encoder(
    cli: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into, words = tmp_path / "small", tmp_path / "words.txt"
    assert cli("export", world.run, "--into", into, "--no-text", "--photos", world.data).code == 0
    assert [file.name for file in (into / "text").iterdir()] == ["label_space.safetensors"]
    words.write_text("orange\n")
    tagging = ("tag", world.pictures()[0], "-m", into, "--labels", words, "--format", "jsonl")
    assert cli(*tagging).code == 0  # found in the cache by id and digest
    assert cli("export", into, "--into", tmp_path / "full", "--text", "--photos", world.data).code == 0
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "empty"))
    cli(*tagging).refused("no vector for `orange` (near:", f"build-encoder --for {into}", "tagprism[train]")
    assert cli(*(str(into.parent / "full") if part == into else part for part in tagging)).code == 0
    cli("export", into, "--into", tmp_path / "no", "--text", "--photos", world.data).refused("nor on this machine")
    cli("labels", "build-encoder", "--for", into).refused("own file", "--encoder file:PATH")
    built = cli("labels", "build-encoder", "--encoder", f"file:{world.words}")
    assert built.code == 0 and Path(built.out.strip().split("\t")[1]).is_dir()
    assert cli(*tagging).code == 0


def test_an_encoder_of_another_source_is_not_used(
    cli: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into, words = tmp_path / "small", tmp_path / "words.txt"
    words.write_text("orange\n")
    assert cli("export", world.run, "--into", into, "--no-text", "--photos", world.data).code == 0
    monkeypatch.setenv("TAGPRISM_CACHE", str(tmp_path / "other"))
    (source,) = (world.run / "bundle/text").glob("*/encoder.json")
    other = tmp_path / "other/encoders" / source.parent.name
    shutil.copytree(source.parent, other)
    tagging = ("tag", world.pictures()[0], "-m", into, "--labels", words, "--format", "jsonl")
    assert cli(*tagging).code == 0
    card = json.loads(source.read_text())
    (other / "encoder.json").write_text(json.dumps(card | {"digest": "0" * 64}))
    cli(*tagging).refused("no vector for `orange`")


@pytest.mark.slow
def test_int8_of_a_small_network_keeps_all_outputs_or_is_refused(cli: Cli, world: World, tmp_path: Path) -> None:
    into = tmp_path / "small"
    done = cli("export", world.run, "--into", into, "--precision", "int8", "--photos", world.data, *LOOSE, "--no-text")
    if done.code:  # a network with random weights may not survive; then nothing is there
        done.refused("the int8 network is too far from the original", "mean cosine of 0.99")
        assert not into.exists()
    else:
        assert Bundle(into).config.precision == "int8"
        cli("export", into, "--into", tmp_path / "up", "--photos", world.data).refused("stored as int8", "fp32 bundle")
    few = ("--photos", world.pictures()[0])
    cli("export", world.run, "--into", tmp_path / "few", "--precision", "int8", *few).refused("16 pictures or more")
    assert not (tmp_path / "few").exists()


def test_a_broken_bound_leaves_nothing(cli: Cli, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tagprism.network import bundle_export

    monkeypatch.setitem(bundle_export.BOUNDS, "fp16", (1.1, 99))
    done = cli("export", world.run, "--into", tmp_path / "b", "--precision", "fp16", "--photos", world.data, "-q")
    done.refused("the fp16 network is too far from the original", "64 pictures", "--min-agreement")
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way_stays(cli: Cli, world: World, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo.jpg").write_bytes(b"mine")
    cli("export", world.run, "--into", tmp_path / "mine").refused("exists already")
    assert (tmp_path / "mine/photo.jpg").read_bytes() == b"mine"
    inside = world.run / "bundle/inside"
    cli("export", world.run, "--into", inside).refused("is inside the bundle")
    cli("export", tmp_path / "mine", "--into", tmp_path / "b").refused("is not a bundle")
    empty = tmp_path / "empty"
    empty.mkdir()
    cli("export", world.run, "--into", tmp_path / "b", "--photos", empty).refused("no pictures to check")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = ("--photos", tmp_path / "broken.png")
    cli("export", world.run, "--into", tmp_path / "b", *broken).refused("none of 1 picture can be used")
    some = cli("export", world.run, "--into", tmp_path / "b", *broken, "--photos", world.data, *LOOSE)
    assert some.code == 4 and "skipped" in some.err


def test_half_vocabularies_keep_names_and_their_digest_is_of_what_is_loaded(world: World, tmp_path: Path) -> None:
    own = tagprism.load(world.run).vocabulary
    own.save(tmp_path / "half.safetensors", halves=True)
    half = type(own).load(tmp_path / "half.safetensors")
    assert half.names == own.names and half.vectors.dtype == np.float32
    half.save(tmp_path / "wide.safetensors")
    assert type(own).load(tmp_path / "wide.safetensors").digest == half.digest != own.digest
    assert (tmp_path / "half.safetensors").stat().st_size < (world.run / "bundle" / VOCABULARY).stat().st_size


def test_help_names_the_bounds(cli: Cli) -> None:
    shown = re.sub(r"\s+", " ", cli("export", "--help").out)
    assert "int8: 85" in shown


def test_evaluate_and_show_take_an_exported_bundle(cli: Cli, world: World, tmp_path: Path) -> None:
    assert cli("export", world.run, "--into", tmp_path / "b", "--photos", world.data, "--no-text").code == 0
    assert cli("evaluate", tmp_path / "b", *world.on(0), "--format", "json").code == 0
    assert cli("labels", "show", tmp_path / "b").out == cli("labels", "show", world.run).out
    with pytest.raises(InputError, match="is not a bundle"):
        tagprism.load(tmp_path)
