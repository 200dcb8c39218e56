"""An index with the model that made it, and the folders it is of: opened and searched here, made in `create`."""

from __future__ import annotations

import os
import shlex
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from tagprism.bundle.bundle import find_bundle, open_model, split_views
from tagprism.bundle.hub import HUB
from tagprism.bundle.names import lasting_name, with_views
from tagprism.counted import counted
from tagprism.errors import IndexMismatchError, InputError
from tagprism.files import write_json
from tagprism.progress import Progress, silent
from tagprism.search.contract import MEASURED, Index
from tagprism.search.match import LabelLogits
from tagprism.search.query import Query
from tagprism.search.shared_index import SharedIndex
from tagprism.search.stored import (
    SETTINGS,
    Settings,
    checked_settings,
    escaped,
    is_address,
    learned_file,
    marks_file,
    read_settings,
    unescaped,
)
from tagprism.tagging.learned import Learned
from tagprism.tagging.tagger import Tagger

if TYPE_CHECKING:
    from tagprism.search.results import Results
    from tagprism.search.similar import Example

_ASKED = 1500  # words that say what is usually asked for


class Collection:
    """An opened index and what belongs to it; as a context manager it is closed at the end of the block.

    Args:
        where: the folder of the index, or the address of a server's.
        settings: what is known of it.
        index: its pictures and their records.
        model: where the model is now, when it is no longer where it was.
    """

    def __init__(self, where: str, settings: Settings, index: Index, model: str | None = None) -> None:
        self.where, self.settings, self.index, self._model = where, settings, index, model or settings.model
        self._learned: tuple[int | None, Learned | None] = None, None

    def __enter__(self) -> Collection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def folders(self) -> tuple[str, ...]:
        """The indexed roots, absolute; nothing outside of them belongs to this collection."""
        return tuple(map(unescaped, self.settings.folders))

    @cached_property
    def tagger(self) -> Tagger:
        """The model that made the index, loaded on first use.

        Raises:
            IndexMismatchError: what stands under its name is another model.
            InputError: there is no such model any more.
        """
        made_by = self.settings
        tagger = fitting_tagger(self.where, self._model, (made_by.model, made_by.digest))
        self.settings = made_by.model_copy(update={"model": self._model})  # it is the same, under this name
        return tagger

    @property
    def learned(self) -> Learned | None:
        """What was learned from marks (`search.learn`), as it is now; None where nothing was, or by another model.

        Raises:
            InputError: it is damaged.
        """
        file = learned_file(self.where)
        stamp = file.stat().st_mtime_ns if file.exists() else None
        if stamp != self._learned[0]:
            bundle = self.tagger.bundle
            digests = (bundle.digest, *bundle.config.formerly)
            self._learned = stamp, Learned.load(file, digests, self.settings.shape.width)
        return self._learned[1]

    def has_learned(self, label: str) -> bool:
        """Whether a label has a vector that was learned from marks."""
        return (learned := self.learned) is not None and learned.is_known(label)

    @cached_property
    def label_logits(self) -> LabelLogits:
        """What turns scores of labels into logits, for the model and, where it has no calibration, this index."""
        return LabelLogits.of(self.tagger, self.index)

    def search(
        self,
        query: str | Query | None,
        top_k: int = 20,
        like: str | os.PathLike[str] | Example | None = None,
        neighbours: int = 0,
        exact: bool = False,
    ) -> Results:
        """Find the pictures that match a query best, with what people said of tags in the page of `tagprism serve`.

        Args:
            query: as `tagprism search` takes it, `beach AND sunset NOT people`, or parsed; None for an example alone.
            top_k: pictures at most, from 1.
            like: a picture file to find others like, or its record; alone or with a query.
            neighbours: average the scores of the first pictures over so many that are like each; 0 for none.
            exact: look at the records of all pictures, also in a large index, which else looks for candidates first.

        Returns:
            Pictures, best first. Those that cannot match (a filter not met, a rejected label) are left out.

        Raises:
            QueryError: the query cannot be read.
            InputError: neither query nor example, labels without a vector, or a picture that cannot be used.
            IndexMismatchError: what stands under the name of the index's model is another one.

        Example:
            >>> import tagprism
            >>> with tagprism.open_index("photos.index") as photos:
            ...     results = photos.search("cat NOT dog", top_k=3)
            >>> results.found[0].picture.path.endswith("chelsea.jpg")
            True
        """
        from tagprism.search.find import find  # which is about collections
        from tagprism.search.marks import kept_marks
        from tagprism.search.similar import example_of

        example = example_of(self, os.fspath(like)) if isinstance(like, str | os.PathLike) else like
        marks = kept_marks(self.where) if marks_file(self.where).exists() else {}
        return find(self, query, top_k, like=example, marks=marks, neighbours=neighbours, exact=exact)

    def with_model(self, model: str) -> Collection:
        """The same collection, with its model under another name, and its own views where the name says none."""
        if split_views(model)[1] is None:
            model = with_views(model, split_views(self.settings.model)[1])
        return Collection(self.where, self.settings, self.index, lasting_name(model))

    def keep_folders(self, folders: tuple[str, ...], exclude: tuple[str, ...]) -> None:
        """Replace the indexed roots, and the patterns of what is left out of them.

        Raises:
            MachineError: it cannot be written.
        """
        self._keep(folders=tuple(map(escaped, folders)), exclude=exclude)

    def keep_device(self, used: str) -> None:
        """Note where networks ran that looked at its pictures.

        Raises:
            MachineError: it cannot be written.
        """
        if used and used not in self.settings.devices:
            self._keep(devices=tuple(sorted({*self.settings.devices, used})))

    def keep_model(self) -> None:
        """Note where its model is now, so that the next command finds it there.

        Raises:
            MachineError: it cannot be written.
        """
        self._keep(model=lasting_name(self._model, self.tagger.bundle.path))  # which is the one that made the index

    def keep_renewed(self) -> None:
        """Note that all of its folders are in it again, after it was made anew.

        Raises:
            MachineError: it cannot be written.
        """
        if self.settings.renewing:
            self._keep(renewing="")

    @property
    def unfinished(self) -> str:
        """What to say where it is being made anew, or this was cut short, so that pictures are missing; else ''."""
        if not self.settings.renewing:
            return ""
        held = f"it holds {counted(self.index.info().pictures, 'picture')} so far, and keywords come last"
        return f"{self.where} is being made anew, or that was cut short: {held}. {_finish(self.where)}"

    def _keep(self, **changed: Any) -> None:
        self.settings = self.settings.model_copy(update=changed)
        values = self.settings.values()
        if is_address(self.where):
            self.index.keep_settings(values)  # type: ignore[attr-defined]
        else:
            write_json(Path(self.where) / SETTINGS, values)

    def settle(self, progress: Progress = silent) -> None:
        """Make searches quick after many changes, and measure their recall with words of the vocabulary."""
        self.index.settle(usually_asked(self.tagger), progress)

    def close(self) -> None:
        """Let go of the index."""
        self.index.close()


