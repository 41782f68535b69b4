"""What a game at a noisy place says, and what may be accepted of it."""

import pytest

from harness.core.labels import Design, FindingClass, Kind
from harness.evidence.snapshot import Evidence
from tests.evidence.test_noise import FAULTS, named, run


@pytest.mark.parametrize("fault", ["time zone shift", "bias of half a standard deviation inside jitter", "longer hex digits"])
def test_a_finding_says_what_may_be_accepted_of_it(fault: str) -> None:
    draw, kind, _ = FAULTS[fault]
    found: Evidence = named(run(draw, Design.THREE_ARM, seed=7))[kind]
    assert found.finding_class is FindingClass.DIVERGENCE
    noted = found.noted
    assert noted is not None
    if kind is Kind.STYLE:
        assert (noted.median, noted.low, noted.unit) == (None, None, "")
        assert 0 < noted.hits <= noted.looks
        assert noted.rate_low < noted.rate_high
    else:
        assert noted.low is not None
        assert noted.median is not None
        assert noted.high is not None
        assert noted.low <= noted.median <= noted.high
        assert noted.unit == ("s" if kind is Kind.DISTANCE else "")
        assert noted.median == pytest.approx(9 * 3600 if kind is Kind.DISTANCE else 0.5, rel=0.5)
