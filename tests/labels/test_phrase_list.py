"""Word lists: aliases, comments, line ends, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagprism.errors import InputError
from tagprism.labels.phrase_list import read_phrases, spellings


def listed(tmp_path: Path, data: bytes) -> dict[str, tuple[str, ...]]:
    (tmp_path / "words.txt").write_bytes(data)
    return read_phrases(tmp_path / "words.txt")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_phrase_a_line_with_aliases_after_tabs(tmp_path: Path, end: bytes) -> None:
    lines = (b"\xef\xbb\xbfsofa\tcouch\t settee ", b"", b"# seats", b"#chair", b"  city   skyline\t\t", b"caf\xc3\xa9")
    labels = listed(tmp_path, end.join(lines))
    assert labels == {"sofa": ("couch", "settee"), "city skyline": (), "caf\u00e9": ()}
    assert spellings(labels) == ["sofa", "couch", "settee", "city skyline", "caf\u00e9"]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"sofa\tcouch\n\nbed\nCouch\n", r"line 4: `Couch` is given twice \(first in line 1\)"),
        (b"bed\nsofa\tSofa\n", r"line 2: `Sofa` is given twice\. Keep one"),
        (b"sofa\t-\n", "line 1: `-` is not a word"),
        (b"#beach\n#sea\n", "no word in it.*start with `#` are comments"),
        (b"", "no word in it"),
        (b"\xff", "cannot be read"),
    ],
)
def test_what_is_refused(tmp_path: Path, data: bytes, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        listed(tmp_path, data)


@pytest.mark.slow
def test_a_hundred_thousand_words(tmp_path: Path) -> None:
    labels = listed(tmp_path, "".join(f"word {n}\talias {n}\n" for n in range(100_000)).encode())
    assert len(labels) == 100_000
    assert labels["word 99999"] == ("alias 99999",)
