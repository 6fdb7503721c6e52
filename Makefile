# Document Queue Service. `make` alone lists what there is.

# Settings may be given on the command line, because make hands such variables on to the program:
# make run PORT=8080 DATA_DIR=/srv/docqueue

PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python3.14 python; do \
	if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then command -v "$$name"; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run test check chaos bench bench-depth bench-growth bench-bloat bench-upload bench-documents bench-extraction bench-ocr bench-hostile fuzz fix clean
.DELETE_ON_ERROR:

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/installed ## Run everything here; prints an address with a sign-in link (make run PORT=8080)
	@exec $(BIN)/python -m jobs.launcher

test: $(VENV)/installed-dev ## Run all tests, with real servers and a real browser
	@CHROMIUM="$$(sh tests/support/find_chromium.sh $(BIN)/python)" || exit 1; export CHROMIUM; \
	exec $(BIN)/pytest -n 3 --dist worksteal $(ARGS)

check: $(VENV)/installed-dev ## Check format, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

chaos: $(VENV)/installed-dev ## Kill, stop and flush everything for an hour; writes docs/chaos.md (ARGS=--help)
	@exec $(BIN)/python -m tests.chaos.run $(or $(ARGS),--write docs/chaos.md)

bench: $(VENV)/installed-dev ## Compare with other queues for Python, each in its own environment (ARGS=--help)
	@exec $(BIN)/python -m benchmarks.queues.run $(ARGS)

bench-depth: $(VENV)/installed-dev ## Compare a queue of two million items with an empty one (ARGS="--database sqlite")
	@exec $(BIN)/python -m benchmarks.depth $(ARGS)

bench-growth: $(VENV)/installed-dev ## Show what a job costs with more workers and on longer queues (ARGS=--quick)
	@exec $(BIN)/python -m benchmarks.growth $(ARGS)

bench-bloat: $(VENV)/installed-dev ## Let a million items pass through PostgreSQL and look at the tables (ARGS="--items 100000")
	@exec $(BIN)/python -m benchmarks.bloat $(ARGS)

bench-upload: $(VENV)/installed-dev ## Compare uploads with a bare Flask view (ARGS="--write docs/benchmarks.md")
	@exec $(BIN)/python -m benchmarks.upload $(ARGS)

bench-documents: $(VENV)/installed-dev ## Compare whole documents with stock rq and the bare engine (ARGS="--documents 200")
	@exec $(BIN)/python -m benchmarks.documents $(ARGS)

bench-extraction: $(VENV)/installed-dev ## Compare how PDFs are read with other engines (ARGS="--turns 1")
	@exec $(BIN)/python -m benchmarks.engines.run $(ARGS)

bench-hostile: $(VENV)/installed-dev ## Show what 500 broken files do to workers and neighbours (ARGS="--mutations 50")
	@exec $(BIN)/python -m benchmarks.hostile $(ARGS)

fuzz: $(VENV)/installed-dev ## Fuzz our own parsers with atheris (ARGS="--target iwa --seconds 60")
	@$(BIN)/pip install --quiet --requirement requirements-fuzz.txt
	@exec $(BIN)/python -m tests.fuzz.run $(ARGS)

bench-ocr: $(VENV)/installed-dev ## Show how well scans are read (ARGS="--engine rapidocr"), with the corpus beside the project
	@exec $(BIN)/python -m benchmarks.extraction_ocr $(ARGS)

fix: $(VENV)/installed-dev ## Repair format and what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what was installed and built, never the data
	rm -rf $(VENV) .bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, e.g.: sudo apt-get install python3 python3-venv, or: brew install python"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python cannot make virtual environments. Run: sudo apt-get install python3-venv"; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# The stamps are newer than the requirements exactly while the right packages are installed.
$(VENV)/installed: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt requirements-rapidocr.txt $(VENV)/installed
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	@touch $@
