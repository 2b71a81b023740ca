# The targets of docs: setup, demo, test, check, lock. Needs Python >= 3.11, make and the package registries.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CODE := cli ingress workers shared

.PHONY: setup demo test check lint lock clean

setup: $(VENV)/.dev

# One stamp per set of locked packages, so that `make demo` installs no test tool.
$(VENV)/.run: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Qudao needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.run
	$(BIN)/qudao demo

# The tests wait for brokers, processes and clocks more than they compute: three at a time suit two cores.
test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

check: lint test

# The locks name no registry. `--universal` serves every Python from 3.11 and every platform.
lock: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --all-extras -o requirements-dev.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header -c requirements-dev.txt --extra install -o requirements.txt pyproject.toml

clean:
	rm -rf $(VENV) build dist *.egg-info
