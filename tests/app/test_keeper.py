"""What the run directory gets of each trial: bets always, trials as it keeps them, nothing unredacted."""

from functools import partial
from pathlib import Path

import msgspec

from comparators.plan import build_plan
from comparators.registry import load_comparators
from comparators.trial import compare_trial
from harness.app.keeper import StoreKeeper
from harness.app.parts import redactor_of
from harness.core.limits import STORED_PER_DIFFERENCE_MAX
from harness.core.values import Trial
from harness.evidence.bets import TrialBets, bets_of
from harness.report.redacted import redact_trial
from harness.settings.schema import RedactSettings
from harness.store import Keep, RunRecord, RunStore, StoredRun, StoredTrial
from tests.app.support import trial

PLAN = build_plan((), load_comparators())


def identity(one: Trial) -> Trial:
    return one


def kept(base: Path, keep: Keep, *trials: Trial, exemplars: tuple[str, ...] = ()) -> tuple[list[TrialBets], list[StoredTrial]]:
    redactor = redactor_of(RedactSettings())
    store = RunStore.create(base, RunRecord(id="run", keep=keep), redact=lambda one: redact_trial(redactor, one))
    keeper = StoreKeeper(store, redactor)
    for one in trials:
        comparison = compare_trial(one, PLAN)
        keeper.keep_bets(bets_of(one, comparison))
        keeper.keep_trial(partial(identity, one), comparison, endpoint=one.endpoint, exemplar=one.id in exemplars)
    store.close()
    stored = StoredRun.open(base / "run")
    return [msgspec.msgpack.decode(frame, type=TrialBets) for frame in stored.bets()], list(stored.trials())


def test_bets_are_always_kept_and_trials_as_told(tmp_path: Path) -> None:
    equal, other = trial(0), trial(1, candidate=b'{"price":11}')
    for keep, expected in ((Keep.LEDGER, []), (Keep.DIVERGED, ["t1"]), (Keep.ALL, ["t0", "t1"])):
        bets, trials = kept(tmp_path / keep, keep, equal, other)
        assert [one.trial for one in bets] == ["t0", "t1"]
        assert [one.trial.id for one in trials] == expected


def test_an_exemplar_is_kept_though_nothing_differs_in_it(tmp_path: Path) -> None:
    _, trials = kept(tmp_path, Keep.DIVERGED, trial(0), trial(1), exemplars=("t1",))
    assert [one.trial.id for one in trials] == ["t1"]


def test_a_trial_that_was_not_handed_on_is_passed_over(tmp_path: Path) -> None:
    redactor = redactor_of(RedactSettings())
    store = RunStore.create(tmp_path, RunRecord(id="run", keep=Keep.ALL), redact=lambda one: redact_trial(redactor, one))
    keeper = StoreKeeper(store, redactor)
    for seq, large in enumerate((False, True, False)):
        one = trial(seq)
        keeper.keep_trial(
            partial(identity, one) if not large else lambda: None, compare_trial(one, PLAN), endpoint=one.endpoint, exemplar=False
        )
    store.close()
    assert [stored.trial.id for stored in StoredRun.open(tmp_path / "run").trials()] == ["t0", "t2"]


def test_what_differs_in_every_trial_is_kept_some_times_and_what_is_rare_whenever_it_comes(tmp_path: Path) -> None:
    noisy = [trial(seq, candidate=b'{"price":11}') for seq in range(STORED_PER_DIFFERENCE_MAX + 5)]
    rare = trial(900, candidate=b'{"price":10,"more":1}')
    elsewhere = msgspec.structs.replace(trial(901, candidate=b'{"price":11}'), endpoint="GET /other")
    _, trials = kept(tmp_path, Keep.DIVERGED, *noisy, rare, elsewhere, noisy[0], exemplars=(noisy[-1].id,))
    ids = [one.trial.id for one in trials]
    assert ids == [one.id for one in noisy[:STORED_PER_DIFFERENCE_MAX]] + [noisy[-1].id, rare.id, elsewhere.id]


def test_no_secret_reaches_the_disk(tmp_path: Path) -> None:
    secrets = b'{"password":"hunter2-and-more","price":10}', b'{"password":"correct-horse-battery","price":10}'
    one = trial(0, candidate=secrets[0])
    stable = msgspec.structs.replace(one.stable, exchange=msgspec.structs.replace(trial(0, candidate=secrets[1]).candidate.exchange))  # type: ignore[union-attr]  # all there in trial()
    bets, trials = kept(tmp_path, Keep.DIVERGED, msgspec.structs.replace(one, stable=stable))
    assert len(bets) == len(trials) == 1
    assert trials[0].comparison.stable_candidate, "that they differ is known"
    shown = [difference.left for difference in trials[0].comparison.stable_candidate if difference.path == "$.password"]
    assert shown
    assert all(str(value).startswith("redacted") for value in shown)
    stored = msgspec.msgpack.encode(trials) + (tmp_path / "run" / "bets.msgpack").read_bytes()
    assert b"hunter2" not in stored
    assert b"correct-horse" not in stored


def test_what_was_kept_before_counts_towards_the_bound(tmp_path: Path) -> None:
    redactor = redactor_of(RedactSettings())
    store = RunStore.create(tmp_path, RunRecord(id="run"), redact=lambda one: redact_trial(redactor, one))
    keeper = StoreKeeper(store, redactor)
    one = trial(1, candidate=b'{"price":11}')
    comparison = compare_trial(one, PLAN)
    for _ in range(STORED_PER_DIFFERENCE_MAX - 1):
        keeper.recall(one.endpoint, comparison)
    for _ in range(3):
        keeper.keep_trial(partial(identity, one), comparison, endpoint=one.endpoint, exemplar=False)
    store.close()
    assert len(list(StoredRun.open(tmp_path / "run").trials())) == 1
