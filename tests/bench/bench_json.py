"""JSON comparison against deepdiff, parse included, and whole trials a second.

Rounds of the two are interleaved, so that a busy machine slows both; the figures are medians.
"""

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import orjson
from deepdiff import DeepDiff

from comparators.api import BodyView, RuleUse
from comparators.binary import COMPARATOR as BINARY
from comparators.json_body import COMPARATOR as JSON
from comparators.plan import build_plan
from comparators.text import COMPARATOR as TEXT
from comparators.trial import compare_trial
from harness.core.labels import Role
from harness.core.values import Arm, Exchange, Request, Response, Trial, body_of

RATIO_MIN = 50.0
SEED = 20_240_501
_SIZES = ((2_000, "2 KB"), (200_000, "200 KB"))
_ROUNDS = {2_000: (30, 40, 2), 200_000: (5, 4, 1)}
"""Rounds, then comparisons in each round: ours, deepdiff's."""


def document(size: int, rng: random.Random) -> dict[str, Any]:
    """An order list of about `size` bytes of JSON."""
    items: list[dict[str, Any]] = []
    value = {"total": 0, "page": {"number": 1, "size": 50}, "currency": "EUR", "items": items}
    while len(orjson.dumps(value)) < size:
        items.append(_item(rng))
        value["total"] = len(items)
    return value


def _item(rng: random.Random) -> dict[str, Any]:
    return {
        "id": f"{rng.getrandbits(128):032x}",
        "created_at": f"2024-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}T0{rng.randint(0, 9)}:30:00Z",
        "customer": {"name": f"Customer {rng.randint(1, 999)}", "email": f"c{rng.randint(1, 999)}@example.com", "vip": rng.random() < 0.2},
        "price": {"amount": rng.randint(100, 99_999) / 100, "currency": "EUR", "taxes": [round(rng.random(), 2), 0.19]},
        "tags": rng.sample(["new", "sale", "gift", "fragile", "heavy", "digital"], 3),
        "quantity": rng.randint(1, 9),
        "note": None if rng.random() < 0.5 else "Leave it at the door, please.",
    }


def with_three_differences(value: dict[str, Any]) -> dict[str, Any]:
    """A copy in which a value, a type and a missing member differ."""
    copy: dict[str, Any] = orjson.loads(orjson.dumps(value))
    items = copy["items"]
    items[0]["price"]["amount"] += 1.5
    items[len(items) // 2]["quantity"] = str(items[len(items) // 2]["quantity"])
    del items[-1]["customer"]["vip"]
    return copy


def cases(size: int) -> dict[str, tuple[bytes, bytes]]:
    """Pairs of bodies by name. In the equal pairs, too, no byte-for-byte short-cut is possible."""
    value = document(size, random.Random(SEED))
    turned = {key: value[key] for key in reversed(value)}
    return {
        "equal": (orjson.dumps(value), orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)),
        "equal, keys in another order": (orjson.dumps(value), orjson.dumps(turned)),
        "three differences": (orjson.dumps(value), orjson.dumps(with_three_differences(value))),
    }


def ours(left: bytes, right: bytes) -> int:
    """Number of differences found."""
    return len(tuple(JSON.compare(BodyView(left), BodyView(right), RuleUse())))


def theirs(left: bytes, right: bytes) -> int:
    """The same by deepdiff."""
    return sum(len(found) for found in DeepDiff(orjson.loads(left), orjson.loads(right), view="tree", zip_ordered_iterables=True).values())


def _seconds(run: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - start) / count


def measure(left: bytes, right: bytes, rounds: int, our_count: int, their_count: int) -> tuple[float, float]:
    """Median seconds of one comparison: ours, deepdiff's."""
    our_seconds, their_seconds = [], []
    for _ in range(rounds):
        our_seconds.append(_seconds(lambda: ours(left, right), our_count))
        their_seconds.append(_seconds(lambda: theirs(left, right), their_count))
    return statistics.median(our_seconds), statistics.median(their_seconds)


def trial(seq: int, *, noisy: bool) -> Trial:
    """Three arms with 2 KB bodies; the candidate has three differences, and with `noisy` each arm its own times and ids."""
    value = document(2_000, random.Random(SEED))
    bodies = [value, value, with_three_differences(value)]

    def arm(role: Role, number: int) -> Arm:
        body = orjson.loads(orjson.dumps(bodies[number]))
        if noisy:
            for item in body["items"]:
                item["id"] = f"{random.Random(number).getrandbits(128):032x}"
        headers = (("Content-Type", "application/json"), ("Date", f"Mon, 06 May 2024 10:00:0{number} GMT"), ("Server", "shop"))
        response = Response(200, headers, body_of(orjson.dumps(body)))
        return Arm(role=role, exchange=Exchange(request=Request("GET", "/orders"), response=response))

    roles = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)
    stable, secondary, candidate = (arm(role, number) for number, role in enumerate(roles))
    return Trial(
        id=f"t{seq}",
        seq=seq,
        endpoint="GET /orders",
        request=Request("GET", "/orders"),
        stable=stable,
        secondary=secondary,
        candidate=candidate,
    )


def trials_per_second(*, noisy: bool, rounds: int = 7, count: int = 200) -> float:
    """Median over rounds, one core."""
    plan = build_plan((), (JSON, TEXT, BINARY))
    one = trial(0, noisy=noisy)
    return 1 / statistics.median(_seconds(lambda: compare_trial(one, plan), count) for _ in range(rounds))


def main() -> int:
    """Print both tables. Returns 1 when a cell is below RATIO_MIN."""
    print(f"JSON comparison, parse included (seed {SEED}; medians over interleaved rounds)")
    print(f"{'size':>7}  {'case':<30} {'ours µs':>10} {'deepdiff µs':>12} {'ratio':>7}")
    worst = float("inf")
    for size, label in _SIZES:
        for name, (left, right) in cases(size).items():
            our_seconds, their_seconds = measure(left, right, *_ROUNDS[size])
            ratio = their_seconds / our_seconds
            worst = min(worst, ratio)
            print(f"{label:>7}  {name:<30} {our_seconds * 1e6:>10.1f} {their_seconds * 1e6:>12.1f} {ratio:>6.0f}x")
    print(f"\nlowest ratio {worst:.0f}x (aim: at least {RATIO_MIN:.0f}x)\n")
    print("compare_trial, three arms, 2 KB JSON, one core")
    for noisy, label in ((False, "candidate differs"), (True, "all arms differ (ids)")):
        print(f"  {label:<24} {trials_per_second(noisy=noisy):>8.0f} trials/s")
    return int(worst < RATIO_MIN)
