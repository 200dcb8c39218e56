"""`tagprism import-official`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tagprism.app import console
from tagprism.app.options import Quiet


def import_official(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' released .pth file.")],
    labels: Annotated[Path, typer.Option(help="Label vectors it was trained with: npz, safetensors or text.")],
    into: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    seen: Annotated[
        Path | None, typer.Option(help="Labels trained on: one a line, or JSON; else idx_to_class.")
    ] = None,
    unseen: Annotated[Path | None, typer.Option(help="Labels kept out of training; all others were seen.")] = None,
    image_size: Annotated[int, typer.Option("--image-size", help="Pixels a side: 224, 448, 608.")] = 224,
    raw: Annotated[bool, typer.Option("--raw", help="The authors' raw scores, not comparable between images.")] = False,
    encoder: Annotated[str | None, typer.Option(help="Text encoder of the label vectors, such as file:PATH.")] = None,
    quiet: Quiet = False,
) -> int:
    """Turn the authors' released checkpoint into a bundle, without running any code in it."""
    console.require_extra("train", "torch")
    from tagprism.bundle.config import VOCABULARY
    from tagprism.labels.vocabulary import Vocabulary
    from tagprism.network.official_bundle import import_official as write_official

    with console.progress(quiet)("writing the bundle", 1) as advance:
        bundle = write_official(
            checkpoint,
            labels,
            into,
            seen=seen,
            unseen=unseen,
            image_size=image_size,
            raw=raw,
            encoder=encoder,
            say=console.say,
        )
        advance(1)
    config, vocabulary = bundle.config, Vocabulary.load(bundle.path / VOCABULARY)
    console.say(
        f"{into}: M={config.vectors}, D={config.dimension}, {image_size} px, {len(vocabulary.seen)} seen and "
        f"{len(vocabulary.unseen)} unseen labels ({config.provenance['seen_labels']})",
        quiet=quiet,
    )
    return console.OK
