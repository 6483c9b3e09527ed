# make demo    a whole campaign on two cores, no key, no network but the package registries
# make test    the tests
# make check   formatters, linters, types of files (what CI runs before the tests)
PYTHON ?= python3
BIN := .venv/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check setup clean

demo: setup
	@test -f demo/task.yaml || $(BIN)/planner init dry_ice_nitrogen demo
	$(BIN)/planner run --campaign demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules

setup: .venv/installed

.venv/installed: pyproject.toml setup.py constraints.txt $(wildcard mtp/kernel/*)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv build demo *.egg-info mtp/*.so
