"""Accepting what a run saw, from a planted change to a gate that passes, and all that must fail again."""

import asyncio
import datetime
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from harness.app.accept import Accepting, accept
from harness.app.gate import run_gate
from harness.app.stored import judge_again
from harness.core.errors import UsageError
from harness.core.labels import Aspect, FindingClass, Kind, ReasonCode, VerdictState
from harness.evidence.findings import finding_id
from harness.evidence.seen import Relation, Seen
from harness.report.model import FindingView, Report
from harness.settings.expected_file import read_expected_file, written
from tests.app.support import Handler, Heard, builds, capture, items, report_in, settings, shop

TODAY = datetime.datetime.now(datetime.UTC).date()
LATER = str(TODAY + datetime.timedelta(days=30))


def ran(out: Path, candidate: Handler, *, count: int = 30, stable: Handler | None = None, **sections: Any) -> Report:
    """A gate run of so many requests."""
    file = capture(out.parent / f"{out.name}.gor", items(count))

    async def body() -> None:
        async with builds(candidate, stable=stable) as urls, asyncio.timeout(100):
            await run_gate(settings(out, urls, **sections), [file], Heard(), verdict=True)

    asyncio.run(body())
    return report_in(out)


def accepted(run: Path, file: Path, *findings: str, **more: Any) -> Heard:
    ui = Heard()
    given = {"reason": "wanted", "expires": LATER, "by": "Ann", **more}
    assert accept(Accepting(run=run, findings=findings, file=str(file), **given), ui, today=TODAY) == 0
    return ui


def codes(report: Report) -> list[ReasonCode]:
    return [reason.code for reason in report.reasons]


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("failed") / "run"
    report = ran(out, shop(price=11))
    assert report.verdict is VerdictState.FAIL
    return out


@pytest.fixture
def file(failed: Path, tmp_path: Path) -> Path:
    path = tmp_path / "expected.yaml"
    finding = report_in(failed).findings[0]
    accepted(failed, path, finding.id[:6])
    return path


def test_a_planted_change_fails_is_accepted_and_passes(failed: Path, file: Path, tmp_path: Path) -> None:
    finding = report_in(failed).findings[0]
    (entry,) = read_expected_file(file)
    assert (entry.id, entry.endpoint, entry.path, entry.kind) == (finding.id, finding.endpoint, "$.price", Kind.VALUE)
    assert (entry.reason, entry.by, entry.expires, entry.must_change) == ("wanted", "Ann", LATER, False)
    assert (entry.seen.relation, entry.seen.values, entry.seen.forms) == (Relation.VALUES, ((10, 11),), ("integer -> integer",))
    assert (entry.seen.requests, entry.seen.changed) == (30, 30)

    report = ran(tmp_path / "run", shop(price=11), expected=str(file))
    assert report.verdict is VerdictState.PASS
    (found,) = report.findings
    assert (found.finding_class, found.diverged, found.expected) == (FindingClass.EXPECTED, found.compared, found.compared)
    assert found.accepted is not None
    assert (found.accepted.reason, found.accepted.by, found.accepted.expires) == ("wanted", "Ann", LATER)
    assert "accepted by Ann until" in (tmp_path / "run" / "summary.md").read_text().replace("&#58;", ":")
    assert found.exemplars
    assert report.bound is not None
    assert "1 accepted change left out" in report.bound.sentence
    assert ReasonCode.EXPECTED in codes(report)
    again, _ = judge_again(tmp_path / "run")
    assert again.findings == report.findings
    assert again.reasons == report.reasons


def test_a_change_that_changed_fails_as_accepted_but_changed(file: Path, tmp_path: Path) -> None:
    report = ran(tmp_path / "run", shop(price=12), expected=str(file))
    assert report.verdict is VerdictState.FAIL
    assert codes(report)[0] is ReasonCode.ACCEPTED_BUT_CHANGED
    assert report.findings[0].finding_class is FindingClass.DIVERGENCE
    again, _ = judge_again(tmp_path / "run")
    assert again.reasons == report.reasons


def test_another_kind_at_an_accepted_place_fails_as_accepted_but_changed(file: Path, tmp_path: Path) -> None:
    report = ran(tmp_path / "run", shop(price=None), expected=str(file))
    assert (report.verdict, codes(report)[0]) == (VerdictState.FAIL, ReasonCode.ACCEPTED_BUT_CHANGED)


