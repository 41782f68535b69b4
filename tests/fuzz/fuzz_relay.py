"""Fuzzing guided by coverage, with atheris, for as long as one likes: python -m tests.fuzz.fuzz_relay [options of libFuzzer].

The first byte of an input says who sends the rest: the client (whole, or in two pieces) or stable.
"""

import contextlib
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

FOUND = Path(".cache") / "fuzz"
"""The inputs that reached something new, and those that broke something, from one run to the next."""
CLIENT, CLIENT_IN_PIECES, STABLE, STABLE_AFTER_HEAD = range(4)


def main() -> None:
    """Run until something is found, or the options say that it is enough."""
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit("atheris is not installed: python -m pip install atheris")
    with atheris.instrument_imports(include=["harness.proxy"]):
        relay_target: Any = importlib.import_module("tests.fuzz.relay_target")
    seeds: Any = importlib.import_module("tests.fuzz.seeds")
    target = relay_target.RelayTarget()

    def one_input(data: bytes) -> None:
        who, raw = (data[0] % 4, data[1:]) if data else (CLIENT, b"")
        if who == CLIENT:
            relay_target.check_client_bytes(target, raw)
        elif who == CLIENT_IN_PIECES:
            relay_target.check_client_bytes(target, raw[1:], (raw[0],) if raw else ())
        else:
            relay_target.check_stable_bytes(target, raw, "GET" if who == STABLE else "HEAD")

    with tempfile.TemporaryDirectory() as folder:
        inputs = [(CLIENT, raw) for raw in seeds.REQUESTS] + [(STABLE, raw) for raw in seeds.ANSWERS]
        for number, (who, raw) in enumerate(inputs):
            (Path(folder) / f"seed-{number}").write_bytes(bytes([who]) + raw)
        words = Path(folder) / "dictionary"
        escaped = ["".join([rf"\x{byte:02x}" for byte in word]) for word in seeds.DICTIONARY]
        words.write_text("".join([f'"{word}"\n' for word in escaped]))
        FOUND.mkdir(parents=True, exist_ok=True)
        atheris.Setup([sys.argv[0], f"-dict={words}", f"-artifact_prefix={FOUND}/", *sys.argv[1:], str(FOUND), folder], one_input)
        with contextlib.suppress(KeyboardInterrupt):
            atheris.Fuzz()


if __name__ == "__main__":
    main()
