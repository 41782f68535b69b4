"""Keeps in the run directory what is folded: bets always, trials as `store.keep` says, nothing unredacted."""

from harness.core.labels import Aspect, Kind
from harness.core.limits import STORED_DIFFERENCES_MAX, STORED_PER_DIFFERENCE_MAX
from harness.core.redact import Redactor
from harness.core.values import Comparison
from harness.evidence.bets import TrialBets
from harness.fold import TrialSource
from harness.report.redacted import redact_comparison
from harness.store import RunStore


class StoreKeeper:
    """The fold's Keeper over a RunStore.

    What differs in every trial (a time, an id) is kept some times and no more: redacting and writing bodies costs more than
    comparing them, and the thousandth example of a difference says nothing new. A difference that is rare is kept whenever it
    comes.
    """

    def __init__(self, store: RunStore, redactor: Redactor) -> None:
        self._store = store
        self._redactor = redactor
        self._kept: dict[tuple[str, bool, Aspect, str, Kind], int] = {}
        """Trials kept by endpoint, whether it is the candidate that differs, and the place and kind of the difference."""

    def keep_bets(self, bets: TrialBets) -> None:
        """See `harness.fold.Keeper`."""
        self._store.keep_bets(bets)

    def recall(self, endpoint: str, comparison: Comparison) -> None:
        """A trial with this comparison was kept before."""
        self._is_news(endpoint, comparison)

    def keep_trial(self, trial: TrialSource, comparison: Comparison, *, endpoint: str, exemplar: bool) -> None:
        """See `harness.fold.Keeper`. An exemplar is kept even where nothing differs in it (latency)."""
        if not self._store.wants(comparison, exemplar=exemplar):
            return
        if not exemplar and not self._store.keeps_all and not self._is_news(endpoint, comparison):
            return
        if (found := trial()) is not None:
            self._store.keep_trial(found, redact_comparison(self._redactor, comparison), exemplar=exemplar)

    def _is_news(self, endpoint: str, comparison: Comparison) -> bool:
        """Whether some difference was not kept often enough yet; counts them where it is so."""
        keys = {
            (endpoint, candidate, difference.aspect, difference.path, difference.kind)
            for candidate, differences in ((True, comparison.stable_candidate), (False, comparison.stable_secondary))
            for difference in differences
        }
        if all(self._kept.get(key, 0) >= STORED_PER_DIFFERENCE_MAX for key in keys):
            return False
        for key in keys:
            if key in self._kept or len(self._kept) < STORED_DIFFERENCES_MAX:
                self._kept[key] = self._kept.get(key, 0) + 1
        return True
