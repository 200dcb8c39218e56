"""The documents as a site, built by `make docs`. The pages are plain Markdown that a code host shows as well.

The source folder is the root of the repository, so that a link is the same on a code host and in the site. What a code
host would show as a bare directive is added here: the list of pages, and the reference made from docstrings.
"""

from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path
from typing import Any

import tagprism

project = "tagprism"
copyright = "the contributors of tagprism, Apache-2.0"
version = release = tagprism.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md"]
exclude_patterns = [".*", "build", "demo", "runs", "src", "tests"]  # not even looked through
suppress_warnings = ["myst.header"]  # the changelog repeats "Added"
myst_heading_anchors = 3  # `page.md#heading`, as code hosts have it; a link to a heading that is not there is an error

default_role = "code"  # docstrings are read in editors: one backtick is code
napoleon_custom_sections = [("Source", "notes")]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 80

html_theme = "furo"
html_title = "tagprism"
html_theme_options = {"source_edit_link": "", "top_of_page_buttons": []}
html_static_path: list[str] = []
html_copy_source = False
html_show_sphinx = False
html_permalinks_icon = "#"

PAGES = {
    "Use": [
        "tag",
        "probabilities",
        "explain",
        "keywords",
        "search",
        "queries",
        "server",
        "attacks",
        "models",
        "photos_lite",
        "foreign_models",
    ],
    "Train and measure": [
        "train",
        "recipes",
        "clip_in_ten_minutes",
        "data",
        "evaluate",
        "method",
        "reproduce",
        "scale",
    ],
    "From Python": ["python", "reference"],
    "Look up": [
        "/RESULTS",
        "ablations",
        "rows",
        "decisions",
        "privacy",
        "licences",
        "/CONTRIBUTING",
        "/SECURITY",
        "/CHANGELOG",
    ],
}


def add_directives(app: Any, page: str, source: list[str]) -> None:
    """Append the list of pages to the first page, and the documented names to the reference."""
    if page == root_doc:
        for caption, pages in PAGES.items():
            names = "\n".join(name if name.startswith("/") else f"docs/{name}" for name in pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{names}\n```\n"
    if page == "docs/reference":
        source[0] += "\n".join(_directive(name) for name in sorted(tagprism.__all__) if not name.startswith("_"))


def _directive(name: str) -> str:
    value = getattr(tagprism, name)
    whole = inspect.isclass(value) or inspect.ismodule(value)
    kind = "module" if inspect.ismodule(value) else "class" if whole else "function" if callable(value) else "data"
    members = "   :members:\n" * whole
    return f"\n## {name}\n\n```{{eval-rst}}\n.. auto{kind}:: tagprism.{name}\n{members}```\n"


def add_index(app: Any, error: Exception | None) -> None:
    """The first page also as `index.html`, which servers and people look for."""
    if error is None and app.builder.name == "html":
        shutil.copyfile(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def keep_words(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """`|P|` is no substitution of reStructuredText, and what stands before a colon of a property is not its type."""
    if what == "property":
        lines[0] = lines[0].replace(": ", " \u2013 ", 1)
    lines[:] = [line if ">>>" in line else re.sub(r"\|(\w+)\|", r"\\|\1\\|", line) for line in lines]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_directives)
    app.connect("autodoc-process-docstring", keep_words, priority=400)  # before napoleon
    app.connect("build-finished", add_index)
