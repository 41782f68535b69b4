import subprocess
import sys

import msgspec
import pytest

from harness.report.frames import ENDPOINT_COLUMNS, FINDING_COLUMNS, LATENCY_COLUMNS, endpoints_frame, findings_frame, latency_frame
from tests.report import samples

REPORT = samples.fail_report()


def test_findings_and_noise_are_rows() -> None:
    frame = findings_frame(REPORT)
    assert list(frame.columns) == list(FINDING_COLUMNS)
    assert len(frame) == len(REPORT.findings) + len(REPORT.noise)
    assert set(frame["class"]) == {"divergence", "undecided", "noise"}
    assert frame.set_index("id").loc["f1c0ffee02", "diverged"] == 9


def test_endpoints_have_a_row_for_each_target() -> None:
    frame = endpoints_frame(REPORT)
    assert list(frame.columns) == list(ENDPOINT_COLUMNS)
    assert len(frame) == 3 * len(REPORT.endpoints)
    quotes = frame[(frame["endpoint"] == "GET /quotes/{token}") & (frame["target"] == "candidate")]
    assert quotes["p50_ms"].tolist() == [10.99]


def test_latency_is_ordered_by_the_ratio() -> None:
    frame = latency_frame(REPORT)
    assert list(frame.columns) == list(LATENCY_COLUMNS)
    assert frame["endpoint"].iloc[0] == "GET /quotes/{token}"
    assert frame["delta_p50_ms"].iloc[0] == pytest.approx(10.99 - 8.04)
    assert frame["gates"].tolist()[0]


def test_missing_targets_and_intervals_are_gaps() -> None:
    first, *rest = REPORT.endpoints
    only_stable = msgspec.structs.replace(
        first,
        latency=msgspec.structs.replace(
            first.latency, targets={k: v for k, v in first.latency.targets.items() if k == "stable"}, ratio=None, interval=None
        ),
    )
    frame = latency_frame(msgspec.structs.replace(REPORT, endpoints=(only_stable, *rest)))
    last = frame.iloc[-1]
    assert last["endpoint"] == first.endpoint
    assert last[["delta_p50_ms", "ratio", "ratio_low", "candidate_p50_ms"]].isna().all()


def test_reports_without_latency_or_findings_give_empty_frames() -> None:
    empty = samples.inconclusive_report()
    assert latency_frame(empty).empty
    assert findings_frame(empty).empty
    assert endpoints_frame(empty)["compared"].tolist() == [48]


def test_pandas_is_imported_late() -> None:
    code = "import sys, harness.report.frames, harness.report.html; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
