"""A model on a model hub -> its folder in the hub's own cache on this machine. Opens no model."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagprism.bundle.card import CARD
from tagprism.bundle.config import CONFIG, MODEL, TEXT, VOCABULARY
from tagprism.bundle.hub_file import LARGE, continue_file
from tagprism.errors import InputError, MachineError, NothingToDoError, TagprismError
from tagprism.files import REFUSALS, cache_dir, digest_bytes, digest_file, write_json
from tagprism.labels.encoders.encoder import HUB as HUB
from tagprism.progress import Progress, silent

if TYPE_CHECKING:
    from tagprism.bundle.foreign.layout import Adapter

_HUB_NAME = re.compile(r"([\w][\w.-]{0,95}/[\w][\w.-]{0,95})(?:@([\w][\w./-]*))?(?:#(\w+))?", re.ASCII)
_FILES = [
    CONFIG,
    MODEL,
    "*.safetensors",
    CARD,
    f"{TEXT}/*/*.json",
    f"{TEXT}/*/*.onnx",
    f"{TEXT}/**.safetensors",
    "network/*",  # of a bundle that brings the foreign files (`referring`)
]
_MB = 1_000_000
_NOT_HERE = "is not on this machine: it was never fetched, or is removed already."


@dataclass(frozen=True)
class HubName:
    """`hf-hub:owner/name[@revision][#form]`, taken apart.

    Args:
        repository: `owner/name`.
        revision: a branch, tag or commit; None for the default one.
        form: of a foreign model that has several, such as `quantized`.
    """

    repository: str
    revision: str | None = None
    form: str | None = None

    @classmethod
    def parse(cls, name: str) -> HubName:
        """Take a name apart.

        Raises:
            InputError: it has another form.
        """
        if not (found := _HUB_NAME.fullmatch(name.removeprefix(HUB))):
            raise InputError("is not of the form hf-hub:owner/name, with @revision and #form after it.", where=name)
        return cls(*found.groups())

    def __str__(self) -> str:
        tail = f"@{self.revision}" if self.revision else ""
        return f"{HUB}{self.repository}{tail}{f'#{self.form}' if self.form else ''}"


def fetch_model(name: HubName, *, renew: bool = False, progress: Progress = silent) -> Path:
    """Snapshot of a repository; only the files that are used are fetched, whatever else is there.

    A foreign model that was fetched before is used without asking the hub; its files were checked then.

    Args:
        name: which.
        renew: ask the hub for a newer one.
        progress: told of the megabytes.

    Returns:
        The snapshot's folder, called by its commit.

    Raises:
        InputError: the hub has no such repository or revision, or it holds no model.
        MachineError: the hub does not answer, the disk is full, or a file arrived damaged.
    """
    here = _here(name)
    if here is not None and not renew and _mark(here, name).exists():
        return here
    try:
        return _fetch(name, progress)
    except MachineError:
        if here is None or not _whole(here, name):
            raise
        return here  # brought from another machine, or by another program


def cached_model(name: HubName) -> Path | None:
    """Snapshot of a repository in the hub's cache; None where it is not there, or not whole. Asks nobody."""
    here = _here(name)
    return here if here is not None and _whole(here, name) else None


def remove_model(name: HubName) -> int:
    """Delete a repository from the hub's cache on this machine, with all its revisions and forms.

    Returns:
        The bytes that are free again.

    Raises:
        NothingToDoError: it is not there.
    """
    import huggingface_hub

    try:
        cache = huggingface_hub.scan_cache_dir()
    except huggingface_hub.errors.CacheNotFound as error:
        raise NothingToDoError(_NOT_HERE, where=str(name)) from error
    commits = [
        revision.commit_hash
        for repository in cache.repos
        if (repository.repo_id, repository.repo_type) == (name.repository, "model")
        for revision in repository.revisions
    ]
    if not commits:
        raise NothingToDoError(_NOT_HERE, where=str(name))
    plan = cache.delete_revisions(*commits)
    plan.execute()
    return plan.expected_freed_size


def fetch_partner(folder: Path, name: HubName, renew: bool, progress: Progress) -> Path | None:
    """The repository with the other half of a foreign model, where its layout has halves; errors as `fetch_model`."""
    found = _layout_of(folder, name.form)
    other = None if found is None else found[0].partner(name.repository)
    return None if other is None else fetch_model(HubName(other), renew=renew, progress=progress)


def _layout_of(files: Path | Collection[str], form: str | None) -> tuple[Adapter, list[str]] | None:
    """As `find.layout_of`, also of a folder."""
    from tagprism.bundle.foreign.find import layout_of  # it loads Pillow, which words do not need
    from tagprism.bundle.foreign.layout import names_in

    return layout_of(names_in(files) if isinstance(files, Path) else files, form)


