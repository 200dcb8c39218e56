"""The query language: what is read, what is refused, and where the error points."""

from __future__ import annotations

import itertools
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagprism.labels.phrases import normalise_phrase
from tagprism.search.parse import DEEPEST, MOST_LABELS, labels_of, leaves, parse
from tagprism.search.query import And, Field, InPath, Label, Not, Or, Query, QueryError, Tagged, Taken, Weighted, show

DOG, CAT, SUN = Label("dog"), Label("cat"), Label("sun")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("dog", DOG),
        ("  polar   bear ", Label("polar bear")),
        ('"polar  bear"', Label("polar bear")),
        ("“polar bear” „cat“", And((Label("polar bear"), CAT))),
        ('"say ""hi"""', Label('say "hi"')),
        ("black and white", Label("black and white")),
        ('"black AND white"', Label("black AND white")),
        ("dog AND cat", And((DOG, CAT))),
        ("dog (cat)", And((DOG, CAT))),
        ('dog "cat"', And((DOG, CAT))),
        ("dog NOT cat", And((DOG, Not(CAT)))),
        ("dog -cat", And((DOG, Not(CAT)))),
        ("dog AND -cat", And((DOG, Not(CAT)))),
        ("t-shirt", Label("t-shirt")),
        ("NOT NOT dog", Not(Not(DOG))),
        ("--dog", Not(Not(DOG))),
        ("dog OR cat sun", Or((DOG, Label("cat sun")))),
        ('dog OR cat "sun"', Or((DOG, And((CAT, SUN))))),
        ("dog OR cat AND sun", Or((DOG, And((CAT, SUN))))),
        ("(dog OR cat) AND sun", And((Or((DOG, CAT)), SUN))),
        ("2*dog AND cat", And((Weighted(2, DOG), CAT))),
        ("2 * polar bear 0.5*cat", And((Weighted(2, Label("polar bear")), Weighted(0.5, CAT)))),
        (".5*(dog OR cat)", Weighted(0.5, Or((DOG, CAT)))),
        ("NOT 2*dog", Weighted(2, Not(DOG))),
        ("2*NOT dog", Weighted(2, Not(DOG))),
        ("taken:2024", Taken("2024", "2024")),
        ("taken:2024-03..2024-07", Taken("2024-03", "2024-07")),
        ("taken:2024-03..2024", Taken("2024-03", "2024")),
        ('taken:"2024-02-29T18:05"', Taken("2024-02-29T18:05", "2024-02-29T18:05")),
        ("taken:2024.. Taken:..2025", And((Taken("2024", ""), Taken("", "2025")))),
        ("dog path:holiday cat", And((DOG, InPath("holiday"), CAT))),
        (r'path:"C:\My Photos\"', InPath("C:\\My Photos\\")),
        ('tag:Oma NOT TAG:"Rex the  corgi"', And((Tagged("Oma"), Not(Tagged("Rex the corgi"))))),
        ("path:C:/photos NOT path:old", And((InPath("C:/photos"), Not(InPath("old"))))),
        ("dog camera:nikon Rating:3..", And((DOG, Field("camera", "nikon"), Field("rating", "3..")))),
        ('camera:"canon eos" -type:raw', And((Field("camera", "canon eos"), Not(Field("type", "raw"))))),
        ("gps:47.3,8.4..47.5,8.7", Field("gps", "47.3,8.4..47.5,8.7")),
        ("12:30", Label("12:30")),
        ("日本 の 写真", Label("日本 の 写真")),
    ],
)
def test_what_people_write_is_read_as_they_mean_it(text: str, tree: Query) -> None:
    assert parse(text) == tree
    assert parse(show(tree)) == tree


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "empty"),
        (" \t", 1, "empty"),
        ("AND dog", 1, "AND has nothing before it"),
        ("dog AND", 8, "AND has nothing after it"),
        ("dog OR OR cat", 8, "OR has nothing after it"),
        ("dog AND NOT", 12, "NOT has nothing after it"),
        ("2*", 3, "the weight has nothing after it"),
        ("(dog OR cat", 1, "not closed"),
        ("dog (", 5, "not closed"),
        ("()", 2, "the group is empty"),
        ("dog)", 4, "closes nothing"),
        (")", 1, "closes nothing"),
        ('dog "cat', 5, "quote is not closed"),
        ('dog ""', 5, "no word"),
        ("dog & cat", 5, "Write AND; quote the phrase if the & belongs to it."),
        ("dog || cat", 5, "Write OR"),
        ("dog - cat", 5, "Write NOT"),
        ("dog !cat", 5, "Write NOT"),
        ("dog, cat", 4, "Write AND or OR"),
        ("dog;cat", 4, "the semicolon"),
        ("dog*", 4, "after a number"),
        ("0*dog", 1, "out of range"),
        ("dog 101*cat", 5, "out of range"),
        (f"{'9' * 400}*dog", 1, "out of range"),
        ("2*3*dog", 1, "has a weight already"),
        ("2*taken:2024", 1, "a filter has no weight"),
        ("dog place:rome", 5, "no filter of this name"),
        ("http://dog", 1, "no filter of this name"),
        ("path: holiday", 6, "no value"),
        ('path:""', 7, "no value"),
        ("taken:yesterday", 7, "this is no time"),
        ("taken:2024-13", 7, "not in the calendar"),
        ("taken:2024..2023-02-30", 13, "not in the calendar"),
        ("taken:2024..2023", 7, "ends before it begins"),
        ("taken:..", 7, "this is no time"),
        ("taken:٢٠٢٤", 7, "this is no time"),
        ("rating:6", 8, "no value of rating:"),
        ("rating:3..1", 8, "no value of rating:"),
        ("type:film", 6, "no value of type:"),
        ("dog gps:47,8", 9, "no value of gps:"),
        ("gps:99,8..100,9", 5, "no value of gps:"),
        ("gps:nan,8..48,9", 5, "no value of gps:"),
        ("2*camera:nikon", 1, "a filter has no weight"),
        ("dog " + "x" * 201, 1, "characters"),
        (" OR ".join(f"tag{i}" for i in range(MOST_LABELS + 1)), 9 * MOST_LABELS - 9, "label 33"),
        ("(" * DEEPEST + "dog" + ")" * DEEPEST, DEEPEST + 1, "too deep"),
    ],
)
def test_an_error_points_at_the_place_and_says_what_to_do(text: str, column: int, words: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    error = caught.value
    assert words in str(error) and error.remedy
    if words != "label 33":
        assert error.column == column
    first, line, mark, remedy = str(error).split("\n")
    assert first.startswith(f"query, column {error.column}: ")
    assert mark.strip() == "^" and remedy.strip() == error.remedy
    under = line[mark.index("^") :][:1]
    assert under == (text[error.column - 1 : error.column])


def test_the_mark_stands_below_wide_letters() -> None:
    with pytest.raises(QueryError) as caught:
        parse("写真 AND")
    assert str(caught.value).split("\n")[1:3] == ["  写真 AND", " " * 2 + " " * 8 + "^"]


_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)
_LABELS = _WORDS.map(lambda text: " ".join(text.split())).filter(normalise_phrase).map(Label)
_YEARS = st.integers(1, 9999).map(lambda year: f"{year:04}")
_TAKEN = st.tuples(_YEARS, _YEARS).map(sorted).map(lambda pair: Taken(*pair))
_FACTS = st.sampled_from([Field("camera", "canon eos"), Field("rating", "3.."), Field("gps", "-1.5,170..2,-170")])
_LEAVES = _LABELS | _TAKEN | _FACTS | _WORDS.map(InPath) | _LABELS.map(lambda label: Tagged(label.text))


