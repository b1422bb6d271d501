# The two commands of the README are `make tune` and `make test`.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=
# MARK=gpu make test: the tests with a marker, or an expression of markers, in place of the first tier
MARK   ?=
# LOCK=requirements.lock: exactly these versions, as CI has them, in place of the newest that pyproject.toml allows
LOCK   ?=
UV     := $(shell command -v uv)

PYTEST   := $(BIN)/python -m pytest
CLUSTERS := ray or slurm
APART    := drill or upstream
# A study on a real cluster has processes of its own: two files at a time, and a file's tests share their cluster.
ON_CLUSTERS := $(PYTEST) -n 2 --dist loadfile
# All tests without a cluster are on all cores, one thread each.
ON_CORES := OMP_NUM_THREADS=1 $(PYTEST) -n auto --dist worksteal
# With ARGS, one of two calls may find nothing to do.
OR_NONE  := || [ $$? -eq 5 ]
SCRIPTS  := .ci/run cluster/slurm/ray.sbatch

.PHONY: tune test test-all drills lint documents bench scale docs lock clean
.DELETE_ON_ERROR:

$(VENV)/.installed: pyproject.toml $(LOCK)
	@echo "installing into $(VENV)" >&2  # not on standard output, which is JSON with `make bench JSON=1`
ifneq ($(UV),)
	@$(UV) venv --quiet --seed --allow-existing --python $(PYTHON) $(VENV)
	@$(UV) pip install --quiet --python $(BIN)/python $(LOCK:%=--constraint %) --editable '.[dev]'
else
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet $(LOCK:%=--constraint %) --editable '.[dev]'
endif
	@touch $@

tune: $(VENV)/.installed  ## search FBR on the built-in sample (ARGS="--data DIR" for photographs)
	$(BIN)/wsss-platform tune fbr --trials 4 $(ARGS)

ifeq ($(MARK),)
test: $(VENV)/.installed  ## minutes: all that needs neither a cluster nor much time, and one run on a real Ray
	$(ON_CORES) -m "smoke or not ($(CLUSTERS) or $(APART) or slow)" $(ARGS)
else
test: $(VENV)/.installed
	$(ON_CLUSTERS) -m "$(MARK)" $(ARGS)
endif

test-all: $(VENV)/.installed  ## every test that your machine can run, but for drills: first without a cluster, then Ray and Slurm
	$(ON_CORES) -m "not ($(CLUSTERS) or $(APART))" $(ARGS) $(OR_NONE)
	$(ON_CLUSTERS) -m "($(CLUSTERS)) and not ($(APART))" $(ARGS) $(OR_NONE)

drills: $(VENV)/.installed  ## studies that are really broken: nodes, workers, disks, memory, Ctrl-C; one after the other
	$(PYTEST) -m drill $(ARGS)

lint: $(VENV)/.installed  ## style, types, shell scripts
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	$(BIN)/shellcheck --shell=bash $(SCRIPTS)

lock: $(VENV)/.installed  ## write this environment's versions into requirements.lock, and with hashes into cluster/image.lock
	@test -n "$(UV)" || { echo "make lock needs uv (pip install uv): it writes the hashes" >&2; exit 1; }
	echo "# The versions that CI installs (.ci/run). To renew them: make clean lock" >requirements.lock
	$(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+.*//' >>requirements.lock
	$(UV) pip compile --quiet --no-header --no-annotate --generate-hashes --python-version 3.11 \
	    --python-platform x86_64-unknown-linux-gnu --extra search --extra postgres --constraint requirements.lock \
	    pyproject.toml >cluster/image.lock.part && mv cluster/image.lock.part cluster/image.lock

documents: $(VENV)/.installed  ## write docs/documents.md and docs/options.md from the classes that they describe
	$(BIN)/python -m wsss_platform.report.documents_page >docs/documents.md
	$(BIN)/python -m wsss_platform.cli.options_page >docs/options.md

bench: $(VENV)/.installed  ## ratios of both sides in one run; never timed tests
	@$(BIN)/python -m benchmarks $(ARGS)

scale: $(VENV)/.installed  ## 10,582 generated images on two raylets, one killed at half time (ARGS="--images 600": a quick one)
	$(BIN)/python -m benchmarks.scale $(ARGS)

# An environment of its own, without the platform: docstrings are read, not imported.
DOCS := .venv-docs
EXTRA := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")

$(DOCS)/.installed: pyproject.toml
	@echo "installing into $(DOCS)" >&2
	@$(PYTHON) -m venv $(DOCS)
	@$(PYTHON) -c '$(EXTRA)' >$(DOCS)/requirements.txt
	@$(DOCS)/bin/python -m pip install --quiet --requirement $(DOCS)/requirements.txt
	@touch $@

# Not --quiet: it hides warnings from --strict, too.
docs: $(DOCS)/.installed  ## the documents and a reference from docstrings into site/
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict $(ARGS)

clean:
	rm -rf $(VENV) $(DOCS) site build dist .pytest_cache .mypy_cache .ruff_cache
