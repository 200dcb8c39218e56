"""The public names: all of them there, imported on first use, without torch where they need none."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import tagprism
from tagprism import errors

NEED_TORCH = ("train", "Run", "max_similarity", "EmbeddingMatrix", "SemanticDiversityLoss")
PUBLIC = sorted(set(tagprism.__all__) - {"__version__"})


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_table_of_modules_and_the_list_of_names_are_one() -> None:
    assert sorted(tagprism._MODULE_OF) == sorted(set(PUBLIC) - {"errors"})
    assert len(set(tagprism.__all__)) == len(tagprism.__all__)
    assert set(PUBLIC) <= set(dir(tagprism))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_can_be_imported(name: str) -> None:
    found = getattr(tagprism, name)
    assert found is getattr(tagprism, name)
    assert found.__doc__
    if name != "errors":
        assert found.__module__.startswith("tagprism.")
        assert found.__name__ == name


def test_every_error_carries_its_exit_code() -> None:
    assert (errors.InputError.exit_code, errors.MachineError.exit_code) == (2, 6)
    assert tagprism.errors is errors


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = tagprism.lod
    with pytest.raises(ImportError, match="cannot import name 'lod'"):
        from tagprism import lod  # noqa: F401


def test_importing_is_quick_and_light() -> None:
    heavy = ["numpy", "torch", "onnxruntime", "pydantic", "PIL", "rich", "typer"]
    start = time.perf_counter()
    done = python(f"import sys, tagprism; print([name for name in {heavy} if name in sys.modules], len(sys.modules))")
    assert time.perf_counter() - start < 5  # of a second there is nothing to see on a busy machine
    loaded, _, modules = done.stdout.rpartition(" ")
    assert loaded == "[]", done.stderr
    assert int(modules) < 200


def test_telemetry_is_off_before_anything_could_send_it_and_a_wish_of_the_user_is_kept() -> None:
    ask = "import os; {}import tagprism; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert python(ask.format("")).stdout == "1\n"
    assert python(ask.format("os.environ['ORT_DISABLE_TELEMETRY'] = '0'; ")).stdout == "0\n"


@pytest.mark.slow
def test_one_warning_where_onnxruntime_was_imported_before_it_could_be_told() -> None:
    program = """
import os, sys
{}
import onnxruntime
import tagprism, tagprism.tagging.tagger
from tagprism.app.cli import main
sys.argv = ["tagprism", "doctor"]
main()
"""
    unset = "os.environ.pop('ORT_DISABLE_TELEMETRY', None)"
    late = python(program.format(f"{unset}; os.environ['HOME'] = os.devnull"))  # whatever it wants to write there
    assert late.stderr.count("telemetry may be on") == 1 and "Import tagprism first" in late.stderr
    assert "may be on: onnxruntime was imported" in " ".join(late.stdout.split())
    for early in ("os.environ['ORT_DISABLE_TELEMETRY'] = '1'", f"{unset}; import tagprism"):
        told = python(program.format(early))
        assert (told.returncode, told.stderr) == (0, "")
        assert any("its telemetry" in line and " off " in line for line in told.stdout.splitlines())


def test_without_torch_a_name_works_or_says_what_to_install() -> None:
    missing = ["torch", "torchvision", "timm", "lightning", "onnx", "onnxscript", "transformers"]
    code = f"""
import sys
for module in {missing}:
    sys.modules[module] = None  # as if it were not installed
import tagprism
for name in {PUBLIC}:
    try:
        getattr(tagprism, name)
        print(name, "works")
    except tagprism.errors.InputError as error:
        print(name, error)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert {name for name, answer in said.items() if answer != "works"} == set(NEED_TORCH)
    for name in NEED_TORCH:
        assert f"tagprism.{name} needs " in said[name] and 'pip install "tagprism[train]"' in said[name]


def test_type_checkers_see_every_name() -> None:
    source = tagprism.__spec__.loader.get_source("tagprism")  # type: ignore[union-attr]
    _, _, block = source.partition("if TYPE_CHECKING:\n")
    block = block.partition("\n\n")[0]
    imported = {name.strip() for line in block.splitlines() for name in line.partition(" import ")[2].split(",")}
    assert imported == set(PUBLIC)
    for name, module in tagprism._MODULE_OF.items():
        assert any(
            line.startswith(f"    from tagprism.{module} import ") and name in line for line in block.splitlines()
        )
