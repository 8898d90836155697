# `make train export` and `make test` work first in a fresh clone: they set up .venv by themselves.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup train export distill verify predict bench test coverage proof oldest lint typecheck docs check clean

RECIPE ?= starter
RUN ?= runs/$(RECIPE)
PYTHON ?= python3
LAYERS ?= 3
STUDENT ?= $(RUN)-$(LAYERS)-layers
TEXT ?= This movie was great!
EXTRAS ?=
JOBS ?= 2

BIN := .venv/bin
# The tests of the real model take the run of `make train export`.
STARTER = $(if $(wildcard runs/starter/onnx/parity.json),FTX_STARTER_RUN=$${FTX_STARTER_RUN:-runs/starter})
READY := .venv/ready
FTX := $(BIN)/ftx
OLDEST := .venv-oldest

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: RECIPE=$(RECIPE) RUN=$(RUN) LAYERS=$(LAYERS) PYTHON=$(PYTHON) JOBS=$(JOBS)"

setup: $(READY)  ## Create .venv with every pinned package, and those of EXTRAS=ray,parquet,peers,clients,docs
	@$(if $(EXTRAS),$(BIN)/python -m pip install -qq --no-compile -c constraints.txt -e '.[$(EXTRAS)]')

# Written last: what an interrupted set-up left behind is cleared away by the next one.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Error: $(PYTHON) is $$($(PYTHON) -V 2>&1), expected Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up .venv (one to three minutes)" >&2
	@rm -f $(READY)
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -qq -c constraints.txt --upgrade pip
	@$(BIN)/python -m pip install -qq --no-compile -c constraints.txt -e '.[cpu,train,export,report,serve,dev]'
	@touch $(READY)

train: $(READY)  ## Fine-tune RECIPE into RUN
	@if [ -e "$(RUN)/metrics.json" ]; then \
		echo "$(RUN) is there already; to train it again: $(FTX) train --recipe $(RECIPE) --output $(RUN) --overwrite"; \
	else $(FTX) train --recipe "$(RECIPE)" --output "$(RUN)"; fi

export: $(READY)  ## Export RUN to ONNX, quantise it, prove it
	@if [ -e "$(RUN)/onnx/parity.json" ]; then \
		echo "$(RUN)/onnx is there already; to export it again: $(FTX) export $(RUN) --overwrite"; \
	else $(FTX) export "$(RUN)"; fi

distill: $(READY)  ## Distil RUN into a student of LAYERS layers, and export it
	@if [ -e "$(STUDENT)/distillation.json" ]; then \
		echo "$(STUDENT) is there already; to distil it again: $(FTX) distill $(RUN) --layers $(LAYERS) --output $(STUDENT) --overwrite"; \
	else $(FTX) distill "$(RUN)" --layers $(LAYERS) --output "$(STUDENT)"; fi
	@[ -e "$(STUDENT)/onnx/parity.json" ] || $(FTX) export "$(STUDENT)"

verify: $(READY)  ## Hold the exported file against PyTorch
	@$(FTX) verify --onnx "$(RUN)/onnx" --against "$(RUN)"

predict: $(READY)  ## Predict TEXT
	@$(FTX) predict --onnx "$(RUN)/onnx" "$(TEXT)"

bench: $(READY)  ## Measure int8, fp32, PyTorch and what else is installed side by side, into RUN/bench
	@$(FTX) bench --onnx "$(RUN)/onnx" --against "$(RUN)" --peers --output "$(RUN)/bench"

test: $(READY)  ## Run the tests, JOBS at a time
	@$(STARTER) $(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile

coverage: $(READY)  ## Show which lines the tests run
	@$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile --cov --cov-report term:skip-covered

proof: $(READY)  ## Run the slow tests: kills, a model hub, two processes
	@$(BIN)/python -m pytest -m slow

$(OLDEST)/ready: pyproject.toml constraints-oldest.txt
	@rm -f $@
	@$(PYTHON) -m venv --clear $(OLDEST)
	@$(OLDEST)/bin/python -m pip install -qq -c constraints-oldest.txt --upgrade pip
	@$(OLDEST)/bin/python -m pip install -qq --no-compile -c constraints-oldest.txt \
		-e '.[cpu,train,export,report,serve,ray,parquet,peers,clients,dev]'
	@touch $@

oldest: $(OLDEST)/ready  ## Run the tests on the oldest packages that pyproject.toml allows
	@FTX_REQUIRE_EXTRAS=1 $(OLDEST)/bin/python -m pytest -m "not slow" tests/ftx tests/runtime tests/export

lint: $(READY)  ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

typecheck: $(READY)  ## Check types, and who imports whom
	@$(BIN)/mypy -p ftx
	@$(BIN)/lint-imports --no-cache

docs: $(READY)  ## Build the documentation into site/, warnings as errors
	@$(BIN)/python -c 'import material, mkdocs_click, mkdocstrings' 2> /dev/null || \
		$(BIN)/python -m pip install -qq --no-compile -c constraints.txt -e '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html" >&2

check: lint typecheck test  ## Everything that must pass

clean:  ## Remove .venv and what tools left, not runs
	rm -rf .venv $(OLDEST) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
