"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_MODEL = "photos-lite"  # as `bundle.open_model.DEFAULT`, which loads ONNX Runtime
DATA_HELP = "openclipart, tagged:DIR, nus-wide:DIR, coco:DIR or open-images:DIR, with ?key=value options."
Data = Annotated[str, typer.Option("--data", help=DATA_HELP)]
Split = Annotated[str | None, typer.Option("--split", help="FILE or FILE#2; all but tagged:DIR have their own.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many pictures (a dry run).")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="RUN, BUNDLE, packaged bundle, hf-hub:owner/name[@revision][#form], or a folder of CLIP or SigLIP.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no talk.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="key=value over the recipe, such as model.vectors=1.")]
ModelNow = Annotated[str | None, typer.Option("--model", "-m", help="Where the index's model is now.")]