def test_what_is_not_accepted_fails_beside_what_is(file: Path, tmp_path: Path) -> None:
    report = ran(tmp_path / "run", shop(price=11, path="/other"), expected=str(file))
    assert (report.verdict, codes(report)[0]) == (VerdictState.FAIL, ReasonCode.DIVERGENCE)
    assert {f.path: f.finding_class for f in report.findings} == {"$.price": FindingClass.EXPECTED, "$.path": FindingClass.DIVERGENCE}


def test_an_expired_entry_fails_again(file: Path, tmp_path: Path) -> None:
    (entry,) = read_expected_file(file)
    past = str(TODAY - datetime.timedelta(days=2))
    file.write_text(written([msgspec.structs.replace(entry, expires=past)]))
    report = ran(tmp_path / "run", shop(price=11), expected=str(file))
    assert (report.verdict, codes(report)[0]) == (VerdictState.FAIL, ReasonCode.DIVERGENCE)
    assert ReasonCode.ACCEPTANCE_EXPIRED in codes(report)


def test_must_change_fails_where_the_change_did_not_happen(failed: Path, tmp_path: Path) -> None:
    path = tmp_path / "expected.yaml"
    accepted(failed, path, report_in(failed).findings[0].id, must_change=True)
    missing = ran(tmp_path / "missing", shop(), expected=str(path))
    assert (missing.verdict, codes(missing)[0]) == (VerdictState.FAIL, ReasonCode.MUST_CHANGE)
    there = ran(tmp_path / "there", shop(price=11), expected=str(path))
    assert there.verdict is VerdictState.PASS


def test_a_change_that_shows_far_more_often_fails(tmp_path: Path) -> None:
    def dear(*numbers: int) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            price = 11 if request.path in {f"/items/{number}" for number in numbers} else 10
            return web.json_response({"path": request.path, "price": price})

        return answer

    path = tmp_path / "expected.yaml"
    first = ran(tmp_path / "first", dear(1, 2), count=60)
    accepted(tmp_path / "first", path, first.findings[0].id)
    again = ran(tmp_path / "again", dear(3, 4), count=60, expected=str(path))
    assert again.verdict is VerdictState.PASS
    often = ran(tmp_path / "often", dear(*range(30)), count=60, expected=str(path))
    assert (often.verdict, codes(often)[0]) == (VerdictState.FAIL, ReasonCode.ACCEPTED_BUT_CHANGED)


def test_a_file_that_cannot_be_read_never_passes(file: Path, tmp_path: Path) -> None:
    file.write_text(file.read_text().replace("kind: value", "kind: vlaue"))
    with pytest.raises(UsageError, match="vlaue"):
        ran(tmp_path / "run", shop(price=11), expected=str(file))
    with pytest.raises(UsageError):
        ran(tmp_path / "other", shop(price=11), expected=str(tmp_path / "none.yaml"))


def test_unknown_ambiguous_and_noisy_findings_are_refused(failed: Path, tmp_path: Path) -> None:
    for wrong in ("zz", "000000000000", "abc"):
        with pytest.raises(UsageError, match="no finding"):
            accepted(failed, tmp_path / "f.yaml", wrong)
    with pytest.raises(UsageError, match="nothing was chosen"):
        accepted(failed, tmp_path / "f.yaml")
    for bad in ({"expires": "soon"}, {"expires": "2020-01-01"}, {"reason": " "}, {"by": ""}):
        with pytest.raises(UsageError):
            accepted(failed, tmp_path / "f.yaml", report_in(failed).findings[0].id, **bad)
    assert not (tmp_path / "f.yaml").exists()


