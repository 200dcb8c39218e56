# `make demo` and `make test` are all a fresh machine needs: Python 3.11 or newer with venv. On Windows: make of Git's bash.
VENV := .venv
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif
# Tests run in two processes of one thread each; a file's tests stay together, as they share what the file makes once.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.PHONY: demo test test-fast attack check docs dist constraints licences photos-lite clean

demo: $(VENV)/installed
	$(BIN)/tagprism demo

test test-fast attack: export OMP_NUM_THREADS := 1
# Some machines forbid compiled files; without them every process of the tests would compile its imports again.
test test-fast attack: export PYTHONDONTWRITEBYTECODE :=

# Everything.
test: $(VENV)/installed
	$(PYTEST)

# What a change most likely breaks, in under two minutes on two idle cores.
test-fast: $(VENV)/installed
	$(PYTEST) -m "not slow" --hypothesis-profile fast

# The attacks on the server, larger than in `make test`; some minutes.
attack: export TAGPRISM_ATTACK := 1
attack: $(VENV)/installed
	$(BIN)/python -m pytest tests/attack

check: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --allow-untyped-calls --no-warn-return-any benchmarks recipes
	$(BIN)/lint-imports
	$(BIN)/python .ci/licences.py --check

# The documents as a site in build/docs, without a network; a broken link is an error.
docs: $(VENV)/installed
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env --conf-dir docs . build/docs

# What a release uploads, in dist/.
dist: $(VENV)/installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*

# The newest versions of all that is depended on, each with the hashes of its files: what `pip install --constraint` takes.
constraints: $(VENV)/installed
	$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --no-header --output-file constraints.txt

# The table of licences, from what the installed packages say of themselves.
licences: $(VENV)/installed
	$(BIN)/python .ci/licences.py

# The bundle in the package, made again: make photos-lite DATA=FOLDER, with corel5k/, coco_captions/ and flickr8k/ in it (docs/photos_lite.md).
LITE := recipes/photos_lite
LITE_CAPTIONS = photos-lite/coco_captions $(DATA)/flickr8k
photos-lite: photos-lite/halves.npz
	rm -rf photos-lite/run
	$(BIN)/tagprism train $(LITE).toml --data tagged:photos-lite/data --split photos-lite/split.json#1 --vocabulary $(LITE)/vocabulary.txt --out photos-lite/run
	$(BIN)/python $(LITE)/calibrate.py photos-lite/run tagged:photos-lite/data photos-lite/halves.npz $(DATA)/coco_captions/caption_counts.json $(DATA)/flickr8k/caption_counts.json
	rm -rf src/tagprism/bundles/photos-lite
	$(BIN)/tagprism export photos-lite/run --precision fp16 --no-text --into src/tagprism/bundles/photos-lite
	# Of a photo and its copy one may train and the other validate, so that figure would be too good.
	sed 's/^# photos-lite$$/## The run/; /^| validation mAP/d' src/tagprism/bundles/photos-lite/README.md > photos-lite/generated.md
	cat $(LITE)/card.md photos-lite/generated.md > src/tagprism/bundles/photos-lite/README.md

# The part that another vocabulary leaves as it is.
photos-lite/halves.npz: $(VENV)/installed
	mkdir -p photos-lite/coco_captions
	ln -sfn $(abspath $(DATA))/coco_captions/images photos-lite/coco_captions/images
	cp $(DATA)/coco_captions/labels_wide.json photos-lite/coco_captions/labels.json
	for source in $(LITE_CAPTIONS); do \
		$(BIN)/python $(LITE)/copies.py tagged:$$source photos-lite/small_$$(basename $$source) || exit 1; done
	$(BIN)/tagprism data join tagged:$(DATA)/corel5k \
		$(foreach source,$(LITE_CAPTIONS) photos-lite/small_coco_captions photos-lite/small_flickr8k,tagged:$(source) --unknown tagged:$(source)) \
		--into photos-lite/data || test $$? = 4 # six photos of Flickr8k have no label
	$(BIN)/python $(LITE)/split.py tagged:photos-lite/data > photos-lite/split.json
	test -d photos-lite/nobody || $(BIN)/python $(LITE)/nobody.py photos-lite/nobody
	$(BIN)/python $(LITE)/yardstick.py tagged:photos-lite/data $(LITE).toml tagged:photos-lite/data $@ nobody=photos-lite/nobody

# torch and torchvision are resolved together with the rest, so that their builds fit each other.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[train,dev]"
	touch $@

clean:
	rm -rf $(VENV) build demo dist
