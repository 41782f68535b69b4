"""Keeps in the run directory what is folded: bets always, trials as `store.keep` says, nothing unredacted."""

from harness.core.redact import Redactor
from harness.core.values import Comparison
from harness.evidence.bets import TrialBets
from harness.fold import TrialSource
from harness.report.redacted import redact_comparison
from harness.store import RunStore


class StoreKeeper:
    """The fold's Keeper over a RunStore."""

    def __init__(self, store: RunStore, redactor: Redactor) -> None:
        self._store = store
        self._redactor = redactor

    def keep_bets(self, bets: TrialBets) -> None:
        """See `harness.fold.Keeper`."""
        self._store.keep_bets(bets)

    def keep_trial(self, trial: TrialSource, comparison: Comparison, *, exemplar: bool) -> None:
        """See `harness.fold.Keeper`. An exemplar is kept even where nothing differs in it (latency)."""
        if self._store.wants(comparison, exemplar=exemplar) and (found := trial()) is not None:
            self._store.keep_trial(found, redact_comparison(self._redactor, comparison), exemplar=exemplar)
