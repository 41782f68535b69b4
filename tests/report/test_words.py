import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.labels import (
    Aspect,
    Control,
    FindingClass,
    Kind,
    ReasonCode,
    RefusedReason,
    RunMode,
    Severity,
    ShedReason,
    SkipReason,
    VerdictState,
)
from harness.evidence.snapshot import Reason
from harness.report import words
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.model import FindingView, LatencyView, Report
from tests.report import samples

REPORT = samples.fail_report()
BY_ID = {finding.id: finding for finding in REPORT.findings}


def test_every_label_has_words() -> None:
    assert set(words.KIND_WORDS) == set(Kind)
    assert set(words.CLASS_WORDS) == set(FindingClass)
    assert set(words.CONTROL_WORDS) == set(Control)
    assert set(words.HEADLINE) == {*VerdictState, None}
    assert set(words.MODE_WORDS) == set(RunMode)
    assert set(words.SKIP_WORDS) == set(SkipReason)
    assert set(words.SHED_WORDS) == set(ShedReason)
    assert set(words.REFUSED_WORDS) == set(RefusedReason)


def test_places() -> None:
    finding = BY_ID["f1c0ffee01"]
    assert words.place_words(finding) == "body $.total.amount"
    assert words.place_words(msgspec.structs.replace(finding, aspect=Aspect.HEADERS, path="etag")) == "header etag"
    assert words.place_words(BY_ID["f1c0ffee02"]) == "status"


def test_effects_have_places_and_kinds_of_their_own() -> None:
    finding = BY_ID["f1c0ffee08"]
    assert words.place_words(finding) == "effect `INSERT public.orders` (postgres): new.total"
    assert words.kind_words(finding) == "done with another value"
    assert words.kind_words(BY_ID["f1c0ffee07"]) == "done more often"
    assert words.kind_words(msgspec.structs.replace(finding, kind=Kind.MALFORMED)) == "malformed on one side"
    assert words.kind_words(msgspec.structs.replace(finding, aspect=Aspect.BODY)) == "another value"


def test_a_shift_of_values_that_differ_anyhow_says_how_large_it_is() -> None:
    finding = BY_ID["f1c0ffee01"]
    shifted = msgspec.structs.replace(finding, kind=Kind.DISTANCE, detail="off by +9 h", diverged=40, compared=40)
    assert words.evidence_words(shifted, REPORT) == "off by +9 h; the candidate stood alone in 40 of 40 answers in which one did"


def test_where_an_example_differs() -> None:
    finding = BY_ID["f1c0ffee08"]
    assert words.where_words(finding, finding.path) == ""
    assert words.where_words(finding, "$['postgres INSERT public.orders'].new.lines[3]") == (
        "effect `INSERT public.orders` (postgres): new.lines[3]"
    )
    assert words.where_words(BY_ID["f1c0ffee01"], "$.total") == "$.total"
    assert words.where_words(BY_ID["f1c0ffee02"], "$") == ""


def test_what_was_stored_is_said_once() -> None:
    (line,) = words.stored_words(REPORT)
    assert line.startswith("column total of public.orders differs at the candidate")
    reasons = (Reason(code=ReasonCode.FINAL_STATE, message=line), *REPORT.reasons)
    assert words.stored_words(msgspec.structs.replace(REPORT, reasons=reasons)) == []


def test_evidence() -> None:
    assert words.evidence_words(BY_ID["f1c0ffee01"], REPORT) == "14 of 14 requests, control 0 of 14"
    assert words.evidence_words(BY_ID["f1c0ffee05"], REPORT).endswith("; came back in 2 of 3 repeats")
    assert words.evidence_words(BY_ID["f1c0ffee04"], REPORT) == "median 1.34 times the control's, 240 requests timed (1.31 to 1.38)"


