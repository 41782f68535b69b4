"""Stored runs: judged again from their bets, with the same or another policy, and rendered in another form."""

from pathlib import Path

import msgspec

from harness.app import finish, parts
from harness.core.errors import SetupError
from harness.evidence.bets import TrialBets
from harness.evidence.gate import judge
from harness.evidence.ledger import Ledger
from harness.evidence.snapshot import Verdict
from harness.report.build import build_report
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.model import Report, decode_report, encode_report
from harness.report.terminal import verdict_view
from harness.store import StoredRun
from harness.ui import Ui


def judge_run(run: Path, policy: str | None, ui: Ui) -> int:
    """Judge a stored run again and print the answer; the verdict's exit code. Raises as `judge_again` does."""
    report, verdict = judge_again(run, policy)
    ui.result(verdict_view(report))
    return finish.exit_code(verdict)


def judge_again(run: Path, policy: str | None = None) -> tuple[Report, Verdict]:
    """Fold the stored bets again, by the run's own policy or the one that is named. Nothing is written.

    Raises SetupError for a run that is damaged, of a newer version, not finished, or whose bets are not complete: such a run
    never passes.
    """
    stored = StoredRun.open(run)
    facts = finish.decoded_facts(stored)
    if not stored.record.finished:
        raise SetupError("the run ended before it was finished", where=str(run), fix="run it again")
    if stored.record.bets_lost:
        raise SetupError(f"{stored.record.bets_lost} trials' bets were lost while it ran", where=str(run), fix="run it again")
    chosen = facts.policy if policy is None else parts.policy_of(policy, facts.run.mode).policy
    ledger = Ledger(chosen, endpoints=tuple(facts.endpoints), live=facts.live, control=facts.control, design=facts.design)
    count = 0
    for frame in stored.bets():
        ledger.fold(_decoded(frame, run))
        count += 1
    if count != stored.record.bets:
        raise SetupError(f"{count} of {stored.record.bets} trials' bets can be read", where=str(run), fix="run it again")
    snapshot = ledger.snapshot()
    before = stored_report(run)
    verdict = judge(
        snapshot,
        facts.totals,
        chosen,
        interrupted=facts.interrupted,
        ended=facts.ended,
        has_candidate=facts.has_candidate,
        replayable=facts.replayable,
        unused_rules=facts.unused_rules,
        effects=facts.effects,
    )
    judged = build_report(
        run=before.run,
        policy=chosen,
        snapshot=snapshot,
        verdict=verdict,
        totals=facts.totals,
        exemplars=[exemplar for finding in before.findings for exemplar in finding.exemplars],
        coverage=before.coverage,
        effects=facts.effects,
    )
    report = msgspec.structs.replace(
        judged, rules=before.rules, unused_rules=before.unused_rules, settings=before.settings, blind=before.blind
    )
    return report, verdict


def _decoded(frame: bytes, run: Path) -> TrialBets:
    try:
        return msgspec.msgpack.decode(frame, type=TrialBets)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SetupError(
            f"a trial's bets cannot be read: {error}", where=str(run), fix="judge it with the version that wrote it"
        ) from error


def render_report(run: Path, form: str, ui: Ui) -> int:
    """Print a stored run's report as html, json, junit or markdown."""
    report = stored_report(run)
    if form == "json":
        text = encode_report(report).decode("utf-8")
    elif form == "html":
        text = render_html(report)
    elif form == "junit":
        text = render_junit(report).decode("utf-8")
    else:
        text = render_markdown(report)
    ui.result(text.rstrip("\n"))
    return 0


def stored_report(run: Path) -> Report:
    """The report that the run wrote. Raises SetupError where there is none."""
    path = run / finish.REPORT_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SetupError(f"there is no report: {error.strerror}", where=str(path), fix="name the folder of a run that has ended") from error
    return decode_report(data, where=str(path))
