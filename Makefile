# The targets of docs: setup, demo, test, faults, check, lock. Needs Python 3.11 to 3.14, make and the package registries.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# From a lock alone: nothing is resolved, nothing is built but Qudao itself, and what came is compared with the lock.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all:
SELF := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index
VERIFY := $(BIN)/python -m pip check

.PHONY: setup demo test fuzz faults bench check lint lock clean

setup: $(VENV)/.dev

# An empty environment for every new lock: pip never removes what a lock no longer names.
$(VENV)/.empty: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 15) else "Qudao is locked for Python 3.11 to 3.14, and this is %d.%d; set PYTHON=/path/to/python3.14" % sys.version_info[:2])'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# One stamp per set of locked packages, so that `make demo` installs no test tool.
$(VENV)/.run: $(VENV)/.empty pyproject.toml
	$(INSTALL) --requirement requirements.txt
	$(SELF) --editable .
	@$(VERIFY)
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(INSTALL) --requirement requirements-dev.txt
	@$(VERIFY)
	@touch $@

# For `make lock` alone: a requirement that is not locked yet would fail the comparison above.
$(BIN)/uv: $(VENV)/.empty
	$(INSTALL) --requirement requirements-dev.txt

demo: $(VENV)/.run
	$(BIN)/qudao demo

# The tests wait for brokers, processes and clocks more than they compute: three at a time suit two cores.
# All of them with the newest PostgreSQL that is supported; with the oldest what depends on the version, in half a minute.
# `QUDAO_TEST_POSTGRES=oldest pytest -m postgres` runs all that use one.
PYTEST := $(BIN)/python -m pytest --numprocesses 3 --dist worksteal
test: $(VENV)/.dev
	$(PYTEST)
	QUDAO_TEST_POSTGRES=oldest $(PYTEST) -m postgres tests/contract \
		tests/integration/postgres/test_failover.py::test_nobody_stays_with_a_server_that_stops_writing

# Looks for inputs that break a reader, on Linux with Python before 3.14, in an environment of its own. What it finds is
# read by every test run afterwards.
SECONDS ?= 60
fuzz:
	$(MAKE) VENV=.venv-fuzz .venv-fuzz/.fuzz
	.venv-fuzz/bin/python -m tests.fuzz --seconds $(SECONDS)

$(VENV)/.fuzz: $(VENV)/.dev requirements-fuzz.txt
	$(INSTALL) --requirement requirements-fuzz.txt
	@touch $@

# Measures Qudao beside what one could have used instead, in an environment of its own: docs/performance.md.
BENCH ?=
bench:
	$(MAKE) VENV=.venv-bench .venv-bench/.bench
	.venv-bench/bin/python -m tests.benchmarks $(BENCH)

$(VENV)/.bench: $(VENV)/.dev requirements-bench.txt
	$(INSTALL) --requirement requirements-bench.txt
	@touch $@

# Kills, stops, starves and cuts off everything that can be, and judges what became of every customer: docs/reliability.md.
CYCLES ?= 60
SEED ?= 1
FAULT ?=
JSON ?=
faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults --cycles $(CYCLES) --seed $(SEED) --fault "$(FAULT)" $(if $(JSON),--json $(JSON))

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

check: lint test

# The locks name no registry. `--universal` serves every Python from 3.11 and every platform. What is locked stays as
# it is where it still fits; `make lock UPGRADE=--upgrade` takes the newest of everything.
UPGRADE ?=
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(UPGRADE)
lock: $(BIN)/uv
	$(COMPILE) --all-extras --output-file requirements-dev.txt pyproject.toml
	$(COMPILE) --constraints requirements-dev.txt --extra install --output-file requirements.txt pyproject.toml
	$(COMPILE) --constraints requirements-dev.txt --group fuzz --output-file requirements-fuzz.txt
	$(COMPILE) --constraints requirements-dev.txt --group bench --output-file requirements-bench.txt

clean:
	rm -rf $(VENV) build dist *.egg-info
