# Two commands do everything on a fresh machine with Python 3.11 and make: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONSTRAINTS = constraints/python-$$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt
CHECK = .venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports

.PHONY: help setup demo check test sim bench fuzz constraints clean

help:
	@echo 'make demo         set up, start three builds of a small service, mirror traffic to them, judge the candidate'
	@echo 'make test         set up, check format, lint, types and imports, run all tests: what CI runs'
	@echo 'make check        format, lint, types and imports only'
	@echo 'make sim          simulate error rates at length (many minutes)'
	@echo 'make bench        benchmarks, beside nginx and Envoy where they can be had'
	@echo 'make fuzz         fuzz the relay with atheris (FUZZ_SECONDS=60)'
	@echo 'make setup        the virtual environment in .venv only'
	@echo 'make constraints  pin what .venv holds now'
	@echo 'make clean        remove the environment and what tests left behind'

setup: .venv/.ready

.venv/.ready: pyproject.toml $(wildcard constraints/*.txt)
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	pins=$(CONSTRAINTS); test -f $$pins || pins=/dev/null; \
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint $$pins --editable '.[dev]'
	touch .venv/.ready

demo: setup
	.venv/bin/shadowdiff demo

check: setup
	$(CHECK)

test: setup
	sh tests/prepare.sh & $(CHECK); checked=$$?; wait $$! && exit $$checked
	sh tests/run.sh

sim: setup
	.venv/bin/python -m tests.sim
	.venv/bin/python -m tests.sim.beside
	.venv/bin/python -m tests.sim.wide
	.venv/bin/python -m pytest -m long

bench: setup
	sh tests/prepare.sh
	.venv/bin/python -m tests.bench

fuzz: setup
	.venv/bin/python -m pip install --quiet --disable-pip-version-check 'atheris>=3'
	.venv/bin/python -m tests.fuzz.fuzz_relay -max_total_time=$${FUZZ_SECONDS:-60}

constraints: setup
	.venv/bin/python -m pip freeze --exclude-editable --disable-pip-version-check > $(CONSTRAINTS)

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* dist