def test_latency_without_a_ratio_or_interval() -> None:
    def with_latency(latency: LatencyView) -> str:
        endpoints = tuple(msgspec.structs.replace(endpoint, latency=latency) for endpoint in REPORT.endpoints)
        return words.evidence_words(BY_ID["f1c0ffee04"], msgspec.structs.replace(REPORT, endpoints=endpoints))

    assert with_latency(LatencyView()) == "240 requests timed"
    assert with_latency(LatencyView(ratio=1.5)) == "median 1.50 times the control's, 240 requests timed"


@pytest.mark.parametrize(("more", "text"), [(None, "too rare to decide so far"), (1, "about 1 more request would decide")])
def test_what_an_undecided_one_needs(more: int | None, text: str) -> None:
    assert words.more_words(msgspec.structs.replace(BY_ID["f1c0ffee05"], more_requests=more)) == text
    assert words.more_words(BY_ID["f1c0ffee01"]) == ""


def test_strength() -> None:
    assert words.strength_words(BY_ID["f1c0ffee02"]) == "evidence 125,893 : 1, needed 5,012 : 1"
    assert words.strength_words(BY_ID["f1c0ffee01"]).startswith("evidence 3e12 : 1")


def test_strength_of_repeating_one_request() -> None:
    named = msgspec.structs.replace(BY_ID["f1c0ffee02"], log10_e=1.0, log10_confirmation=4.0)
    assert words.strength_words(named) == "evidence 10 : 1, needed 5,012 : 1; repeating one request 10,000 : 1, which named it"
    both = msgspec.structs.replace(named, log10_e=6.0)
    assert words.strength_words(both).endswith("; repeating one request 10,000 : 1")


def test_followers_are_said_beside_the_count() -> None:
    finding = msgspec.structs.replace(BY_ID["f1c0ffee01"], followers=3)
    assert words.evidence_words(finding, REPORT) == "14 of 14 requests, control 0 of 14; in 3 of them its session had differed before"


def chain(*pairs: tuple[str, str | None]) -> list[FindingView]:
    """Findings by name, with the root of each, all as grave as one another."""
    return [msgspec.structs.replace(BY_ID["f1c0ffee01"], id=name, root=root) for name, root in pairs]


def shape(findings: list[FindingView]) -> list[tuple[str, list[str]]]:
    return [(family.root.id, [follower.id for follower in family.followers]) for family in words.families(findings)]


def test_those_that_follow_stand_below_their_root() -> None:
    assert shape(chain(("a", None), ("b", None), ("c", "a"), ("d", "c"))) == [("a", ["c", "d"]), ("b", [])]
    assert shape(chain(("a", "b"), ("b", None))) == [("b", ["a"])]
    assert shape(chain(("a", "gone"), ("b", "b"))) == [("a", []), ("b", [])]


@given(st.lists(st.sampled_from("abcdef"), min_size=6, max_size=6))
def test_every_finding_is_shown_once_whatever_follows_from_what(roots: list[str]) -> None:
    listed = chain(*zip("abcdef", roots, strict=True))
    shown = [finding.id for family in words.families(listed) for finding in (family.root, *family.followers)]
    assert sorted(shown) == list("abcdef")


def test_a_graver_finding_is_not_hidden_below_a_lighter_one() -> None:
    minor, major = chain(("a", None), ("b", "a"))
    assert shape([msgspec.structs.replace(minor, severity=Severity.MINOR), major]) == [("a", []), ("b", [])]
    assert shape([msgspec.structs.replace(minor, finding_class=FindingClass.UNDECIDED), major]) == [("a", []), ("b", [])]


def test_what_a_finding_follows_from() -> None:
    finding = BY_ID["f1c0ffee01"]
    assert words.follows_words(finding, REPORT) == ""
    assert words.follows_words(msgspec.structs.replace(finding, root="gone"), REPORT) == "follows from finding gone"
    same = msgspec.structs.replace(finding, root="f1c0ffee05")
    assert words.follows_words(same, REPORT) == "in the same requests as body $.discount, missing in the candidate"
    other = msgspec.structs.replace(finding, root="f1c0ffee02")
    assert words.follows_words(other, REPORT) == "follows from POST /orders: status, another status code"


