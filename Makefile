# Everything happens in .venv, made here on first use; the stamps inside it make a
# second run quick and go away with it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# The build of the package itself obeys the constraints too.
export PIP_CONSTRAINT := constraints.txt
PYTEST_FLAGS ?=

.PHONY: demo test lint bench clean

demo: $(VENV)/.installed
	$(BIN)/anycell demo -o demo_out

test: lint
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_FLAGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/.installed-test
	for file in benchmarks/*.py; do $(BIN)/python "$$file" || exit 1; done

clean:
	rm -rf $(VENV) demo_out bench_out

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("anycell needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) install -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) install -e '.[train,test,dev,cluster]'
	@touch $@ $(VENV)/.installed
