"""The data plane's benchmark judges the ratios of its rounds, and both of its proxies relay and mirror."""

import contextlib
import shutil

import pytest

from tests.bench import bench_dataplane
from tests.bench.live import rounds as rounds_module
from tests.bench.live.lab import lab
from tests.bench.live.rounds import Round, Way, interleaved, script_folder
from tests.bench.live.wrk import Load, drive


def rounds(*cpu_s: float) -> list[Round]:
    load = Load(requests=1000, seconds=1.0, received_bytes=1, p50_ms=1.0, p99_ms=2.0, bad=0, broken=0)
    return [Round(load=load, forwarded=1000, mirrored=1000, cpu_s={"python": spent}, counts=None) for spent in cpu_s]


def outcome_of(mirrored: float, unmirrored: float, bare: float) -> tuple[str, ...]:
    costs = {"harness, mirrored": mirrored, "harness, unmirrored": unmirrored, "bare, mirrored": bare, "bare, unmirrored": bare}
    return bench_dataplane.outcome({name: rounds(cost, cost, 9.0) for name, cost in costs.items()}, 32).missed


def test_aims_are_ratios_within_a_round() -> None:
    assert outcome_of(0.08, 0.04, 0.02) == ()
    (said,) = outcome_of(0.08, 0.02, 0.02)
    assert "4.00 times the CPU time of 'harness, unmirrored'" in said
    (said,) = outcome_of(0.08, 0.04, 0.01)
    assert "8.00 times the CPU time of 'bare, mirrored'" in said


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("wrk")), reason="needs nginx and wrk")
def test_every_way_answers_and_mirrors_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds_module, "_QUIET_SECONDS", 1.0)  # copies may be late where the machine is slow
    with lab() as place, contextlib.ExitStack() as stack:
        ways: dict[str, Way] = {f"{kind}, {mode}": bench_dataplane.way(place, stack, kind, mode) for kind, mode in bench_dataplane.WAYS}
        folder = script_folder(place.folder, "all")

        def load(port: int) -> Load:
            return drive(port, ("/orders/1",), folder=folder, seconds=1, connections=2)

        results = interleaved(ways, place.targets, load, rounds=1, warm_up=load)
    for name, (one,) in results.items():
        assert one.load.requests > 0
        assert one.load.bad == one.load.broken == 0
        assert one.cpu_micros() > 0
        expected = 0 if name.endswith("unmirrored") else one.forwarded
        if name.startswith(bench_dataplane.BARE):
            # It sends copies on without waiting for answers, and cuts what is under way when its client goes: nobody knows how many.
            assert (expected > 0) is (one.mirrored > 0), name
            assert one.mirrored <= expected, name
        else:
            assert one.mirrored == expected, name
