#!/bin/sh
# Runs all tests, in two processes: first those within the code, measured for branch coverage (their subprocesses too),
# then those that start the whole command with real builds, unmeasured, since measuring would slow what they time out on.
set -eu
cd "$(dirname "$0")/.."
.venv/bin/coverage erase
.venv/bin/coverage run -m pytest -n 2 --dist loadgroup -m "not long and not e2e" "$@"
.venv/bin/coverage combine --quiet
.venv/bin/coverage report
.venv/bin/python -m pytest -n 2 --dist loadgroup -m "e2e and not long" --durations=8 tests/e2e
