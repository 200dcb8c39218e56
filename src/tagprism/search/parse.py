"""Queries as people write them (`"polar bear" AND snow NOT people taken:2024`), read into a tree. Knows no pictures.

    query  = all { OR all }
    all    = part { [AND] part }
    part   = { NOT | - | NUMBER* } leaf
    leaf   = ( query ) | word { word } | "phrase" | taken:FROM..TO | NAME:TEXT

Words next to each other are one phrase, as tags are (`night sky`), unless `words` takes them apart. Operators are in
capitals, so `salt and pepper` is one too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn

from tagprism.labels.phrases import LONGEST, normalise_phrase
from tagprism.search.parse_filters import metadata_field, time_range
from tagprism.search.query import OPERATORS, And, InPath, Label, Leaf, Not, Or, Query, QueryError, Tagged, Weighted

LONGEST_QUERY = 10_000  # characters
FIELDS = {"camera": "nikon", "rating": "4..", "type": "raw", "gps": "47.3,8.4..47.5,8.7"}  # each with an example
FILTERS = {"taken": "2024", "path": "holiday", "tag": "Grandma", **FIELDS}
_WEIGHT = re.compile(r"([0-9]++(?:\.[0-9]++)?+|\.[0-9]++)\s*+\*")  # possessive: time linear in a hostile text
_OPENING, _CLOSING = '"“”„', {'"': '"', "“": "“”", "”": "“”", "„": "“”"}  # telephones write curly ones
_WORD = re.compile(rf"[^\s(){_OPENING}]+")
_NAMED = re.compile(r"([A-Za-z]+):")
_SYMBOLS = {"&": "AND", "&&": "AND", "+": "AND", "|": "OR", "||": "OR", "!": "NOT", "-": "NOT"}
DEEPEST = 40  # groups, NOTs and weights inside each other
MOST_LABELS = 32  # each is a search of its own
WEIGHTS = (0.01, 100.0)
Kind = Literal["word", "phrase", "taken", "path", "tag", "field", "weight", "AND", "OR", "NOT", "(", ")", "end"]
_BEGIN: tuple[Kind, ...] = ("word", "phrase", "taken", "path", "tag", "field", "weight", "NOT", "(")


def parse(text: str) -> Query:
    """Read a query.

    Args:
        text: at most 10,000 characters with at most 32 labels.

    Returns:
        The tree; `query.show` writes it again.

    Raises:
        QueryError: it cannot be read; the error points at the place.
    """
    return _Parser(text).query()


class _Parser:
    """One pass over the tokens, by recursive descent."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0
        self._labels: set[str] = set()

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _taken(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _fail(self, what: str, offset: int, remedy: str) -> NoReturn:
        raise QueryError(what, self._text, offset, remedy)

    def query(self) -> Query:
        """The whole text."""
        if self._next.kind == "end":
            self._fail("the query is empty.", 0, "Write a tag, such as beach.")
        whole = self._any()
        if self._next.kind == ")":
            self._fail("this `)` closes nothing.", self._next.offset, "Leave it away, or open a group with `(`.")
        return whole

    def _any(self) -> Query:
        parts = [self._all()]
        while self._next.kind == "OR":
            self._at += 1
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Query:
        parts = [self._part()]
        while self._next.kind in ("AND", *_BEGIN):
            if self._next.kind == "AND":
                self._at += 1
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _part(self) -> Query:
        if self._next.kind not in _BEGIN:
            self._no_part()
        if self._depth == DEEPEST:
            remedy = f"At most {DEEPEST} groups, NOTs and weights may stand inside each other."
            self._fail("the query is too deep.", self._next.offset, remedy)
        self._depth += 1
        token = self._taken()
        if token.kind == "NOT":
            part = _negated(self._part())
        elif token.kind == "weight":
            part = self._weighted(token, self._part())
        elif token.kind == "(":
            part = self._group(token)
        else:
            part = self._leaf(token)
        self._depth -= 1
        return part

    def _no_part(self) -> NoReturn:
        """Say what is missing before the next token."""
        token, before = self._next, self._tokens[self._at - 1] if self._at else None
        if token.kind in ("AND", "OR") and (before is None or before.kind == "("):
            self._fail(f"{token.kind} has nothing before it.", token.offset, "Write a tag there, or leave it away.")
        if token.kind == ")" and before is not None and before.kind == "(":
            self._fail("the group is empty.", token.offset, "Write a tag between the parentheses.")
        if token.kind == ")" and before is None:
            self._fail("this `)` closes nothing.", token.offset, "Leave it away, or open a group with `(`.")
        if before is not None and before.kind == "(":
            self._fail("this `(` is not closed.", before.offset, "Write a tag and `)`, or leave it away.")
        name = before.text if before is not None and before.kind != "weight" else "the weight"
        self._fail(f"{name} has nothing after it.", token.offset, "Write a tag there, or leave it away.")

    def _group(self, opening: Token) -> Query:
        inside = self._any()
        if self._next.kind != ")":
            self._fail("this `(` is not closed.", opening.offset, "Close the group with `)`.")
        self._at += 1
        return inside

    def _weighted(self, token: Token, part: Query) -> Query:
        weight, (least, most) = float(token.text), WEIGHTS
        if not least <= weight <= most:
            remedy = f"Use {least} to {most:g}; to keep something out write NOT."
            self._fail("the weight is out of range.", token.offset, remedy)
        if isinstance(part, Weighted):
            self._fail("what follows has a weight already.", token.offset, "Leave one of the two away.")
        if not labels_of(part):
            self._fail("a filter has no weight.", token.offset, "Leave the number away: a filter is met or not.")
        return Weighted(weight, part)

    def _leaf(self, token: Token) -> Query:
        if token.kind == "taken":
            return time_range(token.text, self._text, token.value_offset)
        if token.kind in ("path", "tag"):
            return InPath(token.text) if token.kind == "path" else Tagged(self._phrase(token.text, token.value_offset))
        if token.kind == "field":
            name = self._text[token.offset : self._text.index(":", token.offset)].lower()
            return metadata_field(name, token.text, self._text, token.value_offset)
        words = [token.text]
        while token.kind == "word" and self._next.kind == "word":
            words.append(self._taken().text)
        return self._label(self._phrase(" ".join(words), token.offset), token)

    def _phrase(self, text: str, offset: int) -> str:
        text = " ".join(text.split())
        if not normalise_phrase(text):
            self._fail("there is no word in this phrase.", offset, "Write a tag, such as beach.")
        if len(text) > LONGEST:
            remedy = f"Use at most {LONGEST}; AND and OR join several tags."
            self._fail(f"this phrase has {len(text):,} characters.", offset, remedy)
        return text

    def _label(self, text: str, token: Token) -> Label:
        self._labels.add(text)
        if len(self._labels) > MOST_LABELS:
            self._fail(f"this is label {MOST_LABELS + 1}.", token.offset, f"Use at most {MOST_LABELS} different ones.")
        return Label(text, quoted=token.kind == "phrase")


def _negated(part: Query) -> Query:
    return Weighted(part.weight, Not(part.part)) if isinstance(part, Weighted) else Not(part)


@dataclass(frozen=True)
class Token:
    """One word or sign.

    Args:
        kind: what it is; `word` is bare, `phrase` was quoted, `taken`, `path`, `tag` and `field` are filters.
        text: the word, phrase, value of the filter or number of the weight.
        offset: of its first character, from 0.
        value_offset: of the first character of `text`.
    """

    kind: Kind
    text: str
    offset: int
    value_offset: int


def _tokens(text: str) -> Iterator[Token]:
    """Words and signs from left to right, then the end.

    Raises:
        QueryError: a character, filter or quote that cannot be read, or a text that is too long.
    """
    if len(text) > LONGEST_QUERY:
        what = f"the query has {len(text):,} characters."
        raise QueryError(what, text, LONGEST_QUERY, f"Use at most {LONGEST_QUERY:,}.")
    offset = 0
    while offset < len(text):
        if text[offset].isspace():
            offset += 1
        elif text[offset] in "()":
            yield Token("(" if text[offset] == "(" else ")", text[offset], offset, offset)
            offset += 1
        elif text[offset] in _OPENING:
            inside, end = _quoted(text, offset)
            yield Token("phrase", inside, offset, offset)
            offset = end
        elif found := _WEIGHT.match(text, offset):
            yield Token("weight", found[1], offset, offset)
            offset = found.end()
        elif text[offset] == "-" and offset + 1 < len(text) and not text[offset + 1].isspace():
            yield Token("NOT", "-", offset, offset)
            offset += 1
        else:
            token, offset = _word(text, offset)
            yield token
    yield Token("end", "", len(text), len(text))


def _word(text: str, offset: int) -> tuple[Token, int]:
    found = _WORD.match(text, offset)
    assert found is not None  # the caller has seen a character that is none of the others
    word = found[0]
    if word in OPERATORS:
        return Token(word, word, offset, offset), found.end()  # type: ignore[arg-type]
    if named := _NAMED.match(word):
        return _filter(text, offset, named[1], found.end())
    if word in _SYMBOLS:
        remedy = f"Write {_SYMBOLS[word]}; quote the phrase if the {word} belongs to it."
        raise QueryError(f"`{word}` is no operator.", text, offset, remedy)
    if word.startswith("!"):
        remedy = "Write NOT before what shall not be there; quote the phrase if the ! belongs to it."
        raise QueryError("`!` is no operator.", text, offset, remedy)
    if "*" in word:
        remedy = "Write a weight as in 2*dog; words are never cut short. Quote the phrase if the * belongs to it."
        raise QueryError("`*` stands after a number only.", text, offset + word.index("*"), remedy)
    if joining := re.search("[,;]", word):
        name = "comma" if joining[0] == "," else "semicolon"
        remedy = f"Write AND or OR between tags; quote the phrase if the {name} belongs to it."
        raise QueryError(f"a {name} joins no tags.", text, offset + joining.start(), remedy)
    return Token("word", word, offset, offset), found.end()


def _filter(text: str, offset: int, name: str, end: int) -> tuple[Token, int]:
    kind, start = name.lower(), offset + len(name) + 1
    if kind not in FILTERS:
        remedy = f"There are {', '.join(f'{one}:' for one in FILTERS)}. Quote the phrase if the colon belongs to it."
        raise QueryError("there is no filter of this name.", text, offset, remedy)
    value = text[start:end]
    if start < len(text) and text[start] in _OPENING:
        value, end = _quoted(text, start)
        start += 1
    if not value:
        remedy = f"Write it right after the colon, as in {kind}:{FILTERS[kind]}."
        raise QueryError(f"`{name}:` has no value.", text, min(start, len(text)), remedy)
    return Token("field" if kind in FIELDS else kind, value, offset, start), end  # type: ignore[arg-type]


def _quoted(text: str, offset: int) -> tuple[str, int]:
    """What is quoted from an offset on (a doubled quote stands for one), and the offset after it."""
    closing, at, inside = _CLOSING[text[offset]], offset + 1, []
    while at < len(text):
        if text[at] not in closing:
            inside.append(text[at])
            at += 1
        elif text[at] == '"' and text[at + 1 : at + 2] == '"':
            inside.append('"')
            at += 2
        else:
            return "".join(inside), at + 1
    raise QueryError("the quote is not closed.", text, offset, "Close it with a second quote.")


def leaves(query: Query) -> Iterator[Leaf]:
    """Labels and filters from left to right."""
    match query:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part) | Weighted(part=part):
            yield from leaves(part)
        case leaf:
            yield leaf


def labels_of(query: Query) -> tuple[str, ...]:
    """The labels of a query from left to right, each once."""
    return tuple(dict.fromkeys(leaf.text for leaf in leaves(query) if isinstance(leaf, Label)))
