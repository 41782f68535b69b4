"""Stored runs: judged again from their bets, with the same or another policy, and rendered in another form."""

from pathlib import Path
from typing import Final

import msgspec

from harness.app import audit, finish, judging_policy, parts
from harness.app.context import StoredFacts
from harness.core.errors import SetupError
from harness.evidence.bets import TrialBets
from harness.evidence.expected import ExpectedChanges
from harness.evidence.gate import judge
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy, PolicyOrigin
from harness.evidence.snapshot import Verdict
from harness.report.build import build_report
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.model import Report, decode_report, encode_report
from harness.report.terminal import verdict_view
from harness.settings.policies import PolicySource, check_digest, for_labels
from harness.settings.schema import AuditSettings
from harness.store import StoredRun
from harness.ui import Ui

AS_IT_IS: Final = PolicySource()


def judge_run(run: Path, policy: str | None, ui: Ui, audited: AuditSettings | None = None, source: PolicySource = AS_IT_IS) -> int:
    """Judge a stored run again and print the answer; the verdict's exit code. Raises as `judge_again` does.

    With `audited` the verdict is appended to the audit file of these settings: a bare name is a file beside the run's folder.
    """
    report, verdict = judge_again(run, policy, source)
    ui.result(verdict_view(report))
    code = finish.exit_code(verdict)
    if audited is None:
        return code
    file = audit.audit_file(audited, run.resolve().parent)
    record, at_s = StoredRun.open(run).record, parts.SystemClock().time()
    done = file is not None and audit.write_verdict(record, report, file, ui, mode=audit.JUDGED_AGAIN, at_s=at_s)
    return audit.audited_code(code, audited, audited=done)


def judge_again(run: Path, policy: str | None = None, source: PolicySource = AS_IT_IS) -> tuple[Report, Verdict]:
    """Fold the stored bets again, by the run's own policy or the one that is named. Nothing is written.

    Conditions of the policy are applied to the labels that are stored with the run.

    Raises SetupError for a run that is damaged, of a newer version, not finished, or whose bets are not complete: such a run
    never passes.
    """
    stored = StoredRun.open(run)
    facts = finish.decoded_facts(stored)
    if not stored.record.finished:
        raise SetupError("the run ended before it was finished", where=str(run), fix="run it again")
    if stored.record.bets_lost:
        raise SetupError(f"{stored.record.bets_lost} trials' bets were lost while it ran", where=str(run), fix="run it again")
    origin, chosen = _policy(facts, policy, source)
    applied = ExpectedChanges(facts.expected.applied)
    ledger = Ledger(chosen, endpoints=tuple(facts.endpoints), live=facts.live, control=facts.control, design=facts.design, accepted=applied)
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
        expected=facts.expected,
    )
    judged = build_report(
        run=before.run,
        policy=chosen,
        origin=origin,
        snapshot=snapshot,
        verdict=verdict,
        totals=facts.totals,
        exemplars=[exemplar for finding in before.findings for exemplar in finding.exemplars],
        coverage=before.coverage,
        effects=facts.effects,
        seen={finding.id: finding.seen for finding in (*before.findings, *before.noise) if finding.seen is not None},
        expected=facts.expected,
    )
    report = msgspec.structs.replace(
        judged, rules=before.rules, unused_rules=before.unused_rules, settings=before.settings, blind=before.blind, epoch=before.epoch
    )
    return report, verdict


def _policy(facts: StoredFacts, name: str | None, source: PolicySource) -> tuple[PolicyOrigin, Policy]:
    """The policy to judge by, with its conditions applied to the stored labels, and which it is."""
    labels = facts.run.provenance.labels
    if name is not None:
        loaded = judging_policy.named_policy(name, facts.run.mode, ref=source.ref, digest=source.digest)
        loaded = for_labels(loaded, labels)
    else:
        loaded = judging_policy.policy_again(facts.whole_policy or facts.policy, labels, ref=facts.policy_ref)
        if source.digest is not None:
            check_digest(loaded, source.digest)
    return loaded.origin, loaded.policy


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
