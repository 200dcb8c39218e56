"""Makes `src/tagprism/labels/english_words.xz` from the word lists of Debian's wamerican and wbritish (SCOWL).

apt-get install wamerican wbritish
python recipes/english_words/make.py /usr/share/dict/american-english /usr/share/dict/british-english
"""

from __future__ import annotations

import lzma
import re
import sys
from pathlib import Path

from tagprism.labels.phrases import bare_phrase

OUT = Path(__file__).parents[2] / "src/tagprism/labels/english_words.xz"


def main(lists: list[str]) -> None:
    """Write the words without names, possessives and plurals, sorted, one a line."""
    words = {word for path in lists for word in Path(path).read_text(encoding="utf-8").split()}
    common = (bare_phrase(word) for word in words if word.islower() or (word.isupper() and len(word) > 2))
    kept = sorted({word for word in common if re.fullmatch("[a-z]{2,}", word)})
    OUT.write_bytes(lzma.compress("\n".join(kept).encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(kept):,} words, {OUT.stat().st_size:,} bytes: {OUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
