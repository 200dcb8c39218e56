"""What a bundle or an encoder says of a foreign model that it uses and does not hold. Opens nothing."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tagprism.files import digest_json

_HUB = "hf-hub:"


class ForeignReference(BaseModel):
    """A public CLIP or SigLIP, by its place and by the digests of its files.

    Args:
        name: `hf-hub:owner/name@commit[#form]`, or the absolute path of a folder, with `#form` after it.
        files: path in the model -> SHA-256, of all that decides what it computes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=4096)]
    files: Annotated[dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], Field(min_length=1, max_length=1000)]

    @field_validator("name")
    @classmethod
    def _on_this_machine(cls, name: str) -> str:
        """Refuse a share of another machine, to which Windows would log in; a path of either system is kept."""
        absolute = Path(name).is_absolute() or PureWindowsPath(name).drive[1:] == ":"
        if not name.startswith(_HUB) and (not absolute or name.startswith(("//", "\\\\"))):
            raise ValueError("must be hf-hub:owner/name or the absolute path of a folder on this machine")
        return name

    @property
    def on_hub(self) -> bool:
        """Whether it is a repository of the hub, not a folder."""
        return self.name.startswith(_HUB)

    @property
    def digest(self) -> str:
        """SHA-256 over the files, wherever they lie."""
        return digest_json(self.files)
