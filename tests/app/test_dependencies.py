"""What is depended on: bounded, pinned with hashes, and under a licence that somebody has looked at."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

pytest.importorskip("packaging", reason="it reads requirements")
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LISTS = (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
REQUIREMENTS = [Requirement(text) for texts in LISTS for text in texts]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
PINS = re.findall(
    r"^([\w.-]+)==(\S+)((?: ;[^\\\n]*)?)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", CONSTRAINTS, re.MULTILINE
)


def bounds(specifier: SpecifierSet, *operators: str) -> list[Version]:
    return [Version(one.version) for one in specifier if one.operator in operators]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_a_package_before_its_version_1_is_bounded_above(requirement: Requirement) -> None:
    lowest = bounds(requirement.specifier, ">=")
    assert lowest, "a lower bound"
    try:
        installed = Version(metadata.version(requirement.name))
        assert installed in requirement.specifier
    except metadata.PackageNotFoundError:
        installed = lowest[0]
    assert installed.major >= 1 or bounds(requirement.specifier, "<"), f"{installed} may change with any version"


def test_the_constraints_pin_every_package_with_hashes_and_name_no_place() -> None:
    assert "://" not in CONSTRAINTS and not re.search(r"^\s*-(?!-hash)", CONSTRAINTS, re.MULTILINE)
    assert len(PINS) == len(re.findall(r"^\w", CONSTRAINTS, re.MULTILINE)) > 50
    assert [name for name, _, _, hashes in PINS if not hashes] == []
    for requirement in REQUIREMENTS:
        pinned = [version for name, version, *_ in PINS if name == canonicalize_name(requirement.name)]
        assert pinned and all(version in requirement.specifier for version in pinned), requirement


def test_the_licence_of_every_package_is_known() -> None:
    spec = importlib.util.spec_from_file_location("licences", ROOT / ".ci" / "licences.py")
    assert spec is not None and spec.loader is not None
    licences = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(licences)
    licences.main(check=True)
    assert not licences.is_fine("some-package", "GPL-3.0-only")
    assert not licences.is_fine("some-package", "not stated")
    assert not licences.is_fine("some-package", "LicenseRef-NVIDIA-Proprietary")
    assert licences.is_fine("some-package", "(MIT OR Apache-2.0) AND BSD-3-Clause")


def test_the_question_of_the_weights_is_in_the_metadata_and_the_readme() -> None:
    assert PROJECT["license"] == "Apache-2.0 AND LicenseRef-photos-lite"
    assert PROJECT["license-files"] == ["LICENSE", "NOTICE"]
    for file in ("NOTICE", "README.md", "docs/licences.md"):
        text = (ROOT / file).read_text(encoding="utf-8")
        for word in ("LicenseRef-photos-lite", "Corel", "COCO", "commercial"):
            assert word in text, f"{file} does not say {word}"