def _weightless(query: Query) -> Query:
    return query.part if isinstance(query, Weighted) else query


def _weigh(pair: tuple[float, Query]) -> Query:
    part = _weightless(pair[1])
    return Weighted(pair[0], part) if any(isinstance(leaf, Label) for leaf in leaves(part)) else part


def _grow(parts: st.SearchStrategy[Query]) -> st.SearchStrategy[Query]:
    several = st.lists(parts, min_size=2, max_size=4).map(tuple)
    weights = st.floats(0.01, 100).map(lambda weight: round(weight, 3))
    negated = parts.map(_weightless).map(Not)
    return several.map(And) | several.map(Or) | negated | st.tuples(weights, parts | negated).map(_weigh)


_TREES: st.SearchStrategy[Query] = st.recursive(_LEAVES, _grow, max_leaves=12)


@given(_TREES)
def test_a_shown_tree_reads_as_itself(tree: Query) -> None:
    assert parse(show(tree)) == tree


_PIECES = st.sampled_from(
    [
        "dog",
        "cat",
        " ",
        "AND",
        "OR",
        "NOT",
        "(",
        ")",
        '"',
        "“",
        "-",
        "2*",
        "*",
        ",",
        ":",
        "taken:",
        "2024",
        "..",
        "path:",
    ]
)


