"""README.md for a package index: its relative links become links into the repository, at this version's tag.

The repository is what `[project.urls]` names as `Source`. Without one the README stays as it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^]]*)\]\((?!\w+:|#)(?P<path>[^)]+)\)")


def absolute(text: str, source: str, tag: str) -> str:
    """Markdown with absolute links; files are below `blob/TAG/`, pictures below `raw/TAG/`, as code hosts have them."""
    return _LINK.sub(
        lambda link: (
            f"{link['picture']}[{link['text']}]"
            f"({source.rstrip('/')}/{'raw' if link['picture'] else 'blob'}/{tag}/{link['path']})"
        ),
        text,
    )


class ReadmeHook(MetadataHookInterface):
    """Called by hatchling for every wheel and source distribution."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the long description."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source")
        text = absolute(text, source, f"v{metadata['version']}") if source else text
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