def edited(run: Path, to: Path, **changes: Any) -> Path:
    """A copy of a run's report with other findings."""
    to.mkdir()
    report = report_in(run)
    (to / "report.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(report, **changes)))
    return to


def test_prefixes_that_fit_two_findings_and_noise_are_refused(failed: Path, tmp_path: Path) -> None:
    finding = report_in(failed).findings[0]
    twin = msgspec.structs.replace(finding, id=finding.id[:8] + "ffff")
    two = edited(failed, tmp_path / "two", findings=(finding, twin))
    with pytest.raises(UsageError, match="fits 2 findings"):
        accepted(two, tmp_path / "f.yaml", finding.id[:8])
    noise = edited(failed, tmp_path / "noise", findings=(), noise=(msgspec.structs.replace(finding, finding_class=FindingClass.NOISE),))
    with pytest.raises(UsageError, match="it is noise"):
        accepted(noise, tmp_path / "f.yaml", finding.id)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("several") / "run"
    ran(out, shop(price=11, path="/x", more=1))
    return out


def test_root_endpoint_and_interactive_take_many_at_once(several: Path, tmp_path: Path) -> None:
    findings = report_in(several).findings
    assert len(findings) == 3
    path = tmp_path / "by-endpoint.yaml"
    accepted(several, path, endpoints=("GET /items/*",))
    assert [entry.id for entry in read_expected_file(path)] == sorted(finding.id for finding in findings)

    first, second, third = findings
    rooted = edited(
        several,
        tmp_path / "rooted",
        findings=(
            msgspec.structs.replace(first, root=None),
            msgspec.structs.replace(second, root=first.id),
            msgspec.structs.replace(third, root=second.id),
        ),
    )
    path = tmp_path / "by-root.yaml"
    accepted(rooted, path, roots=(second.id,))
    assert {entry.id for entry in read_expected_file(path)} == {second.id, third.id}

    path, asked = tmp_path / "asked.yaml", []
    what = Accepting(run=several, reason="wanted", expires=LATER, by="Ann", file=str(path))

    def ask(question: str) -> bool:
        asked.append(question)
        return first.id in question

    accept(what, Heard(), today=TODAY, ask=ask)
    assert len(asked) == 3
    assert [entry.id for entry in read_expected_file(path)] == [first.id]
    with pytest.raises(UsageError, match="no finding"):
        accepted(several, path, endpoints=("POST *",))


def test_accepting_again_replaces_and_keeps_others(several: Path, tmp_path: Path) -> None:
    path = tmp_path / "expected.yaml"
    first, second, _ = report_in(several).findings
    accepted(several, path, first.id, second.id)
    before = path.read_text()
    accepted(several, path, second.id)
    assert path.read_text() == before
    ui = accepted(several, path, second.id, reason="now better")
    assert any("replaced" in info for info in ui.infos)
    assert {entry.id: entry.reason for entry in read_expected_file(path)} == {first.id: "wanted", second.id: "now better"}


def test_nothing_secret_is_written(tmp_path: Path) -> None:
    def keyed(secret: str) -> Handler:
        async def answer(_request: web.Request) -> web.Response:
            return web.json_response({"password": secret})

        return answer

    report = ran(tmp_path / "run", keyed("hunter2-new"), stable=keyed("hunter2-old"))
    path = tmp_path / "expected.yaml"
    accepted(tmp_path / "run", path, report.findings[0].id)
    assert "hunter2" not in path.read_text()
    (entry,) = read_expected_file(path)
    assert (entry.seen.relation, entry.seen.forms) == (Relation.ANY, ("text -> text",))


def test_who_accepts_is_gits_user_or_the_login(failed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tname = Grace\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "expected.yaml"
    accepted(failed, path, report_in(failed).findings[0].id, by=None)
    assert read_expected_file(path)[0].by == "Grace"
    config.write_text("")
    monkeypatch.setenv("LOGNAME", "login")
    accepted(failed, path, report_in(failed).findings[0].id, by=None)
    assert read_expected_file(path)[0].by == "login"


def test_entries_that_the_change_itself_adds_do_not_pass_unless_the_policy_says_so(failed: Path, tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b.test", *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-b", "main")
    path = tmp_path / "expected.yaml"
    path.write_text(written([]))
    policy = tmp_path / "policy.yaml"
    policy.write_text("allow_self_accepted: true\n")
    git("add", ".")
    git("commit", "-m", "one")
    accepted(failed, path, report_in(failed).findings[0].id)

    refused = ran(tmp_path / "refused", shop(price=11), expected=str(path), policy_ref="main")
    assert (refused.verdict, codes(refused)[0]) == (VerdictState.FAIL, ReasonCode.DIVERGENCE)
    assert ReasonCode.SELF_ACCEPTED in codes(refused)
    allowed = ran(tmp_path / "allowed", shop(price=11), expected=str(path), policy_ref="main", policy=str(policy))
    assert allowed.verdict is VerdictState.PASS
    assert ReasonCode.SELF_ACCEPTED in codes(allowed)
    git("commit", "-am", "two")
    trusted = ran(tmp_path / "trusted", shop(price=11), expected=str(path), policy_ref="main")
    assert trusted.verdict is VerdictState.PASS
    assert ReasonCode.SELF_ACCEPTED not in codes(trusted)


def listed(*prices: int) -> Handler:
    """A build that answers with a list."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"path": request.path, "items": [{"price": price} for price in prices]})

    return answer


def test_a_second_element_does_not_hide_behind_an_accepted_first_one(tmp_path: Path) -> None:
    stable, path = listed(10, 20, 30), tmp_path / "expected.yaml"
    first = ran(tmp_path / "first", listed(11, 20, 30), stable=stable)
    (finding,) = first.findings
    assert finding.path == "$.items[*].price"
    accepted(tmp_path / "first", path, finding.id)
    assert ran(tmp_path / "same", listed(11, 20, 30), stable=stable, expected=str(path)).verdict is VerdictState.PASS
    for name, prices in {"another": (11, 20, 99), "null": (11, 20, None)}.items():
        report = ran(tmp_path / name, listed(*prices), stable=stable, expected=str(path))  # type: ignore[arg-type]  # a null
        assert (report.verdict, codes(report)[0]) == (VerdictState.FAIL, ReasonCode.ACCEPTED_BUT_CHANGED)

    # Accepted again, all elements are known: that run has looked at them.
    accepted(tmp_path / "another", path, finding.id)
    (entry,) = read_expected_file(path)
    assert {(10, 11), (30, 99)} <= set(entry.seen.values)
    assert ran(tmp_path / "again", listed(11, 20, 99), stable=stable, expected=str(path)).verdict is VerdictState.PASS
    report = ran(tmp_path / "third", listed(11, 21, 99), stable=stable, expected=str(path))
    assert (report.verdict, codes(report)[0]) == (VerdictState.FAIL, ReasonCode.ACCEPTED_BUT_CHANGED)


def test_of_more_elements_than_are_looked_at_an_answer_is_not_as_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.core.limits.EXPECTED_ELEMENTS_MAX", 3)
    stable, path = listed(*[10] * 8), tmp_path / "expected.yaml"
    ran(tmp_path / "first", listed(11, *[10] * 7), stable=stable)
    accepted(tmp_path / "first", path, endpoints=("*",))
    assert ran(tmp_path / "few", listed(*[11] * 4, *[10] * 4), stable=stable, expected=str(path)).verdict is VerdictState.PASS
    report = ran(tmp_path / "many", listed(*[11] * 5, *[10] * 3), stable=stable, expected=str(path))
    assert (report.verdict, codes(report)[0]) == (VerdictState.FAIL, ReasonCode.ACCEPTED_BUT_CHANGED)


def clock(hours: int) -> Handler:
    """A build whose clock is so many hours ahead."""

    async def answer(request: web.Request) -> web.Response:
        at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
        return web.json_response({"path": request.path, "at": at.strftime("%Y-%m-%dT%H:%M:%S.%f")})

    return answer


def test_a_shift_of_noisy_values_is_accepted_by_endpoint_and_another_shift_fails(tmp_path: Path) -> None:
    stable, path = clock(0), tmp_path / "expected.yaml"
    first = ran(tmp_path / "first", clock(9), stable=stable)
    assert first.verdict is VerdictState.FAIL
    accepted(tmp_path / "first", path, endpoints=("GET /items/*",))
    entries = read_expected_file(path)
    assert Kind.DISTANCE in {entry.kind for entry in entries}
    for entry in entries:
        assert (entry.seen.relation, entry.seen.unit) == (Relation.DIFFERENCE, "s")
        assert entry.seen.median == pytest.approx(9 * 3600, abs=60)

    same = ran(tmp_path / "same", clock(9), stable=stable, expected=str(path))
    assert same.verdict is VerdictState.PASS
    assert {finding.finding_class for finding in same.findings} == {FindingClass.EXPECTED}
    again, _ = judge_again(tmp_path / "same")
    assert again.findings == same.findings
    other = ran(tmp_path / "other", clock(-9), stable=stable, expected=str(path))
    assert (other.verdict, codes(other)[0]) == (VerdictState.FAIL, ReasonCode.ACCEPTED_BUT_CHANGED)
    again, _ = judge_again(tmp_path / "other")
    assert again.reasons == other.reasons


def view(failed: Path, aspect: Aspect, path: str, kind: Kind, seen: Seen) -> FindingView:
    """A finding of another sort in the report of a run."""
    found = report_in(failed).findings[0]
    name = finding_id(found.endpoint, aspect, path, kind)
    return msgspec.structs.replace(found, id=name, aspect=aspect, path=path, kind=kind, seen=seen)


RATE = Seen(requests=100, changed=20, rate_low=0.1, rate_high=0.3, still_high=0.2)
RATIO = Seen(relation=Relation.RATIO, low=1.2, high=1.4, median=1.3)
SHIFT = Seen(relation=Relation.DIFFERENCE, low=1.0, high=2.0, median=1.5)
SORTS = [
    (Aspect.BODY, "$.at", Kind.DISTANCE, SHIFT),
    (Aspect.BODY, "$.load", Kind.BIAS, SHIFT),
    (Aspect.BODY, "$.id", Kind.STYLE, RATE),
    (Aspect.BODY, "$.id", Kind.SEQUENCE, RATE),
    (Aspect.BODY, "$.flag", Kind.MIX, RATE),
    (Aspect.LATENCY, "p50", Kind.SLOWER, RATIO),
    (Aspect.LATENCY, "tail2x", Kind.SLOWER, RATE),
    (Aspect.DETERMINISM, "$.total", Kind.VALUE, RATE),
]


def test_noise_latency_and_determinism_are_accepted_with_what_was_seen_one_by_one_by_root_and_interactively(
    failed: Path, tmp_path: Path
) -> None:
    views = tuple(view(failed, *sort) for sort in SORTS)
    rooted = (views[0], *(msgspec.structs.replace(one, root=views[0].id) for one in views[1:]))
    run, path = edited(failed, tmp_path / "run", findings=rooted), tmp_path / "f.yaml"
    accepted(run, path, *(one.id for one in views))
    wanted = {one.id: one.seen for one in views}
    assert {entry.id: entry.seen for entry in read_expected_file(path)} == wanted
    path = tmp_path / "root.yaml"
    accepted(run, path, roots=(views[0].id,))
    assert {entry.id: entry.seen for entry in read_expected_file(path)} == wanted
    path = tmp_path / "asked.yaml"
    accept(Accepting(run=run, reason="wanted", expires=LATER, by="Ann", file=str(path)), Heard(), today=TODAY, ask=lambda _: True)
    assert {entry.id: entry.seen for entry in read_expected_file(path)} == wanted


def test_must_change_is_refused_for_a_bias_and_taken_for_the_others(failed: Path, tmp_path: Path) -> None:
    views = tuple(view(failed, *sort) for sort in SORTS)
    run, path = edited(failed, tmp_path / "run", findings=views), tmp_path / "f.yaml"
    with pytest.raises(UsageError, match="without must_change"):
        accepted(run, path, *(one.id for one in views), must_change=True)
    accepted(run, path, endpoints=("*",), must_change=True)
    entries = read_expected_file(path)
    assert all(entry.must_change for entry in entries)
    assert {entry.kind for entry in entries} == {one.kind for one in views} - {Kind.BIAS}


@pytest.mark.parametrize(
    ("sort", "told"),
    [
        ((Aspect.LATENCY, "budget p99 300ms", Kind.SLOWER, RATE), "latency_budgets"),
        ((Aspect.LATENCY, "p50", Kind.SLOWER, Seen(relation=Relation.RATIO, median=1.3)), "how much slower it may be is not known"),
        ((Aspect.BODY, "$.at", Kind.DISTANCE, Seen()), "by how much values are off is not known"),
        ((Aspect.BODY, "$.id", Kind.STYLE, Seen()), "how often it shows is not known"),
        ((Aspect.BODY, "$", Kind.UNCOMPARABLE, Seen()), "could not be compared"),
    ],
)
def test_what_could_be_held_to_nothing_is_refused_with_what_to_do(failed: Path, tmp_path: Path, sort: Any, told: str) -> None:
    one = view(failed, *sort)
    run = edited(failed, tmp_path / "run", findings=(one,))
    with pytest.raises(UsageError, match=told):
        accepted(run, tmp_path / "f.yaml", one.id)
    assert not (tmp_path / "f.yaml").exists()