def open_index(path: str | os.PathLike[str], model: str | None = None, *, progress: Progress = silent) -> Collection:
    """Open an index that `tagprism index` has made.

    Any number of processes may have an embedded one open, see `shared_index`.

    Args:
        path: its folder, or `qdrant+http://HOST:6333/COLLECTION`.
        model: where its model is now, when it is no longer where it was.
        progress: told of the pictures of which something is made anew, as in an index of an older version.

    Raises:
        InputError: there is no index, or its settings are damaged; there is no model of that name.
        IndexMismatchError: it is of an older version, with the command that renews it.
        MachineError: it cannot be opened.

    Example:
        >>> import tagprism
        >>> with tagprism.open_index("photos.index") as photos:
        ...     photos.index.info().pictures
        5
    """
    where = os.fspath(path)
    if model is not None and not model.startswith(HUB):
        find_bundle(model)  # a bare word that is no model's is an error before anything is opened
    index: Index
    if is_address(where):
        engine = qdrant()
        client, name = engine.connect(where)
        settings = _whole(where, checked_settings(where, engine.kept_settings(client, name)))
        index = engine.QdrantIndex(client, name)
    else:
        settings = _whole(where, read_settings(Path(where)))
        index = SharedIndex(Path(where), settings.shape, settings.storage, progress)
    collection = Collection(where, settings, index)
    return collection if model is None else collection.with_model(model)


def _whole(where: str, settings: Settings) -> Settings:
    """The settings, where there is an index that goes with them."""
    if settings.renewing == "begun":
        raise InputError("holds nothing: making it anew was cut short.", where=where, remedy=_finish(where))
    return settings


def fitting_tagger(where: str, model: str, made_by: tuple[str, str], *, renewable: bool = True) -> Tagger:
    """The model of an index.

    Args:
        where: the index.
        model: name of its model now.
        made_by: name and digest of the model that made it.
        renewable: whether it can be made anew where it is; an exported one cannot.

    Raises:
        IndexMismatchError: what stands under its name is another model.
        InputError: there is no such model any more.
    """
    tagger, (name, digest) = Tagger(open_model(model)), made_by
    own, asked = split_views(name)[1] or 1, tagger.bundle.views
    renew = f"renew the index with `tagprism index --into {where} --rebuild"
    stay = "marks, own words and what was left out stay"
    if own != asked:
        remedy = f"Leave --views away, or say {own}" + (f", or {renew} --views {asked}`: {stay}" * renewable)
        raise IndexMismatchError(
            f"was made with {counted(own, 'view')} of each picture, not {asked}.", where=where, remedy=f"{remedy}."
        )
    if digest not in (tagger.bundle.digest, *tagger.bundle.former_digests):
        remedy = "Name the model it was made with (--model)" + (f", or {renew} --model {model}`: {stay}" * renewable)
        raise IndexMismatchError(
            f"was made with another model ({name}, digest {digest[:12]}) than "
            f"{tagger.bundle.path} (digest {tagger.bundle.digest[:12]}).",
            where=where,
            remedy=f"{remedy}.",
        )
    return tagger


def _finish(where: str) -> str:
    return f"`tagprism index --into {shlex.quote(where)}` finishes it; folders, marks and what was learned are kept."


def qdrant() -> Any:
    """The module of the server's engine.

    Raises:
        InputError: its extra is not installed.
    """
    try:
        from tagprism.search import qdrant_index
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "qdrant_client":
            raise
        raise InputError(
            "an index of a Qdrant server needs the extra `cluster`, which is not installed.",
            remedy='Install it with: pip install "tagprism[cluster]"',
        ) from error
    return qdrant_index


def usually_asked(tagger: Tagger) -> Float32[np.ndarray, "q Q"]:
    """Scoring vectors of words drawn from a model's vocabulary, as `Index.settle` takes them."""
    names = tagger.vocabulary.names
    chosen = np.random.default_rng(0).permutation(len(names))[: MEASURED + _ASKED]
    return tagger.scoring_vectors([names[row] for row in chosen])
