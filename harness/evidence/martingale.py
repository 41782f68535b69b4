"""The one statistical primitive: evidence as a betting score, and the tests and intervals made from the same idea.

Everything here is a function of counts, in log space, O(1). It knows nothing of trials, paths or policies.

A bet on a fair game has an expected factor of at most 1, so the product of the factors (the "E" of a hypothesis) is a
non-negative supermartingale that starts at 1, and the chance that it ever reaches 1/alpha is at most alpha, at every
look and whenever one stops (Ville 1939; Shafer 2021, "Testing by betting"; Shekhar & Ramdas 2023 for paired samples).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

LAMBDAS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.60, 0.90, 0.998)
"""Stakes that are played side by side."""
WEIGHTS: Final = (0.05, 0.05, 0.05, 0.05, 0.10, 0.10, 0.15, 0.15, 0.30)
"""Share of the starting money on each stake; they add up to 1."""

LN10: Final = math.log(10.0)
_LOG_WEIGHTS: Final = tuple(math.log(w) for w in WEIGHTS)
_MIX: Final = tuple((math.log(w), math.log1p(2 * s), math.log1p(s), math.log1p(-s)) for s, w in zip(LAMBDAS, WEIGHTS, strict=True))


def log_sum(terms: Sequence[float]) -> float:
    """log(sum(exp(term))) without overflow."""
    top, exp = max(terms), math.exp
    return top + math.log(sum([exp(term - top) for term in terms]))


def log_e(wins_three: int, wins_two: int, losses: int) -> float:
    """Natural log of E after so many bets of each outcome.

    `wins_three`: the candidate was the odd one of three arms alike (fair chance 1/3, pays 1 + 2 stake).
    `wins_two`: the candidate differed and the control did not (fair chance 1/2, pays 1 + stake).
    `losses`: another arm was the odd one (pays 1 - stake), in either design.
    """
    return log_sum([w + wins_three * three + wins_two * two + losses * down for w, three, two, down in _MIX])


START: Final = _LOG_WEIGHTS
"""Natural logs of what lies on each stake before the first bet."""


@lru_cache(maxsize=4096)
def log_factors(candidate: int, stable: int, secondary: int, *, three: bool) -> tuple[float, ...]:
    """Natural logs of what the bets of one spell multiply each stake with, by how often each arm was the odd one in it.

    Trials of one spell (all between two starts of the targets, say) need not be witnesses of their own: what made one arm
    odd once may make it so again and again. Only the arms of the whole spell are alike, so the product of its bets, seen
    from the candidate, is divided by the mean of that product as seen from each arm (Lehmann & Romano 2005, section 15.2,
    the permutation test, as a bet): fair whatever depends on what within the spell, and never more than threefold
    (`three`; with one control twofold, `stable` has to be 0). A single bet pays as in `log_e`.
    """
    factors = []
    for _, win_three, win_two, loss in _MIX:
        ratio = (win_three if three else win_two) - loss
        others = [0.0, ratio * (secondary - candidate)]
        if three:
            others.append(ratio * (stable - candidate))
        factors.append(math.log(len(others)) - log_sum(others))
    return tuple(factors)


def log10_e(wins_three: int, wins_two: int = 0, losses: int = 0) -> float:
    """As `log_e`, to base 10."""
    return log_e(wins_three, wins_two, losses) / LN10


def log_two_sided(a: int, b: int) -> float:
    """Natural log of the mean of E(a, b) and E(b, a) of a two-arm game: evidence that the coin is not fair."""
    return log_sum((log_e(0, a, b), log_e(0, b, a))) - math.log(2.0)


_RATE_STEPS: Final = (0.005, 0.02, 0.05, 0.12, 0.3, 0.6, 0.9, 0.999)


def log_rate_e(hits: int, trials: int, rate: float) -> float:
    """Natural log of the evidence against "each trial is a hit with chance at most `rate`, whatever went before".

    A mixture of likelihood ratios of larger chances against `rate`; each factor is increasing in a hit, so its mean is at
    most 1 under every smaller chance too (Wald 1945; Waudby-Smith & Ramdas 2024, section 4). `rate` is in (0, 1).
    """
    terms = [hits * hit + (trials - hits) * miss for hit, miss in rate_factors(rate)]
    return log_sum(terms) - math.log(len(terms))


@lru_cache(maxsize=64)
def rate_factors(rate: float) -> tuple[tuple[float, float], ...]:
    """Natural logs of what a hit and a miss multiply each of the likelihood ratios of `log_rate_e` with."""
    if not 0.0 < rate < 1.0:
        raise ValueError("rate must be between 0 and 1")
    larger = [rate + (1.0 - rate) * step for step in _RATE_STEPS]
    return tuple((math.log(each / rate), math.log((1.0 - each) / (1.0 - rate))) for each in larger)


PASS_STAKES_COUNT: Final = 12


@lru_cache(maxsize=64)
def _pass_factors(delta: float) -> tuple[tuple[float, float, float, float], ...]:
    factors = []
    for k in range(PASS_STAKES_COUNT):
        u = 0.999 * 2.0**-k / (1.0 - delta)
        factors.append(
            (math.log1p(-u * (1.0 - delta)), math.log1p(u * (1.0 + delta)), math.log1p(u * (0.5 + delta)), math.log1p(u * delta))
        )
    return tuple(factors)


def log_pass(candidate: int, control: int, control_half: int, trials: int, delta: float) -> float:
    """Natural log of Wp: the evidence against "the candidate's excess is delta or more" (a pass is a claim too).

    One trial counts as D = +1 (`candidate`: it alone differs), -1 (`control`: the one control alone differs), -1/2
    (`control_half`: one of two controls alone differs) or 0. Under E[D] >= delta the mean factor is at most 1.
    """
    zeros = trials - candidate - control - control_half
    terms = [candidate * a + control * b + control_half * h + zeros * z for a, b, h, z in _pass_factors(delta)]
    return log_sum(terms) - math.log(PASS_STAKES_COUNT)


_RECURRENCE: Final = tuple(
    (math.log(w), math.log1p(-u / 2), math.log1p(u), math.log1p(u / 2)) for u, w in ((1.998, 0.62), (1.6, 0.23), (0.8, 0.15))
)


def log_recurrence(recurred: int, contrary: int, repeats: int) -> float:
    """Natural log of the evidence against "the difference comes back in at least half of the repeats, beyond the control".

    The test of `log_pass` at delta 1/2 with stakes for few repeats: five repeats without it are enough for 1/0.05.
    `contrary` repeats are those in which a control was the odd one (counted as -1/2, which is never too much).
    """
    zeros = repeats - recurred - contrary
    return log_sum([w + recurred * r + contrary * c + zeros * z for w, r, c, z in _RECURRENCE])


_CS_SHARES: Final = (0.4, 0.2, 0.15, 0.1, 0.05, 0.04, 0.03, 0.03)
_CS_STAKES: Final = tuple(0.49 * 2.0**-k for k in range(len(_CS_SHARES)))


def excess_interval(total: float, squares: float, trials: int, level: float) -> tuple[float, float]:
    """A confidence interval, valid at every look, for the mean excess rate over the trials so far.

    `total` is the sum of D, `squares` the sum of its squares, D in [-1, 1]. Empirical-Bernstein bound of Howard, Ramdas,
    McAuliffe & Sekhon 2021 (theorem 4, range 2, prediction 0), the best of several stakes with a share of the error each:
    the rate may differ from request to request, as it does in a capture.
    """
    if trials <= 0:
        return -1.0, 1.0
    error = (1.0 - level) / 2.0
    radius = math.inf
    for stake, share in zip(_CS_STAKES, _CS_SHARES, strict=True):
        psi = (-math.log1p(-2.0 * stake) - 2.0 * stake) / 4.0
        radius = min(radius, (math.log(1.0 / (error * share)) + psi * squares) / stake)
    mean = total / trials
    return max(-1.0, mean - radius / trials), min(1.0, mean + radius / trials)


def binomial_upper(hits: int, trials: int, level: float) -> float:
    """The exact one-sided upper bound of a rate (Clopper & Pearson 1934); with no hit, the "rule of three"."""
    if trials <= 0 or hits >= trials:
        return 1.0
    if hits == 0:
        return -math.expm1(math.log(1.0 - level) / trials)
    low, high = hits / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        if _binomial_cdf(hits, trials, middle) > 1.0 - level:
            low = middle
        else:
            high = middle
    return high


def _binomial_cdf(hits: int, trials: int, rate: float) -> float:
    if rate >= 1.0:
        return 0.0
    log_rate, log_rest = math.log(rate), math.log1p(-rate)
    term = trials * log_rest
    terms = [term]
    for k in range(1, hits + 1):
        term += math.log((trials - k + 1) / k) + log_rate - log_rest
        terms.append(term)
    return math.exp(log_sum(terms))