def _fetch(name: HubName, progress: Progress) -> Path:
    import huggingface_hub

    with _errors(name):
        info = huggingface_hub.HfApi().model_info(name.repository, revision=name.revision, files_metadata=True)
        sizes = {one.rfilename: one.size or 0 for one in info.siblings or ()}
        wanted = _wanted(sizes, name)
        megabytes = sum(sizes[file] for file in wanted) // _MB
        with progress(f"fetching {megabytes:,} MB", megabytes) as advance:
            for file in wanted:
                if sizes[file] >= LARGE and info.sha:
                    continue_file(name.repository, info.sha, file, _in_megabytes(advance))
            found = huggingface_hub.snapshot_download(
                name.repository,
                revision=name.revision,
                allow_patterns=[glob.escape(file) for file in wanted],
                tqdm_class=_bar(advance),
            )
    folder = Path(found)
    for file in wanted:
        _check(folder / file)
    if _layout_of(folder, name.form) is not None:
        write_json(_mark(folder, name), sorted(wanted))
    return folder


def _wanted(names: Collection[str], name: HubName) -> list[str]:
    """The files of a repository that are used."""
    try:
        foreign = _layout_of(names, name.form)
    except InputError as error:
        raise InputError(error.what, where=str(name), remedy=error.remedy) from error
    if foreign is not None:
        return foreign[1]
    if CONFIG not in names:
        what = (
            "this repository holds no tagprism bundle, and no ONNX export of CLIP or SigLIP in a layout that is known."
        )
        raise InputError(what, where=str(name), remedy="`tagprism models list` names some that work.")
    return [file for file in names if any(fnmatch(file, pattern) for pattern in _FILES)]


def _here(name: HubName) -> Path | None:
    """What the hub's cache has of a repository, whole or not; asks nobody."""
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.snapshot_download(
                name.repository, revision=name.revision, allow_patterns=[CONFIG], local_files_only=True
            )
        )
    except Exception:  # the hub's client has several for "is not here"
        return None


def _whole(folder: Path, name: HubName) -> bool:
    """Whether a snapshot has all files that are used."""
    try:
        return _layout_of(folder, name.form) is not None or _holds_bundle(folder)
    except InputError:
        return False


def _holds_bundle(folder: Path) -> bool:
    """Whether the files of a bundle are there; a foreign model has a file of the same name as its settings."""
    return all((folder / file).is_file() for file in (CONFIG, MODEL, VOCABULARY))


def _mark(folder: Path, name: HubName) -> Path:
    """A file of ours that says that a snapshot was fetched whole and checked."""
    return cache_dir("fetched") / f"{digest_bytes(f'{folder}#{name.form}'.encode())[:32]}.json"


def _check(file: Path) -> None:
    """Refuse a file of the hub's cache that does not have the digest it is kept under."""
    blob = file.resolve()
    if re.fullmatch("[0-9a-f]{64}", blob.name) and digest_file(blob) != blob.name:
        blob.unlink()
        file.unlink(missing_ok=True)  # a link to it, where the system has links
        raise MachineError("arrived damaged, and was deleted.", where=str(file), remedy="Run the same command again.")


def _in_megabytes(advance: Callable[[int], None]) -> Callable[[int], None]:
    """Tell `advance` of whole megabytes, given bytes."""
    rest = 0

    def told(count: int) -> None:
        nonlocal rest
        whole, rest = divmod(rest + count, _MB)
        advance(whole)

    return told


def _bar(advance: Callable[[int], None]) -> type[Any]:
    """A bar for the hub's client, which shows nothing and tells `advance` of megabytes."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            # Of the client's bars one counts bytes on disk, one those from the network, one files.
            self._counts = options.get("unit") == "B" and options.get("desc") != "Downloading bytes"
            self._told = _in_megabytes(advance)
            options.pop("name", None)
            super().__init__(*args, **(options | {"disable": True}))

        def update(self, n: float | None = 1) -> None:
            if self._counts:
                self._told(int(n or 0))
            super().update(n)

    return Bar


@contextmanager
def _errors(name: HubName) -> Iterator[None]:
    """Errors of the hub's client as ours."""
    from huggingface_hub import errors

    try:
        yield
    except TagprismError:
        raise
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:  # also where a token is needed
        raise InputError(
            "the hub has no such repository or revision, or it is private.",
            where=str(name),
            remedy="Check the name; for a private one log in with `hf auth login`.",
        ) from error
    except errors.HfHubHTTPError as error:
        if getattr(error.response, "status_code", None) not in (401, 403):
            raise _not_fetched(name, error) from error
        what = "the hub does not let you have it: a token is wrong, or conditions are not accepted."
        remedy = "Log in with `hf auth login`, and accept the conditions on its page where there are some."
        raise InputError(what, where=str(name), remedy=remedy) from error
    except errors.HFValidationError as error:
        raise InputError(f"is not a name of the hub ({error}).", where=str(name)) from error
    except Exception as error:  # the hub's client passes on errors of three HTTP libraries and of its own
        if isinstance(error, OSError) and error.errno in REFUSALS:
            remedy = "Free space or mend the permission, and run the same command again: it continues."
            raise MachineError(
                f"cannot be kept ({os.strerror(error.errno)}).", where=str(name), remedy=remedy
            ) from error
        raise _not_fetched(name, error) from error


def _not_fetched(name: HubName, error: Exception) -> MachineError:
    reason = next(iter(str(error).splitlines()), "no reason given")
    return MachineError(
        f"cannot be fetched ({type(error).__name__}: {reason}).",
        where=str(name),
        remedy=f"Where there is a network run `tagprism models fetch {name}`; what is in the hub's cache on this "
        "machine then works without one.",
    )
