# Two commands do everything on a fresh machine: `make demo` and `make test`. Each makes .venv when it is not there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := packaging backends handlers bentos manifests examples tests benchmarks

.DEFAULT_GOAL := help
.PHONY: help demo test unit lint format constraints tools clean

help:
	@echo "make demo         one spec on three real servers, and a table that says whether they agree"
	@echo "make test         all tests, real servers included"
	@echo "make unit         the tests that start no server"
	@echo "make lint         ruff, mypy, import contracts"
	@echo "make format       rewrite the sources in the project's format"
	@echo "make tools        the linters that some tests read manifests and workflows with, in .tools"
	@echo "make constraints  pin all dependencies anew"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11) and "modelport needs Python 3.11; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/modelport validate examples/digits/modelport.yaml
	$(BIN)/modelport verify examples/digits/modelport.yaml --backend all --output dist

test: $(STAMP)
	$(BIN)/python -m pytest

unit: $(STAMP)
	$(BIN)/python -m pytest -m "not server"

lint: $(STAMP)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

# Linters of what modelport writes: they pin too much to stand beside the servers.
tools: .tools/.installed

.tools/.installed: .ci/tools.txt
	test -x .tools/bin/python || $(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --requirement .ci/tools.txt
	touch $@

constraints: $(STAMP)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --python-version 3.11 --all-extras --no-annotate --no-header pyproject.toml \
	  --output-file constraints.txt
	sed -i 's/^torch==\([0-9.]*\).*/torch==\1/; /^nvidia-\(cu\|nccl\|nv\)/d; /^cuda-\|^triton/d' constraints.txt

clean:
	rm -rf $(VENV) .tools dist .mypy_cache .ruff_cache .pytest_cache
