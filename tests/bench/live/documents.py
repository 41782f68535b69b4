"""What the upstreams serve: JSON documents of a size, the same on every machine, and the addresses they are found under."""

import random
from pathlib import Path
from typing import Any, Final

import orjson

SEED: Final = 20_241_103
KINDS: Final = ("orders", "items", "customers", "carts")
"""The first path segment: each kind is an endpoint of its own."""
NUMBERS: Final = 10
"""Documents of each kind."""
DOCUMENT_BYTES: Final = 2_000
"""The ordinary answer's size."""
_KEPT_MAX: Final = 64 * 1024 * 1024
"""Bytes on disk for the documents of one size; larger documents are fewer."""


def document(kind: str, number: int, size: int = DOCUMENT_BYTES) -> dict[str, Any]:
    """A document of about `size` bytes as JSON."""
    rng = random.Random(f"{SEED} {kind} {number} {size}")
    lines: list[dict[str, Any]] = []
    value = {
        "id": f"{kind}-{number}",
        "created_at": "2024-11-03T04:13:00Z",
        "state": "paid",
        "total": round(rng.random() * 1000, 2),
        "customer": {"id": rng.randint(1, 99_999), "name": "Jane Doe", "address": {"street": "Elm Street 7", "zip": "12345"}},
        "lines": lines,
    }
    left = size - len(orjson.dumps(value))
    while left > 0:
        line = _line(rng)
        lines.append(line)
        left -= len(orjson.dumps(line)) + 1
    return value


def paths(prefix: str = "", size: int = DOCUMENT_BYTES) -> tuple[str, ...]:
    """Where the documents of a size are found, kinds interleaved; `prefix` as in `write`, or that of the answers made anew."""
    return tuple(f"{prefix}/{kind}/{number}" for number in range(1, _numbers(size) + 1) for kind in KINDS)


def write(root: Path, prefix: str = "", size: int = DOCUMENT_BYTES) -> None:
    """Write the documents of a size below a web root."""
    for path in paths(prefix, size):
        _, kind, number = path.rsplit("/", 2)
        file = root / f"{path.lstrip('/')}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(orjson.dumps(document(kind, int(number), size)))


def template(size: int = DOCUMENT_BYTES) -> str:
    """JSON in which `@ID@`, `@STATE@` and `@TRACE@` are to be filled in for each answer."""
    value = {**document("orders", 0, size - 100), "id": "@ID@", "state": "@STATE@", "trace": "@TRACE@"}
    return orjson.dumps(value).decode()


def _numbers(size: int) -> int:
    return max(1, min(NUMBERS, _KEPT_MAX // (size * len(KINDS))))


def _line(rng: random.Random) -> dict[str, Any]:
    return {
        "sku": f"SKU-{rng.randint(0, 99_999):05d}",
        "name": f"Product {rng.randint(0, 999)}",
        "quantity": rng.randint(1, 9),
        "tags": rng.sample(["new", "sale", "gift", "fragile", "digital"], 3),
        "price": {"amount": round(rng.random() * 100, 2), "currency": "EUR"},
    }
