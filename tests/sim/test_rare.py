from harness.evidence import late_onset
from harness.evidence.policy import Policy
from tests.sim import rare


def test_what_always_differs_is_seen_wherever_it_is_in_a_capture() -> None:
    end = rare.one_of_many(3, Policy(), requests=40, endpoints=4)
    assert end.failed
    assert end.passes <= 10


def test_restarts_are_as_they_were_after_a_simulation_with_more_of_them() -> None:
    before = late_onset.RESTART_OBSERVATIONS
    rare.restarted(1, Policy(), noise=0.05, count=300, every=50, paths=2)
    assert before == late_onset.RESTART_OBSERVATIONS


def test_requests_are_counted_from_the_onset() -> None:
    end = rare.late(1, Policy(), noise=0.01, wrong=1.0, onset=500, more=400)
    assert end.failed
    assert end.requests is not None
    assert end.requests <= 60
