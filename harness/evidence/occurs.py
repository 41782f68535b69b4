"""When a difference happens: always, sometimes, only under load. From passes in which requests were sent in parallel, and passes in
which they were sent one at a time.

It looks at the requests that show a finding, pass by pass. `always`: each of them shows it in every pass. `only_under_load`: since it
was first seen it was never seen in a pass that sent one request at a time, and if such passes were like the others, chance would
have put all that show it among the others in at most one of twenty cases. That is the hypergeometric tail, exact where passes from
fresh state are alike and load means nothing. The pass in which it was first seen does not count, nor those before it: passes one at a
time are sent since something was seen (harness/app/alone.py). So two of them need five others that show it, three need three.
`only_alone` is the same the other way round, and all else is `sometimes`. It is a look at the end, outside `alpha`, and no verdict
hangs on it.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final

from harness.core.labels import Aspect, Occurrence, Role
from harness.core.limits import HYPOTHESES_MAX, REQUESTS_PER_HYPOTHESIS_MAX, RESTLESS_PLACES_MAX
from harness.evidence.bets import TrialBets
from harness.evidence.determinism import path_of
from harness.evidence.findings import finding_id
from harness.evidence.snapshot import Occurs

CHANCE_MAX: Final = 0.05
"""Chance of what is called a matter of load where load means nothing."""
_FINDINGS_MAX: Final = HYPOTHESES_MAX + RESTLESS_PLACES_MAX


class _Shown:
    """One finding."""

    __slots__ = ("passes", "requests")

    def __init__(self) -> None:
        self.requests: set[int] = set()
        """The first requests that showed it; others are not looked at."""
        self.passes: dict[int, int] = {}
        """How many of them show it, by pass."""


class OccursBook:
    """What was seen in which pass. Streams have no passes: of their findings nothing is said."""

    def __init__(self) -> None:
        self._alone: dict[int, bool] = {}
        """By pass: whether it sent one request at a time."""
        self._shown: dict[str, _Shown] = {}
        """By finding."""

    def fold(self, bets: TrialBets) -> None:
        """Take a trial that is no repeat."""
        if not bets.captured:
            return
        self._alone[bets.pass_index] = bets.alone
        for one in bets.restless:
            if one.odd is Role.CANDIDATE:
                self.shown(finding_id(bets.endpoint, Aspect.DETERMINISM, path_of(one.aspect, one.path), one.kind), bets)

    def shown(self, finding: str, bets: TrialBets) -> None:
        """The candidate stands alone there in this trial."""
        if not bets.captured:
            return
        one = self._shown.get(finding)
        if one is None:
            if len(self._shown) >= _FINDINGS_MAX:
                return
            one = self._shown[finding] = _Shown()
        if bets.request not in one.requests:
            if len(one.requests) >= REQUESTS_PER_HYPOTHESIS_MAX:
                return
            one.requests.add(bets.request)
        one.passes[bets.pass_index] = one.passes.get(bets.pass_index, 0) + 1

    def of(self, finding: str, compared: Mapping[int, int], *, pairs: bool = False) -> Occurs | None:
        """When a finding happens; `compared` counts trials by pass. `pairs`: it is seen at the end of a pair of passes only, the second
        with the first. None where there were too few passes to say."""
        one = self._shown.get(finding)
        most = max(compared.values(), default=0)
        whole = sorted(index for index, count in compared.items() if count == most and index in self._alone)
        if pairs:
            whole = [index for index in whole if index % 2 and index - 1 in whole]
        if one is None or len(whole) < 2:
            return None
        if pairs:
            seen = [bool(one.passes.get(index)) for index in whole]
            return Occurs(when=_steady(one, whole), parallel=len(whole), parallel_shown=sum(seen))
        return self._occurs(one, whole)

    def _occurs(self, one: _Shown, whole: list[int]) -> Occurs:
        shown, sent = self._counts(one, whole)
        first = min(one.passes)
        later_shown, later_sent = self._counts(one, [index for index in whole if index > first])
        when = _steady(one, whole)
        if when is Occurrence.SOMETIMES:
            if not shown[True] and chance(later_shown[False], later_sent[False], later_sent[True]) <= CHANCE_MAX:
                when = Occurrence.ONLY_UNDER_LOAD
            elif not shown[False] and chance(later_shown[True], later_sent[True], later_sent[False]) <= CHANCE_MAX:
                when = Occurrence.ONLY_ALONE
        return Occurs(when=when, parallel=sent[False], parallel_shown=shown[False], alone=sent[True], alone_shown=shown[True])

    def _counts(self, one: _Shown, passes: Iterable[int]) -> tuple[dict[bool, int], dict[bool, int]]:
        """Passes that show it, and all; by whether they sent one request at a time."""
        shown, sent = {False: 0, True: 0}, {False: 0, True: 0}
        for index in passes:
            alone = self._alone[index]
            sent[alone] += 1
            shown[alone] += bool(one.passes.get(index))
        return shown, sent


def chance(shown: int, sent: int, others: int) -> float:
    """The chance that none of `others` passes is among the `shown` ones, if any `shown` of all passes are as likely: one where there
    is nothing to tell apart."""
    return math.comb(sent, shown) / math.comb(sent + others, shown)


def _steady(one: _Shown, whole: list[int]) -> Occurrence:
    each = len(one.requests)
    return Occurrence.ALWAYS if all(one.passes.get(index, 0) == each for index in whole) else Occurrence.SOMETIMES
