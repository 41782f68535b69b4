import json

import pytest

from harness.core.errors import SetupError
from harness.core.labels import FindingClass
from harness.report.model import SCHEMA, decode_report, encode_report, findings_of
from tests.report import samples


def test_round_trip() -> None:
    report = samples.fail_report()
    assert decode_report(encode_report(report)) == report


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"a":1}', b"\xff"])
def test_what_is_no_report_is_named(data: bytes) -> None:
    with pytest.raises(SetupError, match="not a report"):
        decode_report(data, where="x.json")


def test_another_schema_is_not_guessed_at() -> None:
    with pytest.raises(SetupError, match=r"shadowdiff-report-9.*cannot be read here"):
        decode_report(b'{"schema":"shadowdiff-report-9"}')


def test_damage_is_named_with_its_place() -> None:
    document = json.loads(encode_report(samples.pass_report()))
    document["totals"]["requests"] = "many"
    with pytest.raises(SetupError, match=r"totals\.requests"):
        decode_report(json.dumps(document).encode(), where="x.json")


def test_unknown_keys_are_passed_over() -> None:
    document = json.loads(encode_report(samples.pass_report())) | {"later": 1}
    assert decode_report(json.dumps(document).encode()).schema == SCHEMA


def test_a_report_of_before_effects_is_read() -> None:
    report = samples.fail_report()
    document = json.loads(encode_report(report))
    del document["effects"]
    for finding in document["findings"]:
        for exemplar in finding["exemplars"]:
            for key in ("effects", "effects_left_out", "effects_seen"):
                del exemplar[key]
    old = decode_report(json.dumps(document).encode())
    assert old.effects.watched == ()
    assert [exemplar.effects for finding in old.findings for exemplar in finding.exemplars] == [{}] * 7


def test_findings_of() -> None:
    assert [finding.id for finding in findings_of(samples.fail_report(), FindingClass.UNDECIDED)] == ["f1c0ffee05"]
