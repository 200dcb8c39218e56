"""`tagprism evaluate`: engines, reports, leaks, damaged test pictures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tagprism.errors import InputError
from tagprism.evaluation.report import Report, write_report
from tests.app.conftest import Cli
from tests.small_world import LABELS, World


def test_torch_and_onnx_agree(cli: Cli, world: World) -> None:
    results = {}
    for engine in ("onnx", "torch"):
        done = cli("evaluate", world.run, *world.on(0), "--format", "json", "--engine", engine, "--k", 1)
        assert done.code == 0
        result = json.loads(done.out)
        assert result["provenance"]["engine"] == engine
        numbers = {(task, key): value for task in ("zsl", "gzsl") for key, value in result[task].items()}
        results[engine] = {key: value for key, value in numbers.items() if isinstance(value, float)}
    assert len(results["onnx"]) >= 20
    assert results["torch"] == pytest.approx(results["onnx"], rel=1e-3)


def test_the_report_is_self_contained(cli: Cli, world: World, tmp_path: Path) -> None:
    report = tmp_path / "new/report.html"
    done = cli("evaluate", world.run, *world.on(0), "--report", report)
    assert done.code == 0
    assert str(report) in done.err and str(report) not in done.out
    html = report.read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|//|file:|\.)|url\((?!["']?data:)|@import|<link""", html)
    assert "data:image/" in html
    for word in ("chance", "ceiling", "constant", "seed 3", "yellow", "cross"):
        assert word in html
    assert cli("evaluate", world.run, *world.on(0), "--report", report).code == 0  # an older report is replaced


def test_a_report_replaces_nobody_elses_file(cli: Cli, world: World, tmp_path: Path) -> None:
    page, picture = tmp_path / "own.html", tmp_path / "china.jpg"
    page.write_text("<html><head><title>mine</title></head></html>")
    cli("evaluate", tmp_path / "nothing", *world.on(0), "--report", page).refused("own.html: is there already")
    assert "mine" in page.read_text()
    cli("evaluate", tmp_path / "nothing", *world.on(0), "--report", picture).refused("the ending .jpg", ".html")
    with pytest.raises(InputError, match="is there already"):
        write_report(page, Report("a", "b"))


def test_a_bundle_alone_is_enough(cli: Cli, world: World, tmp_path: Path) -> None:
    shutil.copytree(world.run / "bundle", tmp_path / "moved")
    ours, run = (cli("evaluate", model, *world.on(0), "--format", "json") for model in (tmp_path / "moved", world.run))
    assert ours.code == 0
    assert json.loads(ours.out) == json.loads(run.out)
    cli("evaluate", tmp_path / "moved", *world.on(0), "--engine", "torch").refused("needs a RUN")


def test_a_run_knows_the_split_that_it_was_trained_with(cli: Cli, world: World) -> None:
    data = world.on(0)[:2]
    own, named = (cli("evaluate", world.run, *on, "--format", "json") for on in (data, world.on(0)))
    assert own.code == 0 and f"split: that of the run, {world.run}" in own.err
    for task in ("zsl", "gzsl"):
        assert json.loads(own.out)[task] == json.loads(named.out)[task]
    cli("evaluate", "photos-lite", *data).refused("no split of its own")


def test_limit_takes_the_first_test_pictures(cli: Cli, world: World) -> None:
    done = cli("evaluate", world.run, *world.on(0), "--format", "json", "--limit", 7)
    assert json.loads(done.out)["gzsl"]["all"]["images"] == 7


def test_another_split_is_refused_and_names_pictures_and_labels(cli: Cli, world: World) -> None:
    done = cli("evaluate", world.run, *world.on(1), "--format", "json")
    done.refused("trained on 42 of 42 test images", "and 32 more", "'green', 'square'", "--allow-leak")
    first = json.loads((world.data / "splits.json").read_text())[1]["test"][0]
    assert first in done.err


def test_allow_leak_measures_and_marks_the_result(cli: Cli, world: World) -> None:
    done = cli("evaluate", world.run, *world.on(1), "--format", "json", "--allow-leak")
    assert done.code == 0
    assert json.loads(done.out)["leak"] is True
    assert "MEASURED ON WHAT WAS TRAINED ON" in " ".join(
        cli("evaluate", world.run, *world.on(1), "--allow-leak").out.split()
    )
    honest = cli("evaluate", world.run, *world.on(0), "--format", "json", "--allow-leak")
    assert json.loads(honest.out)["leak"] is False


def test_a_plural_of_a_trained_label_is_refused(cli: Cli, world: World, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    labels = json.loads((data / "labels.json").read_text())
    plural = {key: ["circles" if name == "circle" else name for name in names] for key, names in labels.items()}
    (data / "labels.json").write_text(json.dumps(plural))
    split = json.loads((data / "split.json").read_text())
    split["seen"].remove("circle")
    split["unseen"] = ["yellow", "circles"]
    split["seen"].append("cross")
    (data / "splits.json").write_text(json.dumps([split]))
    cli("evaluate", world.run, *world.on(0, data)).refused("1 label called unseen", "'circles' as 'circle'")


def test_damaged_test_pictures_are_left_out_and_listed(cli: Cli, world: World, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    test = json.loads((data / "split.json").read_text())["test"]
    (data / "images" / test[0]).write_bytes(b"no picture")
    (data / "images" / test[1]).unlink()
    done = cli("evaluate", world.run, *world.on(0, data), "--format", "json")
    assert done.code == 4
    assert json.loads(done.out)["gzsl"]["all"]["images"] == 20
    assert f"skipped {test[0]}: The file is not a picture" in done.err
    assert f"skipped {test[1]}: There is no such file" in done.err
    for key in test[2:]:
        (data / "images" / key).write_bytes(b"")
    cli("evaluate", world.run, *world.on(0, data)).refused("none of 21 test pictures can be used", test[0])


def test_nothing_to_measure_is_an_error(cli: Cli, world: World) -> None:
    cli("evaluate", world.run, *world.on(0), "--k", 0).refused("K must be at least 1")
    cli("evaluate", world.run, *world.on(0), "--limit", 1).refused("unseen labels")


def test_labels_that_nobody_knows_are_an_error(cli: Cli, world: World, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(world.data, data)
    for name in ("labels.json", "splits.json"):
        (data / name).write_text((data / name).read_text().replace("yellow", "yelow"))
    cli("evaluate", world.run, *world.on(0, data)).refused("no encoder knows `yelow`", "yellow")


def test_the_table_lists_the_yardsticks(cli: Cli, world: World) -> None:
    done = cli("evaluate", world.run, *world.on(0))
    assert done.code == 0
    for word in ("small", "chance", "constant", "ceiling", "ZSL mAP", "GZSL mAP", f"{len(LABELS)} labels"):
        assert word in done.out
