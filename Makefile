# Every target works on a bare machine with python3 (3.11 to 3.13), venv and pip: it makes .venv, installs what it needs once, and runs.
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

DEMO ?=
JOBS ?= 2
bin := $(VENV)/bin
# Without byte code: Python writes it for the modules that are used, when they are, and that is a third less to do here.
pip := $(bin)/pip --disable-pip-version-check install -q --no-compile -c constraints.txt
# For the console's tests in a real browser, where packages may be installed.
chromium = [ "$$(id -u)" = 0 ] && apt-get update -q > /dev/null && apt-get install -y -q chromium > /dev/null
core := $(VENV)/.installed-core
tests := $(VENV)/.installed-tests

.PHONY: demo test test-slow check format docs bench clean

demo: $(core)  ## every job on the messages of an invented shop, then the console over them; DEMO=--no-serve ends there
	$(bin)/huiyi demo $(DEMO)

test: $(tests)  ## everything but the slow tests, in two processes; JOBS=1 makes it one
	$(bin)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile

test-slow: $(tests)  ## installs in clean environments, large inputs: minutes
	$(bin)/python -m pytest -m slow

check: $(tests)  ## format, lint, types, spelling, generated pages
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy
	$(bin)/codespell
	$(bin)/python docs/generate.py --check

format: $(tests)  ## put right what `make check` can put right by itself
	$(bin)/ruff format .
	$(bin)/ruff check --fix .
	$(bin)/python docs/generate.py

bench: $(tests)  ## measure on this machine, write benchmarks/results/*.json, renew the tables
	$(pip) -e '.[test,bench]'
	set -e; for script in benchmarks/bench_*.py; do $(bin)/python "$$script"; done
	$(bin)/python docs/generate.py

clean:  ## throw the environment and all caches away
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(bin)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "huiyi needs Python 3.11 to 3.13: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(core): pyproject.toml constraints.txt | $(bin)/python
	$(pip) -e '.[console]'
	touch $@

# The CPU build of torch, before anything that merely asks for "torch": from the configured index where it has that build
# (a mirror, a folder of wheels), else from torch's own.
$(tests): pyproject.toml constraints.txt | $(bin)/python
	$(pip) "torch==2.13.0+cpu" 2> /dev/null || $(pip) --extra-index-url $(TORCH_INDEX) "torch==2.13.0"
	$(pip) -e '.[test]'
	@command -v chromium > /dev/null || { $(chromium); } || echo 'no Chromium could be installed: the tests of the pages of the console are skipped'
	touch $@
