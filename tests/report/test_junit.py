import xml.etree.ElementTree as ET

import msgspec
import pytest

from harness.core.labels import FindingClass, VerdictState
from harness.report.junit import render_junit
from tests.report import samples
from tests.report.hostile import ATTACKS, hostile_report


def suite_of(data: bytes) -> ET.Element:
    suite = ET.fromstring(data).find("testsuite")
    assert suite is not None
    return suite


def outcomes(data: bytes) -> dict[str, str]:
    found = {}
    for case in suite_of(data).findall("testcase"):
        tags = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        found[case.attrib["name"]] = tags[0] if tags else "passed"
    return found


def test_a_fail_is_a_failure() -> None:
    found = outcomes(render_junit(samples.fail_report()))
    assert found["verdict"] == "failure"
    assert found["POST /orders"] == "failure"
    assert len(found) == 6


def test_effects_are_said() -> None:
    data = render_junit(samples.fail_report())
    properties = {one.attrib["name"]: one.attrib["value"] for one in suite_of(data).iter("property")}
    assert properties["effects"].startswith("http (virtualise) 1,204 calls, ")
    assert properties["stored"] == "column total of public.orders differs at the candidate (postgres, in 2 of 2 passes)"
    times = b"(in an example stable does it once, candidate twice, secondary once)"
    assert b"critical: effect `POST payments.test/charge` (http): done more often " + times + b"; 11 of 36 requests" in data
    assert not {"effects", "stored"} & {one.attrib["name"] for one in suite_of(render_junit(samples.pass_report())).iter("property")}


def test_inconclusive_is_an_error_and_nothing_is_skipped() -> None:
    data = render_junit(samples.inconclusive_report())
    assert outcomes(data) == {"verdict": "error", "GET /orders/{int}": "error"}
    assert suite_of(data).attrib["errors"] == "2"
    assert suite_of(data).attrib["skipped"] == "0"


def test_a_pass_passes_and_says_its_bound() -> None:
    data = render_junit(samples.pass_report())
    assert set(outcomes(data).values()) == {"passed"}
    assert b"fewer than 0.7 %" in data


def test_an_undecided_difference_is_an_error_of_its_endpoint() -> None:
    report = samples.fail_report()
    only = tuple(finding for finding in report.findings if finding.finding_class is FindingClass.UNDECIDED)
    found = outcomes(render_junit(msgspec.structs.replace(report, findings=only, verdict=VerdictState.INCONCLUSIVE, reasons=())))
    assert found["verdict"] == found["GET /orders/{int}"] == "error"
    assert found["GET /health"] == "passed"


def test_a_replay_has_no_verdict_case() -> None:
    assert outcomes(render_junit(samples.replay_report())) == {"GET /health": "passed"}


def test_counts_agree_with_the_cases() -> None:
    for report in (samples.fail_report(), samples.inconclusive_report(), samples.pass_report()):
        data = render_junit(report)
        found = list(outcomes(data).values())
        suite = suite_of(data)
        assert int(suite.attrib["tests"]) == len(found)
        assert int(suite.attrib["failures"]) == found.count("failure")
        assert int(suite.attrib["errors"]) == found.count("error")


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_any_traffic_gives_valid_xml(attack: str) -> None:
    data = render_junit(hostile_report(attack))
    assert outcomes(data)["verdict"] == "failure"
    assert {element.tag for element in ET.fromstring(data).iter()} == {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure",
    }  # fmt: skip
