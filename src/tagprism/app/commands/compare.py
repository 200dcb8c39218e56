"""`tagprism compare`: several recipes and baselines on the same pictures, over one or many splits, paired."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagprism.app import console
from tagprism.app.options import Data, Quiet, Sets, Split, Unknown, open_measured
from tagprism.errors import InputError

if TYPE_CHECKING:
    from tagprism.comparing.methods import Method
    from tagprism.training.recipe import Recipe


def compare(
    data: Data,
    recipe: Annotated[Path | None, typer.Argument(help="Recipe, the first row of the table.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Add a finished RUN, BUNDLE or hf-hub:owner/name; may be repeated."),
    ] = None,
    split: Split = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Trainings of each row: with the recipe's seed, and the next ones.")
    ] = 1,
    variants: Annotated[Path | None, typer.Option(help="TOML file of further rows: `variant` tables.")] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="authors, single, conse, ridge, decoder, open_clip:MODEL/WEIGHTS, onnx:NAME, or plain for the "
            "recipe's own CLIP or SigLIP; conse+prior and ridge+prior also have the recipe's prior and class columns; "
            "may be repeated."
        ),
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option("--baselines", help="The first five of them and plain, where they fit."),
    ] = False,
    supervised: Annotated[
        bool, typer.Option("--supervised", help="Add the model trained on unseen labels too.")
    ] = False,
    neighbours: Annotated[
        int, typer.Option(min=0, help="Add the recipe with scores averaged over so many like test pictures.")
    ] = 0,
    pseudo_unseen: Annotated[
        float | None,
        typer.Option(help="Choose settings without test data: this share of the seen labels plays the unseen ones."),
    ] = None,
    unknown: Unknown = None,
    ratio_to: Annotated[str | None, typer.Option(help="Also say every row's mAP as a multiple of this row's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to keep every result in; run again to continue.")] = None,
    format: Annotated[Literal["table", "json", "markdown"], typer.Option(help="What to print.")] = "table",
    sets: Sets = None,
    quiet: Quiet = False,
) -> int:
    """Train and measure several recipes on the same pictures; over all splits of a file when none is chosen."""
    if recipe is not None:
        console.require_extra("train", "torch")
    from tagprism.comparing.compare import choosing_splits
    from tagprism.comparing.compare import compare as run
    from tagprism.comparing.rows import OwnMethod, finished
    from tagprism.datasets.splits import load_split, split_names
    from tagprism.training.recipe import load_recipe

    rows: list[Method | OwnMethod] = list(finished(model or []))
    if recipe is not None:
        from tagprism.comparing.methods import NEIGHBOURS, Method, read_variants

        base = load_recipe(recipe, tuple(sets or ()))
        own = [Method(base.name, base)]
        own += read_variants(variants, recipe, tuple(sets or ())) if variants is not None else []
        own += _rivals(base, baseline or [], baselines)
        if neighbours:
            own.append(Method(f"{base.name}, {neighbours} neighbours", base, f"{NEIGHBOURS}{neighbours}"))
        own += [Method("supervised", base, "supervised")] if supervised else []
        rows = [*own, *rows]
    elif not rows or variants or baseline or baselines or neighbours or supervised or sets:
        raise InputError(
            "name a recipe: the rows asked for are made from it.", where="RECIPE", remedy="Or --model alone."
        )
    names = [row.name for row in rows]
    if ratio_to is not None and ratio_to not in names:
        raise InputError(f"there is no row `{ratio_to}`.", where="--ratio-to", remedy=f"Rows: {', '.join(names)}.")
    chosen: list[str | None] = [split] if split is None or "#" in split else [*split_names(split)]
    table, first = open_measured(data, chosen[0], model[0] if model else None, quiet=quiet)
    splits = [first, *(load_split(one, table) for one in chosen[1:] if one is not None)]
    if pseudo_unseen is not None:
        splits = [drawn for one in splits for drawn in choosing_splits(one, pseudo_unseen)]
    comparison = run(
        rows,
        table,
        splits,
        seeds=seeds,
        out=out,
        published=pseudo_unseen is None,
        unknown=unknown,
        progress=console.progress(quiet),
        begins=partial(console.say, quiet=quiet),
    )
    if format == "json":
        console.write_json(comparison.to_json())
    elif format == "markdown":
        console.write(comparison.markdown(ratio_to=ratio_to))
    else:
        console.show(comparison.table(ratio_to=ratio_to))
    return console.report_skipped(sorted(comparison.skipped.items()))


def _rivals(recipe: Recipe, named: list[str], every: bool) -> list[Method]:
    """Rows of the rivals asked for, each once; all that the recipe allows where all are wanted."""
    from tagprism.comparing.methods import available_baselines, baseline
    from tagprism.network.open_clip_models import PREFIX

    kinds = available_baselines(recipe) if every else []
    if every and "conse" not in kinds:
        console.say("ConSE is left out: it needs a backbone with an ImageNet-1k classifier.")
    if every and "decoder" not in kinds:
        console.say("The decoder is left out: it needs a backbone with a feature map.")
    if any(kind.startswith(PREFIX) for kind in named):
        console.require_extra("clip", "open_clip")
    return [baseline(kind, recipe) for kind in dict.fromkeys((*kinds, *named))]
