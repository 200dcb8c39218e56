"""What `tagprism demo` shows first: the model in the box on real photographs, used as anyone would use it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tagprism.datasets.sample_photos import SamplePhoto
from tagprism.evaluation.report import PhotoTour, Tag, TaggedPicture
from tagprism.evaluation.showcase import RankedPicture, Ranking
from tagprism.progress import Progress
from tagprism.search.collection import open_index
from tagprism.search.create import open_for_update
from tagprism.search.upkeep import Upkeep
from tagprism.tagging.explain import Explainer
from tagprism.tagging.explain_sheet import draw_sheet
from tagprism.tagging.tagger import load
from tagprism.tagging.tags import ImageTags

OWN_WORDS = (
    "brick wall",
    "cup of coffee",
    "dandelion seeds",
    "desert",
    "mountain path",
    "night sky",
    "paint brushes",
    "red bowl",
    "rocket launch",
    "rope bridge",
    "stream in a forest",
    "toy bird",
    "two dogs",
    "wall clock",
    "water drop",
    "yellow flower",
)
"""Phrases as a person would list them; most fit one of the photographs, `desert` fits none."""

SEARCHES = ("a yellow flower", "high mountains", "something to drink")
"""Phrases of a search; the last one names no single thing."""

EXPLAINED = ("chelsea.png", "picosdeeuropa_by_Aitzol_Berasategi.jpg", "LadyBird.jpg")
_LIKELY, _TAGS, _OWN_TAGS, _FOUND, _EXPLAINED_TAGS = 0.5, 6, 2, 6, 3


def photo_tour(photos: Sequence[SamplePhoto], model: str, index: Path, progress: Progress) -> PhotoTour:
    """Tag, search and explain photographs with a bundle.

    Args:
        photos: at least one.
        model: as for `load`.
        index: folder for the index of the photographs; one that is there is made anew.
        progress: told of the pictures looked at.
    """
    tagger, paths = load(model), [photo.path for photo in photos]
    likely = tagger.tag(paths, top_k=_TAGS, min_probability=_LIKELY)
    own = tagger.tag(paths, OWN_WORDS, top_k=_OWN_TAGS)
    explainer, sheets = Explainer(tagger), []
    for path, tags in zip(paths, likely, strict=True):
        if path.name in EXPLAINED and tags.tags:
            names = [tag.label for tag in tags.tags[:_EXPLAINED_TAGS]]
            sheets.append((f"{path.name}: {', '.join(names)}", draw_sheet(explainer.explain(path, names))))
    packages = dict.fromkeys(photo.package for photo in photos)
    return PhotoTour(
        model,
        _shown(photos, likely),
        _shown(photos, own),
        OWN_WORDS,
        _searches(paths, model, index, progress),
        tuple(sheets),
        tuple((name, _authors([photo for photo in photos if photo.package == name])) for name in packages),
    )


def _shown(photos: Sequence[SamplePhoto], tagged: Sequence[ImageTags]) -> tuple[TaggedPicture, ...]:
    return tuple(
        TaggedPicture(photo.path, tuple(Tag(tag.label, f"{tag.probability or 0:.2f}") for tag in tags.tags))
        for photo, tags in zip(photos, tagged, strict=True)
    )


def _searches(paths: Sequence[Path], model: str, index: Path, progress: Progress) -> tuple[Ranking, ...]:
    files = [str(path) for path in paths]
    with open_for_update(str(index), files, model=model, rebuild=True, progress=progress) as collection:
        upkeep = Upkeep(collection, progress=progress)
        upkeep.update(files)
        upkeep.close()
    rankings = []
    with open_index(index) as collection:
        for phrase in SEARCHES:
            found = collection.search(f'"{phrase}"', top_k=_FOUND).found
            pictures = tuple(RankedPicture(Path(one.picture.path), one.score) for one in found)
            rankings.append(Ranking(phrase, f"the first {len(found)} of {len(paths)} photographs", pictures))
    return tuple(rankings)


def _authors(photos: Sequence[SamplePhoto]) -> str:
    return "; ".join(
        f"{photo.name.removeprefix(photo.package)[1:]} by {photo.author} ({photo.licence})" for photo in photos
    )
