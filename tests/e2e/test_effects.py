"""Side effects from end to end: real applications in two frameworks, a real PostgreSQL, Redis and SQLite, spans of auto-instrumentation.

The faulty build answers exactly as the sound one does; what it does to the outside is found and named all the same.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.effects.world import MAIL, PAYMENTS, World, checkouts, world
from tests.e2e.support import Ran, shadowdiff

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400), pytest.mark.xdist_group("effects")]

CHARGE, MESSAGE = f"$['http POST {PAYMENTS}/charges']", f"$['http POST {MAIL}/messages']"
ROW, ARCHIVED = "$['postgres INSERT public.orders']", "$['postgres INSERT public.orders_archive']"
MOVE, STOCK = "$['sqlite INSERT moves']", "$['sqlite UPDATE stock']"

EXPECTED = {
    "call-missing": {(MESSAGE, "missing")},
    "call-doubled": {(CHARGE, "duplicated")},
    "call-amount": {(f"{CHARGE}.body.amount", "value")},
    "call-path": {(CHARGE, "missing"), (f"$['http POST {PAYMENTS}/v2/charges']", "extra")},
    "call-order": {("$", "order")},
    "row-missing": {(ROW, "missing"), (MOVE, "missing"), (STOCK, "missing")},
    "row-doubled": {(ROW, "duplicated"), (MOVE, "duplicated"), (STOCK, "duplicated")},
    "row-quantity": {(f"{ROW}.row.quantity", "value"), (f"{MOVE}.row.quantity", "value"), (f"{STOCK}.row.quantity", "value")},
    "row-table": {(ROW, "missing"), (ARCHIVED, "extra")},
    "key-missing": {("$['redis SET cart:{int}']", "missing")},
    "message-missing": {("$['redis PUBLISH orders']", "missing")},
}
"""What each planted fault must show, by path of the checkout: written down from the shop's source, before any run."""


@pytest.fixture
def around(tmp_path: Path) -> Iterator[World]:
    """One for each test: what a faulty build has written is other state for the next one."""
    with world(tmp_path / "world") as made:
        yield made


def gate(config: dict[str, Any], capture: Path, out: Path, *options: str) -> Ran:
    file = out.parent / "shadowdiff.yaml"
    file.write_text(yaml.safe_dump(config))
    return shadowdiff("gate", str(capture), "--config", str(file), *options, out=out)


@pytest.mark.parametrize("framework", ["flask", "aiohttp"])
def test_each_planted_fault_is_found_and_named_though_every_answer_is_the_same(framework: str, around: World, tmp_path: Path) -> None:
    collect = ["http", "postgres", "redis", "sqlite"]
    config = around.config(framework, faults=True, collect=collect)
    before = around.outside.seen.total()
    # Only stable's calls are real, so a request is weaker evidence than with three equal builds; one that comes again is none.
    ran = gate(config, checkouts(tmp_path / "shop.har", 24), tmp_path / "run", "--passes", "1")
    assert ran.code == 1, ran.explain()
    report = ran.report
    found: dict[str, set[tuple[str, str]]] = {}
    for finding in report["findings"]:
        assert finding["aspect"] == "effects", finding
        if finding["class"] == "divergence":
            found.setdefault(finding["endpoint"].removeprefix("POST /checkout/"), set()).add((finding["path"], finding["kind"]))
    assert found == EXPECTED
    calls = sum(watched["seen"]["stable"] for watched in report["effects"]["watched"] if watched["collector"] == "http")
    assert around.outside.seen.total() - before == calls, "only stable's calls have reached the outside"


def test_the_same_build_passes_with_every_collector_on(around: World, tmp_path: Path) -> None:
    collect = ["http", "postgres", "redis", "sqlite", "otlp"]
    policy = tmp_path / "strict.yaml"
    policy.write_text(
        f"require_effects: [{', '.join(collect)}]\neffects:\n  - {{effect: POST {PAYMENTS}/charges, at_most: 1, at_least: 1}}\n"
    )
    config = around.config("flask", collect=collect) | {"policy": str(policy)}
    ran = gate(config, checkouts(tmp_path / "shop.har", 2), tmp_path / "run")
    assert ran.code == 0, ran.explain()
    report = ran.report
    watched = {one["collector"]: one for one in report["effects"]["watched"]}
    assert set(watched) == set(collect)
    for one in watched.values():
        assert one["seen"]["candidate"] == one["seen"]["stable"] == one["seen"]["secondary"] > 0, one
        assert [lapse for lapse in one["lapses"] if lapse["blind"]] == []
    assert report["effects"]["unattributed"] == []
    assert report["effects"]["timed_out"] == 0
    assert [table for table in report["effects"]["tables"] if not table["noisy"]] == []


def test_spans_alone_show_a_missing_call(around: World, tmp_path: Path) -> None:
    config = around.config("aiohttp", faults=True, collect=["otlp", "http"], mode="observe")
    config["effects"]["collect"] = ["otlp"]
    config["effects"]["collect"] += ["http"]  # the names of payments and mail exist behind the egress proxy only
    ran = gate(config, checkouts(tmp_path / "shop.har", 10, ["call-missing", "sound"]), tmp_path / "run")
    assert ran.code == 1, ran.explain()
    shown = {(f["endpoint"], f["path"], f["kind"]) for f in ran.report["findings"] if f["path"].startswith("$['otlp ")}
    assert shown == {("POST /checkout/call-missing", f"$['otlp CLIENT http POST {MAIL}/messages']", "missing")}
