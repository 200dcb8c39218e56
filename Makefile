# `make demo` and `make test` are all a fresh machine needs: Python 3.11 or newer with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check docs photos-lite clean

demo: $(VENV)/installed
	$(BIN)/tagprism demo

test: $(VENV)/installed
	$(BIN)/python -m pytest

check: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documents as a site in build/docs, without a network; a broken link is an error.
docs: $(VENV)/installed
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env --conf-dir docs . build/docs

# The bundle in the package, made again: make photos-lite DATA=FOLDER, with corel5k/ and coco_captions/ in it (docs/photos_lite.md).
photos-lite: $(VENV)/installed
	$(BIN)/tagprism data join tagged:$(DATA)/corel5k tagged:$(DATA)/coco_captions --unknown tagged:$(DATA)/coco_captions --into photos-lite/data
	$(BIN)/python recipes/photos_lite/split.py tagged:photos-lite/data > photos-lite/split.json
	$(BIN)/tagprism train recipes/photos_lite.toml --data tagged:photos-lite/data --split photos-lite/split.json#1 --vocabulary recipes/photos_lite/vocabulary.txt --out photos-lite/run
	rm -rf src/tagprism/bundles/photos-lite
	$(BIN)/tagprism export photos-lite/run --precision fp16 --no-text --into src/tagprism/bundles/photos-lite
	sed 's/^# photos-lite$$/## The run/' src/tagprism/bundles/photos-lite/README.md > photos-lite/generated.md
	cat recipes/photos_lite/card.md photos-lite/generated.md > src/tagprism/bundles/photos-lite/README.md

# torch and torchvision are resolved together with the rest, so that their builds fit each other.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[train,dev]"
	touch $@

clean:
	rm -rf $(VENV) demo
