# The two commands of the README are `make tune` and `make test`.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: tune test drills lint bench clean
.DELETE_ON_ERROR:

$(VENV)/.installed: pyproject.toml
	@echo "installing into $(VENV)" >&2  # not on standard output, which is JSON with `make bench JSON=1`
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

tune: $(VENV)/.installed  ## search FBR on the built-in sample (ARGS="--data voc12 --root DIR" for photographs)
	$(BIN)/wsss-platform tune fbr --trials 4 $(ARGS)

test: $(VENV)/.installed  ## every test that this machine can run: those without a cluster, then Ray and Slurm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not ray and not slurm" $(ARGS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "(ray or slurm) and not upstream and not drill" $(ARGS) || [ $$? -eq 5 ]

drills: $(VENV)/.installed  ## studies that are really broken: nodes, workers, disks, memory, Ctrl-C; one after the other
	$(BIN)/python -m pytest -m drill $(ARGS) || [ $$? -eq 5 ]

lint: $(VENV)/.installed  ## style, types, shell scripts
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	$(BIN)/shellcheck --shell=bash cluster/slurm/ray.sbatch .ci/run

bench: $(VENV)/.installed  ## ratios of both sides in one run; never timed tests
	@$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
