"""From a finished run to its report: examples for the findings, every form, and what could not be kept is said."""

from pathlib import Path

import msgspec
import pytest

from comparators.plan import build_plan
from comparators.registry import load_comparators
from comparators.trial import compare_trial
from harness.app import finish
from harness.app.context import Context, StoredFacts
from harness.core.errors import SetupError
from harness.core.labels import Control, Design, ErrorKind, Role, RunMode, VerdictState
from harness.core.values import Arm, Exchange, TransportError, Trial
from harness.evidence.bets import bets_of
from harness.evidence.gate import judge
from harness.evidence.snapshot import Snapshot, Verdict
from harness.report.model import Blind, Report, TargetFacts, decode_report
from harness.settings.load import Loaded
from harness.settings.schema import Settings, StoreSettings
from harness.store import StoredRun, StoredTrial
from tests.app.support import Heard, get, report_in, trial

PLAN = build_plan((), load_comparators())
TARGETS = {Role.STABLE: TargetFacts(address="http://127.0.0.1:1"), Role.CANDIDATE: TargetFacts(address="http://127.0.0.1:2")}


def context(out: Path) -> Context:
    return Context(
        Loaded(Settings(store=StoreSettings(run_dir=str(out), keep="all")), {}),
        mode=RunMode.GATE,
        control=Control.SECONDARY,
        design=Design.THREE_ARM,
        endpoints={"GET /items/{int}": 1},
        live=False,
    )


def folded(run: Context, *trials: Trial) -> Snapshot:
    """Trials compared, folded and kept, as the pipeline does it."""
    for one in trials:
        comparison = compare_trial(one, PLAN)
        run.tally.entered()
        run.tally.compared(one, comparison)
        bets = bets_of(one, comparison)
        run.store.keep_bets(bets)
        run.store.keep_trial(one, comparison, exemplar=bool(run.ledger.fold(bets)))
    return run.ledger.snapshot()


def written(run: Context, snapshot: Snapshot, *, history: finish.HistoryOf = finish.no_history) -> tuple[Report, Verdict]:
    totals = run.tally.totals()
    verdict = judge(snapshot, totals, run.policy.policy, replayable=1)
    facts = StoredFacts(run=run.facts(TARGETS), policy=run.policy.policy, control=run.control, design=run.design, totals=totals)
    blind = [Blind(what="something was not seen", count=2)]
    return finish.write_report(run, facts, snapshot, verdict, totals, blind=blind, history=history), verdict


def differing(count: int) -> list[Trial]:
    """One in each pass: what all answers of one pass share counts once (docs/evidence.md)."""
    return [trial(seq, candidate=b'{"price":11}', pass_index=seq) for seq in range(count)]


def test_a_finding_is_shown_with_its_examples_and_what_was_sent_before(tmp_path: Path) -> None:
    asked: list[str] = []

    def history(one: Trial) -> finish.History:
        asked.append(one.id)
        return finish.History([get("/login")], "shadowdiff replay t.gor --session s0")

    with context(tmp_path / "run") as run:
        snapshot = folded(run, *differing(20))
        report, verdict = written(run, snapshot, history=history)
    assert verdict.state is VerdictState.FAIL
    finding = report.findings[0]
    assert tuple(exemplar.trial_id for exemplar in finding.exemplars) == snapshot.findings[0].exemplars == tuple(asked)
    assert "http://127.0.0.1:2" in finding.exemplars[0].command
    assert "/login" in finding.exemplars[0].command
    assert "shadowdiff replay t.gor --session s0" in finding.exemplars[0].command
    assert "price" in finding.exemplars[0].explanation
    assert report.blind[0].what == "something was not seen"
    assert report == report_in(tmp_path / "run")
    assert finish.decoded_facts(StoredRun.open(tmp_path / "run")).totals.compared == 20


def test_an_example_without_an_answer_needs_no_explanation(tmp_path: Path) -> None:
    dead = Arm(role=Role.CANDIDATE, exchange=Exchange(request=get("/items/1"), error=TransportError(ErrorKind.REFUSED)))
    with context(tmp_path / "run") as run:
        report, _ = written(run, folded(run, *(msgspec.structs.replace(trial(seq), candidate=dead) for seq in range(20))))
    assert report.findings[0].exemplars[0].candidate is not None
    assert "refused the connection" in (report.findings[0].exemplars[0].candidate.error or "")


def test_a_body_is_not_explained_where_the_trial_has_none(tmp_path: Path) -> None:
    """The trials file holds what it holds: an example of a body finding may come from a trial that lost an arm since."""
    with context(tmp_path / "run") as run:
        snapshot = folded(run, *differing(8))
        facts = run.facts({Role.STABLE: TARGETS[Role.STABLE]})
        first = differing(1)[0]
        stored = StoredTrial(msgspec.structs.replace(first, candidate=None), compare_trial(first, PLAN))
        found = finish.exemplars_of([stored], snapshot, facts, finish.no_history)
    assert [exemplar.trial_id for exemplar in found] == ["t0"]
    assert found[0].candidate is None


def test_reading_ends_with_the_last_example(tmp_path: Path) -> None:
    def kept() -> "list[StoredTrial]":
        return [StoredTrial(one, compare_trial(one, PLAN)) for one in differing(30)]

    with context(tmp_path / "run") as run:
        snapshot = folded(run, *differing(30))
        rest = iter(kept())
        found = finish.exemplars_of(rest, snapshot, run.facts(TARGETS), finish.no_history)
    assert len(found) == len(snapshot.findings[0].exemplars)
    assert next(rest).trial.id > "t4", "the others were not looked at"


def test_every_form_is_written(tmp_path: Path) -> None:
    with context(tmp_path / "run") as run:
        report, _ = written(run, folded(run, *differing(3)))
    forms = finish.rendered(report)
    assert set(forms) == {"report.json", "report.html", "junit.xml", "summary.md"}
    assert decode_report(forms["report.json"]) == report
    for name, data in forms.items():
        assert (tmp_path / "run" / name).read_bytes() == data


def test_what_could_not_be_written_is_said_after_the_verdict(tmp_path: Path) -> None:
    ui = Heard()
    with context(tmp_path / "run") as run:
        (run.folder / "report.html").mkdir()
        report, _ = written(run, folded(run, *differing(3)))
    finish.show(ui, run, report)
    assert ui.warnings == ["report.html could not be written (1)"]
    assert str(tmp_path / "run" / "report.html") in ui.text


@pytest.mark.parametrize(("state", "code"), [(VerdictState.PASS, 0), (VerdictState.FAIL, 1), (VerdictState.INCONCLUSIVE, 3), (None, 0)])
def test_exit_codes_are_those_of_the_verdict(state: VerdictState | None, code: int) -> None:
    assert finish.exit_code(None if state is None else Verdict(state=state, reasons=())) == code


def test_a_run_that_never_got_so_far_has_no_facts(tmp_path: Path) -> None:
    with context(tmp_path / "run"):
        pass
    with pytest.raises(SetupError, match="ended before"):
        finish.decoded_facts(StoredRun.open(tmp_path / "run"))
