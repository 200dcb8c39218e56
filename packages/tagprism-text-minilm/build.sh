#!/usr/bin/env bash
# Make the int8 encoder and pack it as a wheel: build.sh DIST_FOLDER. Needs tagprism[train] in the active environment.
set -euo pipefail
out=$(realpath -m "${1:?name the folder for the wheel}")
cd "$(dirname "$0")"
python -m tagprism labels build-encoder --encoder minilm --precision int8 --into src/tagprism_text_minilm
python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$out" .
