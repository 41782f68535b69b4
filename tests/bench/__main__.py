"""Runs every benchmark here: `python -m tests.bench [name ...]`, where a name is that of a module without `bench_`."""

import importlib
import pkgutil
import sys

import tests.bench


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; 1 when one of them missed its aim, 2 for a name that is not there."""
    found = [
        module.name.removeprefix("bench_") for module in pkgutil.iter_modules(tests.bench.__path__) if module.name.startswith("bench_")
    ]
    unknown = [name for name in names if name not in found]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(found)}", file=sys.stderr)
        return 2
    missed = []
    for name in names or found:
        print(f"== {name}")
        if importlib.import_module(f"tests.bench.bench_{name}").main():
            missed.append(name)
    if missed:
        print(f"below the aim: {', '.join(missed)}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
