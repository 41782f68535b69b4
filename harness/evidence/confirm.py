"""Confirmation: the power of small samples. A difference raises a question about its request; later answers decide it.

"Does it come back, beyond the control, in at least half of the sends from fresh state?" The answer that raised the
question is not counted. Towards a failure each question has an E of its own, with weight 1/(j(j+1)) for the j-th one;
towards a pass it is settled once "it comes back in at least half" is rejected.
"""

import math
from collections.abc import Iterator
from typing import Final

from harness.core.labels import Aspect, Design, Kind, Role
from harness.core.limits import CONFIRMATIONS_MAX, QUESTIONS_MAX
from harness.evidence.bets import Bet, TrialBets
from harness.evidence.hypothesis import Hypothesis, Stake
from harness.evidence.martingale import log_recurrence
from harness.evidence.weights import series

EVENED_LOG_E_MAX: Final = 0.5 * math.log(10.0)
"""Evidence below the square root of 10 is not worth mentioning (Jeffreys 1961, appendix B); more keeps a question open."""

CONTRARY_MIN: Final = 2
"""Answers in which a stable instance stands alone that close a question on a noisy path; one may be chance."""
NOISY_CLEAN_SENDS: Final = 3
"""Clean sends after which a difference on a noisy path raises no question."""

BetIndex = dict[tuple[Aspect, str, Kind], Bet]


class Question:
    """One request, one hypothesis: does the difference come back?"""

    __slots__ = ("asked_in", "contrary", "hypothesis", "recurred", "repeats", "request", "settled", "stake")

    def __init__(self, request: int, hypothesis: Hypothesis, asked_in: int, weight: float) -> None:
        self.request = request
        self.hypothesis = hypothesis
        self.asked_in = asked_in
        """The pass that raised it."""
        self.stake = Stake(weight)
        """Weight 0: too many had an E of their own; it can be settled, not confirmed."""
        self.repeats = self.recurred = self.contrary = 0
        self.settled = False

    def answer(self, bet: Bet | None, design: Design) -> None:
        """One more send of the request from fresh state."""
        self.repeats += 1
        if bet is not None and bet.odd is not None:
            if bet.odd is Role.CANDIDATE:
                self.recurred += 1
            else:
                self.contrary += 1
            self.stake.bet(design, bet.odd)
        counts = self.hypothesis.repeats
        counts[0] += bet is not None and bet.odd is Role.CANDIDATE
        counts[1] += 1


class Questions:
    """All open questions of a run, found by request. Bounded."""

    def __init__(self, beta: float) -> None:
        self._log_needed = -math.log(beta)
        self._by_request: dict[int, list[Question]] = {}
        self._open: dict[str, int] = {}
        self._asked = 0
        self._with_stake = 0
        self._count = 0
        self.sends_to_settle = next(n for n in range(1, 10_000) if log_recurrence(0, 0, n) >= self._log_needed)
        """Clean sends that reject "it comes back in at least half" by themselves."""

    def __len__(self) -> int:
        return self._count

    def about(self, request: int) -> bool:
        """Whether anything is asked about a request."""
        return request in self._by_request

    def urgency(self, request: int) -> float | None:
        """The largest evidence of a question about a request, as log E; None where nothing is asked about it.

        In a stream, where repeats cost, the most promising is asked first: a difference that does come back is decided soon,
        however many others wait. The choice is made from the past, as any bet may be.
        """
        return max((question.stake.log_e for question in self._by_request.get(request, ())), default=None)

    def unsettled(self, hypothesis: Hypothesis) -> int:
        """Open questions of a hypothesis."""
        return self._open.get(hypothesis.id, 0)

    def ask(self, bets: TrialBets, hypothesis: Hypothesis, clean_sends: int, *, noisy: bool = False) -> None:
        """Raise a question, unless it is open already or answered beforehand.

        `clean_sends` are the earlier sends of the request from fresh state, all without this difference: enough of them
        have rejected "it comes back in at least half" already. In a capture each request may have its question, since
        every pass answers all of them; in a stream, where repeats cost, a hypothesis has one at a time.
        """
        if clean_sends >= (NOISY_CLEAN_SENDS if noisy else self.sends_to_settle):
            return
        known = self._by_request.get(bets.request, [])
        if any(question.hypothesis is hypothesis for question in known):
            return
        if not bets.captured and self.unsettled(hypothesis):
            return
        if self._count >= QUESTIONS_MAX:
            hypothesis.unasked = True
            return
        weight = 0.0
        if self._with_stake < CONFIRMATIONS_MAX:
            self._asked += 1
            self._with_stake += 1
            weight = series(self._asked)
        self._by_request.setdefault(bets.request, []).append(Question(bets.request, hypothesis, bets.pass_index, weight))
        self._open[hypothesis.id] = self.unsettled(hypothesis) + 1
        self._count += 1

    def answers(self, bets: TrialBets, index: BetIndex) -> Iterator[tuple[Question, float]]:
        """Answer what is asked about the trial's request; yields each question with its log E before the answer.

        Only a send from fresh state counts: reading stored state again confirms the read, not the build. Nor does one that
        follows from an earlier divergence of its session.
        """
        if not bets.fresh or bets.tainted:
            return
        for question in tuple(self._by_request.get(bets.request, ())):
            if not bets.repeat and bets.pass_index <= question.asked_in:
                continue
            before = question.stake.log_e
            hypothesis = question.hypothesis
            question.answer(index.get((hypothesis.aspect, hypothesis.path, hypothesis.kind)), bets.design)
            yield question, before

    def settle(self, question: Question, *, noisy: bool) -> None:
        """Close a question that is answered: the difference does not come back; or, on a noisy path, it does no more than
        chance would have it."""
        if question.settled:
            return
        against = log_recurrence(question.recurred, question.contrary, question.repeats)
        if against >= self._log_needed or (noisy and self._like_noise(question)):
            self.close(question)

    def _like_noise(self, question: Question) -> bool:
        """A stable instance stood alone there too, twice, and the question does not stand out among all of the run; or after
        as many sends as a clean one takes it does not stand out among those of its path, unless it came back twice and no
        stable instance ever stood alone. To stand out among m is an E of m: the largest of m fair games is about that.
        """
        log_e, contrary = question.stake.log_e, question.contrary
        if contrary >= CONTRARY_MIN and log_e < max(EVENED_LOG_E_MAX, math.log(self._asked or 1)):
            return True
        among = max(EVENED_LOG_E_MAX, math.log(self.unsettled(question.hypothesis)))
        return question.repeats >= self.sends_to_settle and (contrary > 0 or question.recurred < 2) and log_e < among

    def close(self, question: Question) -> None:
        """Ask no further; its evidence stays in the gate's sum as it stands."""
        if question.settled:
            return
        question.settled = True
        rest = [other for other in self._by_request[question.request] if other is not question]
        if rest:
            self._by_request[question.request] = rest
        else:
            del self._by_request[question.request]
        self._open[question.hypothesis.id] -= 1
        self._with_stake -= question.stake.weight > 0.0
        self._count -= 1

    def close_all(self, hypothesis: Hypothesis) -> None:
        """Ask no further about a hypothesis that is decided."""
        if self.unsettled(hypothesis):
            for questions in tuple(self._by_request.values()):
                for question in questions:
                    if question.hypothesis is hypothesis:
                        self.close(question)