@given(st.lists(_PIECES | st.characters(), max_size=40).map("".join))
@example("\ud800 \x00")
@settings(max_examples=500)
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        tree = parse(text)
    except QueryError as error:
        assert 1 <= error.column <= len(text) + 1
    else:
        assert parse(show(tree)) == tree


@pytest.mark.parametrize(
    "piece", ["(", "-", "NOT ", "1", "a ", '"', '""', "((a", "2*(", "taken:", "a AND ", "a OR -", "2 ", "*", "\0", " "]
)
def test_a_hostile_text_is_refused_at_once(piece: str) -> None:
    for length in (9_999, 100_000):
        text = piece * (length // len(piece))
        start = time.process_time()
        with pytest.raises(QueryError) as caught:
            parse(text)
        assert time.process_time() - start < 1
        assert len(str(caught.value)) < 500


def _truth(tree: Query, true: set[str]) -> bool:
    match tree:
        case And(parts):
            return all(_truth(part, true) for part in parts)
        case Or(parts):
            return any(_truth(part, true) for part in parts)
        case Not(part):
            return not _truth(part, true)
        case Weighted(_, part):
            return _truth(part, true)
        case Label(text):
            return text in true
    raise AssertionError(tree)


_TERMS = st.deferred(lambda: st.sampled_from(['"a"', '"b"', '"c"']) | _NOTS | _GROUPS)
_NOTS = st.builds(lambda sign, term: f"{sign}{term}", st.sampled_from(["NOT ", "-", "2*"]), _TERMS).filter(
    lambda text: not re.search(r"\*((NOT |-)*)\d\*|(\d\*)(NOT |-)*\d\*", text)
)
_CHAINS = st.lists(st.tuples(_TERMS, st.sampled_from([" AND ", " OR ", " "])), min_size=1, max_size=5).map(
    lambda pairs: "".join(term + sign for term, sign in pairs[:-1]) + pairs[-1][0]
)
_GROUPS = _CHAINS.map(lambda text: f"({text})")


@given(_CHAINS)
@settings(max_examples=150)
@pytest.mark.slow
def test_operators_bind_as_in_python(text: str) -> None:
    try:
        tree = parse(text)
    except QueryError as error:
        assert "weight" in str(error) or "deep" in str(error)
        return
    python = re.sub(r"-|NOT", " not ", text.replace("2*", "")).replace("AND", "and").replace("OR", "or")
    while (joined := re.sub(r'(["\)])\s*((not\s+)*["\(])(?=[abc"(n ])', r"\1 and \2", python)) != python:
        python = joined
    python = python.replace('"', "")
    for values in itertools.product([False, True], repeat=3):
        names = dict(zip("abc", values, strict=True))
        expected = eval(python, {"__builtins__": {}}, names)
        assert _truth(tree, {name for name, value in names.items() if value}) == expected, python


def test_labels_come_once_from_left_to_right() -> None:
    assert labels_of(parse("sun dog OR NOT (2*cat AND sun dog) path:x")) == ("sun dog", "cat")
