"""From a finished run to what people and machines read: verdict, report files, words on the terminal."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from comparators.explain import explain
from harness.app.context import FACTS, Context, StoredFacts
from harness.app.expecting import seen_views
from harness.core.labels import Aspect, Role, VerdictState
from harness.core.values import Request, Totals, Trial
from harness.evidence.snapshot import Snapshot, Verdict
from harness.report.build import build_report, coverage_of, settings_used
from harness.report.exemplars import build_exemplar
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import render_markdown
from harness.report.model import Blind, EpochFacts, Exemplar, Report, RunFacts, encode_report
from harness.report.terminal import verdict_view
from harness.store import StoredRun, StoredTrial
from harness.ui import Ui

EXIT_CODE: Final = {VerdictState.PASS: 0, VerdictState.FAIL: 1, VerdictState.INCONCLUSIVE: 3}
REPORT_FILE: Final = "report.json"


class History(NamedTuple):
    """What came before a trial in its session: for the reproducing command."""

    earlier: Sequence[Request] = ()
    """The session's requests before the trial's own, redacted; empty where they are not known."""
    replay: str = ""
    """The command line that replays the session."""


HistoryOf = Callable[[Trial], History]


def no_history(_trial: Trial) -> History:
    """For a run that does not keep sessions."""
    return History()


def write_report(
    context: Context,
    stored: StoredFacts,
    snapshot: Snapshot,
    verdict: Verdict | None,
    totals: Totals,
    *,
    blind: Iterable[Blind] = (),
    seen_endpoints: Collection[str] = (),
    history: HistoryOf = no_history,
    epoch: EpochFacts | None = None,
) -> Report:
    """Write everything a run leaves behind into its directory, and return the report. A failing disk is counted, not raised.

    `seen_endpoints` are those of all requests, whether they were compared or not.
    """
    context.store.flush()
    compared = {state.endpoint for state in snapshot.endpoints if state.compared}
    report = build_report(
        run=stored.run,
        policy=context.policy.policy,
        origin=context.policy.origin,
        snapshot=snapshot,
        verdict=verdict,
        totals=totals,
        rules=context.settings.rules,
        rules_used=context.fold.rules_used,
        exemplars=exemplars_of(context.store.kept(), snapshot, stored.run, history),
        blind=[*blind, *(Blind(what=what, count=count) for what, count in context.store.blind())],
        coverage=coverage_of(snapshot, set(seen_endpoints) - compared),
        effects=stored.effects,
        seen=seen_views(context.fold.seen, snapshot, context.redactor),
        expected=stored.expected,
        settings=settings_used({key: (value, source) for key, value, source in context.store.record.settings}),
    )
    if epoch is not None:
        report = msgspec.structs.replace(report, epoch=epoch)
    whole = msgspec.structs.replace(stored, whole_policy=context.policy.whole, policy_ref=context.policy.ref)
    context.store.add_fact(FACTS, whole)
    for name, data in rendered(report).items():
        context.store.write_file(name, data)
    return report


def rendered(report: Report) -> dict[str, bytes]:
    """File name to content, for every form a report has."""
    return {
        REPORT_FILE: encode_report(report),
        "report.html": render_html(report).encode("utf-8"),
        "junit.xml": render_junit(report),
        "summary.md": render_markdown(report).encode("utf-8"),
    }


def exemplars_of(kept: Iterable[StoredTrial], snapshot: Snapshot, facts: RunFacts, history: HistoryOf) -> list[Exemplar]:
    """Examples of the findings, from the trials that were kept. They are redacted already."""
    wanted: dict[str, list[int]] = {}
    for number, finding in enumerate(snapshot.findings):
        for trial_id in finding.exemplars:
            wanted.setdefault(trial_id, []).append(number)
    found: list[tuple[int, Exemplar]] = []
    for stored in kept:
        if not wanted:
            break
        numbers = wanted.pop(stored.trial.id, ())
        found.extend((number, _exemplar(stored, snapshot, number, facts, history)) for number in numbers)
    found.sort(key=lambda item: item[0])
    return [exemplar for _, exemplar in found]


def _exemplar(stored: StoredTrial, snapshot: Snapshot, number: int, facts: RunFacts, history: HistoryOf) -> Exemplar:
    finding = snapshot.findings[number]
    trial = stored.trial
    past = history(trial)
    return build_exemplar(
        finding,
        trial,
        stored.comparison,
        stable=facts.targets[Role.STABLE].address,
        candidate=facts.targets[Role.CANDIDATE].address if Role.CANDIDATE in facts.targets else "",
        earlier=past.earlier,
        replay=past.replay,
        explanation=_explained(trial, finding.path) if finding.aspect is Aspect.BODY else "",
    )


def _explained(trial: Trial, path: str) -> str:
    """deepdiff's words for a difference between stable's and the candidate's answers; empty where one of them has none."""
    left = trial.stable.exchange.response
    right = trial.candidate.exchange.response if trial.candidate is not None else None
    if left is None or right is None:
        return ""
    return explain(left, right, path)


def show(ui: Ui, context: Context, report: Report) -> None:
    """Print the verdict, or for a replay what was found, where the report is, and what of the run could not be kept."""
    ui.result(verdict_view(report, where=str(context.folder / "report.html")))
    said = {blind.what for blind in report.blind}
    for what, count in context.store.blind():
        if what not in said:
            ui.warn(f"{what} ({count:,})")


def exit_code(verdict: Verdict | None) -> int:
    """0 without a verdict; else the verdict's."""
    return 0 if verdict is None else EXIT_CODE[verdict.state]


def decoded_facts(run: StoredRun) -> StoredFacts:
    """What the run said of itself. Raises SetupError where it never got that far."""
    return run.fact(FACTS, StoredFacts)
