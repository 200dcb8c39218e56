"""What an adapter says of a foreign model: its files, its two networks, and how each is fed. Opens no network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import ValidationError

from tagprism.errors import InputError
from tagprism.files import read_json
from tagprism.images.preprocess import Preprocess

PROMPT = "a photo of a {}"
"""The text around every label: the one of CLIP's authors, without its full stop, which some tokenizers drop."""
_DEEPEST = 2  # parts of a path, from the model's folder on, in which files are used
AGAIN = "Fetch or copy the model again."
_NO_WEIGHTS = {".json", ".md", ".txt", ".onnx", ".armnn", ".rknn", ".gitattributes", ".py", ".png", ".jpg"}

Clean = Literal["whitespace", "lower", "canonicalize"]


@dataclass(frozen=True)
class Vision:
    """The network of pictures.

    Args:
        graph: its file.
        outputs: names of the output that is the picture's vector; the first of them that the graph has.
        preprocess: what is done to each picture.
    """

    graph: Path
    outputs: tuple[str, ...]
    preprocess: Preprocess


@dataclass(frozen=True)
class Text:
    """The network of phrases, and how a phrase becomes its tokens.

    Args:
        graph: its file.
        outputs: as for `Vision`.
        tokenizer: makes the `tokenizers.Tokenizer`.
        source: the tokenizer's file, for messages.
        length: tokens at most.
        pad: id of what fills a shorter phrase up.
        whole: whether every phrase is filled up to `length`, and all of its tokens count; else to the longest phrase
            that goes through the network with it, and the filling does not count.
        clean: what is done to a phrase before: white space collapsed; and lower case; and no punctuation.
        end: token that ends every phrase, put there where the tokenizer does not.
        vocabulary: number of tokens that the network knows; None where the folder does not say.
        fixed: ids that some tokens must have, for a tokenizer that is known.
    """

    graph: Path
    outputs: tuple[str, ...]
    tokenizer: Callable[[], Any]
    source: Path
    length: int
    pad: int | str
    whole: bool
    clean: Clean = "whitespace"
    end: str | None = None
    vocabulary: int | None = None
    fixed: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Layout:
    """A foreign model as its adapter read it.

    Args:
        layout: name of the layout.
        name: of the model, as its folder is called.
        folder: where its files are.
        files: path in the folder, or in the layout's second one -> file, for all that decides what the model computes.
        vision: the network of pictures.
        text: the network of phrases.
        dimension: length of its vectors, where the folder says it; else the network of pictures is asked.
        form: which of several forms of the weights, such as `quantized`; None for the only or usual one.
        prompt: text around a label.
    """

    layout: str
    name: str
    folder: Path
    files: dict[str, Path]
    vision: Vision
    text: Text
    dimension: int | None = None
    form: str | None = None
    prompt: str = PROMPT


@dataclass(frozen=True)
class Adapter:
    """A layout.

    Args:
        name: of it.
        needed: (all names in a folder or repository, form) -> those that are used; None where it is of another layout;
            an `InputError` where it is of this one and lacks a file or has no such form.
        read: (folder, folder of the other half or None, form) -> what they say; an `InputError` where something is
            damaged or not understood.
        partner: name of a folder or repository -> that of the one with the other half; None where one holds all.
    """

    name: str
    needed: Callable[[Collection[str], str | None], list[str] | None]
    read: Callable[[Path, Path | None, str | None], Layout]
    partner: Callable[[str], str | None] = lambda _name: None


def names_in(folder: Path) -> list[str]:
    """Files in a folder and a little below."""
    patterns = ["/".join(["*"] * depth) for depth in range(1, _DEEPEST + 1)]
    return [file.relative_to(folder).as_posix() for one in patterns for file in folder.glob(one) if file.is_file()]


def lacks(names: Iterable[str], wanted: Collection[str], layout: str) -> None:
    """Refuse a folder that is of a layout but for some files.

    Raises:
        InputError: one of the wanted names is not there.
    """
    if missing := sorted(set(wanted) - set(names)):
        raise InputError(f"it looks like {layout}, but lacks {', '.join(missing)}.", remedy=AGAIN)


def weights_beside(names: Iterable[str], graph: str, *, any_name: bool = False) -> list[str]:
    """Files with the external data of a graph: `model.onnx.data`, `model.onnx_data`, `model.onnx_data_1`.

    Args:
        names: all files, with `/`.
        graph: the graph's.
        any_name: take whatever lies in the graph's folder and is no other known kind: PyTorch's older export writes one
            file a tensor.
    """
    at = PurePosixPath(graph)
    found = []
    for name in names:
        path = PurePosixPath(name)
        if path.parent == at.parent and name != graph:
            own = path.name.startswith((f"{at.name}.", f"{at.name}_"))
            if own or (any_name and path.suffix not in _NO_WEIGHTS and path.name not in _NO_WEIGHTS):
                found.append(name)
    return sorted(found)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of a foreign folder.

    Raises:
        InputError: it is absent, damaged or no object.
    """
    found = read_json(path, remedy=AGAIN)
    if not isinstance(found, dict):
        raise InputError("is no JSON object.", where=str(path), remedy=AGAIN)
    return found


def preprocess_of(values: dict[str, Any], file: Path) -> Preprocess:
    """Settings of the preparation of pictures.

    Raises:
        InputError: they cannot be used.
    """
    try:
        return Preprocess.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"cannot be used: {where}: {first['msg']}.", where=str(file), remedy=AGAIN) from error


def whole_number(value: object) -> int | None:
    """A size in a setting; None for anything else, and for what no network has."""
    return value if type(value) is int and 0 < value <= 1 << 16 else None


def token(value: object) -> str | None:
    """A special token of `tokenizer_config.json`, which is written as a text or as an object with its `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def not_understood(what: str, where: Path) -> InputError:
    """What an adapter says of a setting that it does not know, rather than give wrong vectors."""
    return InputError(
        f"{what}, which tagprism does not understand.",
        where=str(where),
        remedy="Use another model (`tagprism models list`): guessing would give wrong tags without a word.",
    )