def test_why_counts_what_the_table_has_and_says_each_step_once() -> None:
    all_listed = words.why_words(REPORT, {finding.id for finding in REPORT.findings})
    assert [why.lines[0] for why in all_listed] == [
        "3 divergences, listed above.",
        "1 finding of a slower endpoint, listed above.",
        "12 writes were not sent to secondary and candidate",
    ]
    assert len({why.next_step for why in all_listed}) == len(all_listed)
    in_full = words.why_words(REPORT)
    assert in_full[0].lines == (
        "POST /orders: status, another status code: 9 of 36 requests, control 0 of 36.",
        "POST /orders: effect `POST payments.test/charge` (http), done more often: 11 of 36 requests, control 0 of 36.",
        "GET /orders/{int}: body $.total.amount, another value: 14 of 14 requests, control 0 of 14.",
    )


def test_everything_that_was_not_exercised_has_a_line() -> None:
    coverage = msgspec.structs.replace(REPORT.coverage, not_compared=("DELETE /orders/{int}",), vacuous={"GET /me": "vacuous_auth"})
    lines = words.not_exercised_words(msgspec.structs.replace(REPORT, coverage=coverage))
    assert "DELETE /orders/{int} was never compared" in lines
    assert "GET /me only looked exercised (vacuous auth)" in lines
    assert "3 trials that were not kept on disk" in lines
    assert lines[-1] == "4 requests judged before all their effects had come"


def test_counts_and_summary() -> None:
    assert words.counts_words({"other_host": 3, "write": 0}) == "other host 3"
    assert words.counts_words({}) == "none"
    assert words.summary_words(REPORT) == "456 requests compared on 5 endpoints, 7 divergences, 1 undecided, 2 passes"
    assert [count for count, _ in words.not_compared_words(REPORT)] == [12, 8, 4]


def test_a_reason_without_message_shows_its_code() -> None:
    reason = Reason(code=REPORT.reasons[0].code, message="")
    assert words.reason_words(reason, REPORT) == "divergence"
    assert words.verdict_word(None) == "NO VERDICT"


def test_what_is_done_more_often_is_told_with_the_counts_of_an_example() -> None:
    by_id = {finding.id: finding for finding in samples.fail_report().findings}
    assert words.what_words(by_id["f1c0ffee07"]) == ("done more often (in an example stable does it once, candidate twice, secondary once)")
    assert words.what_words(by_id["f1c0ffee08"]) == "done with another value"
    assert words.what_words(by_id["f1c0ffee02"]) == "another status code"


def slow_families() -> Report:
    """A slower endpoint: median and three tails, each with a reason."""
    head = BY_ID[next(reason.finding for reason in REPORT.reasons if reason.code is ReasonCode.LATENCY) or ""]
    tails = [msgspec.structs.replace(head, id=f"tail{number}", path=f"tail{number}x", root=head.id) for number in (1, 2, 4)]
    reasons = [Reason(code=ReasonCode.LATENCY, message="", finding=each.id, next_step="profile it") for each in (head, *tails)]
    return msgspec.structs.replace(REPORT, findings=(head, *tails), reasons=tuple(reasons))


def test_why_tells_the_root_and_counts_those_that_follow_from_it() -> None:
    report = slow_families()
    (why,) = words.why_words(report)
    assert len(why.lines) == 2
    assert why.lines[1] == "3 further findings follow from these."
    assert words.why_words(report, {finding.id for finding in report.findings})[0].lines == (
        "4 findings of slower endpoints, listed above.",
    )
    for text in (render_html(report), render_junit(report).decode()):
        why_part = text[text.index('id="why"') :] if "<html" in text else text
        assert "3 further findings follow from these." in why_part
    assert render_junit(report).decode().count("[latency]") == 1
    alone = msgspec.structs.replace(report, reasons=report.reasons[1:])
    assert len(words.why_words(alone)[0].lines) == 3, "where the root is no reason, each is told"
