# Two commands are all a newcomer needs: `make demo` and `make test`. Both do their own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LATTICE := src/trustspace/aggregation/lattice

.PHONY: demo test test-slow redteam check format protos bench sandbox sandbox-if-possible setup setup-dev clean

demo: setup sandbox
	$(BIN)/trustspace demo

test: setup-dev sandbox-if-possible
	$(BIN)/python -m pytest -m "not slow"

test-slow: setup-dev sandbox-if-possible
	$(BIN)/python -m pytest -m slow

# What a hostile job tries, what it gets without the sandbox and what it gets with it.
redteam: setup-dev sandbox
	cd tests && ../$(BIN)/python -m redteam $(REDTEAM)

check: setup-dev
	$(BIN)/ruff format --check src tests benchmarks tools
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/mypy
	$(BIN)/python tools/protos.py --check

format: setup-dev
	$(BIN)/ruff format src tests benchmarks tools
	$(BIN)/ruff check --fix src tests benchmarks tools

protos: setup-dev
	$(BIN)/python tools/protos.py

bench: setup-dev sandbox
	$(BIN)/python -m benchmarks

# bubblewrap, the sandbox's own user and its runtime; says what is missing where it may not install it.
sandbox: setup
	$(BIN)/python tools/setup_sandbox.py

# On a host that cannot isolate (exit code 14) the tests go on, and those of isolation skip visibly.
sandbox-if-possible: setup
	$(BIN)/python tools/setup_sandbox.py || [ $$? -eq 14 ]

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev

$(VENV)/.python: tools/make_venv.py
	$(PYTHON) tools/make_venv.py $(VENV)
	touch $@

# The kernel in C is built where there is a compiler; where there is none this says so, and NumPy does its work.
$(VENV)/.installed: $(VENV)/.python requirements/demo.lock pyproject.toml $(wildcard $(LATTICE)/*.[ch])
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/demo.lock
	rm -f $(LATTICE)/kernel.*.so
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m trustspace.aggregation.lattice.library
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.lock requirements/runtime.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet -r requirements/runtime.lock
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
