# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv first, or go on where that stopped.

PYTHON ?= python3
VENV := .venv/bin
SETUP := PYTHONSAFEPATH= PYTHONDONTWRITEBYTECODE=1 $(PYTHON) scripts/setup_env.py
# A GPU machine without a network brings its own packages; there, the Python on PATH is used.
GPU_PYTHON := $(if $(wildcard $(VENV)/python),$(VENV)/python,$(PYTHON))
PYTEST := $(VENV)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup setup-gpu demo test check test-gpu soak mutants demo-model bench lock clean distclean

help: ## show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## .venv with the pinned CPU stack (or the GPU stack, where that is there already)
	@$(SETUP) auto

setup-gpu: ## .venv with the pinned stack for an NVIDIA GPU
	@$(SETUP) gpu

demo: setup ## three rounds with the tiny model that ships: about five minutes on two cores
	@$(VENV)/constitute run configs/demo.yaml

test: check ## every check and every test that needs no GPU: at most ten minutes on two cores
	@$(PYTEST) -m "not gpu and not soak" -n 2 --dist loadfile --no-loadscope-reorder

check: setup ## formatting, lint and types
	@$(VENV)/ruff format --check .
	@$(VENV)/ruff check .
	@$(VENV)/mypy

test-gpu: ## the tests that need a CUDA device; no network, no set-up, at most ten minutes
	@files=$$(grep -rlE 'mark\.gpu' tests --include='*.py'); \
	if [ -z "$$files" ]; then echo "tests/ holds no test marked gpu" >&2; exit 2; fi; \
	PYTHONPATH=. timeout 600 $(GPU_PYTHON) -m pytest -m gpu $$files

soak: setup ## long fault runs: kill -9 at random moments, a crash at every write boundary
	@$(PYTEST) -m soak --timeout 7200

mutants: setup ## seeded bugs, each of which must turn the tests red
	@$(VENV)/python -m tests.mutants

demo-model: setup ## train demo/'s language model again from its recipe
	@$(VENV)/python -m demo.build

bench: setup ## the measurements of benchmarks/, as JSON lines
	@for script in benchmarks/*.py; do [ ! -e "$$script" ] || $(VENV)/python "$$script" || exit 1; done

lock: setup ## compile requirements/*.txt from pyproject.toml again
	@bash scripts/lock.sh

clean: ## remove caches and build folders; .venv and outputs/ stay
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	@rm -rf .venv
