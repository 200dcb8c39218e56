"""Which layout a folder or repository has. Opens no network and fetches nothing."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from tagprism.bundle.foreign import fastembed, immich, rclip, transformers_js
from tagprism.bundle.foreign.layout import AGAIN, Adapter, Layout, names_in
from tagprism.errors import InputError

ADAPTERS = (immich.ADAPTER, transformers_js.ADAPTER, rclip.ADAPTER, fastembed.ADAPTER)


def layout_of(names: Collection[str], form: str | None) -> tuple[Adapter, list[str]] | None:
    """The layout of a folder or repository, and the files of it that are used.

    Args:
        names: all files, relative, with `/`.
        form: as `layout.Layout`.

    Raises:
        InputError: it has a layout, and lacks a file or the form.
    """
    for adapter in ADAPTERS:
        if (wanted := adapter.needed(names, form)) is not None:
            return adapter, wanted
    return None


def read_layout(folder: Path, form: str | None = None, partner: Path | None = None) -> Layout | None:
    """Read a foreign model's folder; None where it is of no layout that is known.

    Args:
        folder: the model's.
        form: as `layout.Layout`.
        partner: folder of the other half; None to look beside this one.

    Raises:
        InputError: a file is missing, damaged, leads out of the folder, or holds a setting that is not understood.
    """
    try:
        found = layout_of(names_in(folder), form)
        if found is None:
            return None
        adapter, _ = found
        if partner is None and (other := adapter.partner(folder.resolve().name)) is not None:
            partner = folder.resolve().parent / other
        layout = adapter.read(folder, partner, form)
    except InputError as error:
        raise error if error.where else InputError(error.what, where=str(folder), remedy=error.remedy) from error
    except (TypeError, AttributeError, ValueError) as error:  # a number where a text should be, and the like
        what = f"holds a setting of another kind than its layout has ({error})."
        raise InputError(what, where=str(folder), remedy=AGAIN) from error
    roots = [at.resolve() for at in (folder, partner) if at is not None]
    roots += [root.parents[1] / "blobs" for root in roots if root.parent.name == "snapshots"]  # the hub's cache
    for file in layout.files.values():
        if not any(file.resolve().is_relative_to(root) for root in roots):
            raise InputError(
                "is a link that leads out of the model, and is not followed.",
                where=str(file),
                remedy="Put the file itself in its place.",
            )
    return layout
