#!/bin/sh
# Runs all tests, in two steps: first those within the code, measured for branch coverage (their subprocesses too), then
# unmeasured those that start the whole command with real builds, since measuring would slow what they time out on, and the
# simulations, which go through what is measured already, many thousand times. Simulations need the processor while the others
# mostly wait. Tests wait for sockets, processes and time-outs: more processes than two processors would need keep both busy.
set -eu
cd "$(dirname "$0")/.."
.venv/bin/coverage erase
.venv/bin/coverage run -m pytest -n 3 --dist loadgroup -m "not long and not e2e and not sim" "$@"
.venv/bin/coverage combine --quiet
.venv/bin/coverage report
.venv/bin/python -m pytest -n 3 --dist loadgroup -m "(e2e or sim) and not long" --durations=8 tests/e2e tests/sim tests/effects
