"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

DEFAULT_MODEL = "photos-lite"  # as `bundle.bundle.DEFAULT`, which loads ONNX Runtime
DATA_HELP = "openclipart, tagged:DIR, nus-wide:DIR, coco:DIR or open-images:DIR, with ?key=value options."
Data = Annotated[str, typer.Option("--data", help=DATA_HELP)]
Split = Annotated[str | None, typer.Option("--split", help="FILE or FILE#2; all but tagged:DIR have their own.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many pictures (a dry run).")]
Model = Annotated[
    str, typer.Option("--model", "-m", help="RUN, BUNDLE, packaged bundle or hf-hub:owner/name[@revision].")
]
Unknown = Annotated[
    Literal["ignore", "negative", "lesa"] | None,
    typer.Option(
        help="What an unverified label counts as; lesa: left out of AP, a negative in P, R and F1@K. Default: lesa for "
        "open-images, else ignore."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no talk.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="key=value over the recipe, such as model.vectors=1.")]
ModelNow = Annotated[str | None, typer.Option("--model", "-m", help="Where the index's model is now.")]
