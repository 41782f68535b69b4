"""For whom: the attribute of requests that explains a finding best, told from chance. Pure counting, bounded, never a bet.

What is counted: for each endpoint how many requests have each attribute, for each finding how many of those show it. A
request of a capture counts once, however many passes repeat it: its repeats are no further witnesses of who is concerned. What
changes from send to send (requests in flight, the time) counts by send.

In live traffic, past its first requests, all that show a difference are read, and of the others a sample that looks at nothing but
their numbers. Rates among those read are not the true ones then, but they are raised alike inside and outside of a part of the
traffic, and which of the two is higher stays as it is (sampling by outcome, as in a case-control study: Cornfield 1951). The two
ways of reading are kept apart and tested apart; only what is shown adds them up.

An explanation is shown only if chance hardly makes it. If attribute and finding have nothing to do with each other, the requests
that show the finding are drawn blindly from all, and how many of them have the attribute is hypergeometric (Fisher's exact test).
With m candidates that could have been named, one is named only below LEVEL / m (Bonferroni). The interval given is adjusted alike.
This says that the finding and the attribute go together; why they do is for people to find out. No verdict hangs on it.
"""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from harness.core.attributes import IN_FLIGHT
from harness.core.limits import SLICE_CELLS_MAX, SLICE_NAMES_MAX, SLICE_VALUES_MAX
from harness.evidence.bets import TrialBets
from harness.evidence.martingale import log_sum
from harness.evidence.slice_words import ABSENT, TIME, sentence_of

LEVEL: Final = 0.01
"""Chance, at most, with which a finding that concerns all alike is given an explanation at one look."""
COVERAGE: Final = 0.95
"""Coverage of the interval of the rate within a slice, though it was picked from many."""
CASES_MIN: Final = 3
"""Requests that must show a finding within a part of the traffic for it to be named."""
SHARE_MIN: Final = 0.5
"""Part of a finding's requests that an explanation has to cover."""
LIFT_MIN: Final = 2.0
"""How many times more often it must differ there than elsewhere."""
CIRCUMSTANCE_MARGIN: Final = 0.1
"""By how much time or load must explain more than the best attribute of the requests does: both follow from what was sent when."""
BANDS: Final = 16
"""Spells of time that are told apart, at most; they grow with the run."""
_ANY: Final = ""
_TAIL_TERMS_MAX: Final = 256
_BAND_NS: Final = 250_000_000
_RANK: Final = ("method", "query", "form", "json", "header", "cookie", "answer", IN_FLIGHT, TIME)
"""Which attribute is named where several explain a finding equally well."""


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the traffic that a finding is confined to, more or less."""

    attribute: str
    """`query.currency`, `header.x-region`, `cookie.beta`, `json.customer.kind`, `answer.status`, `in_flight`, `time` ..."""
    value: str
    """Its value; `present` or `absent`; the least number in flight; seconds from the run's start, `12.0-31.0`."""
    diverged: int
    """Requests with it that show the finding."""
    compared: int
    """Requests with it."""
    elsewhere_diverged: int
    elsewhere_compared: int
    low: float = 0.0
    high: float = 1.0
    """The rate among requests with it lies between these (95 %, adjusted for how many candidates there were)."""
    estimated: bool = False
    """The numbers compared are counted up from a sample."""
    sentence: str = ""


class _Bands:
    """Counts over the time since the run's start, in bounded space."""

    __slots__ = ("counts", "width_ns")

    def __init__(self) -> None:
        self.width_ns = _BAND_NS
        self.counts: list[int] = []

    def add(self, since_ns: int) -> None:
        band = max(0, since_ns) // self.width_ns
        while band >= BANDS:
            self.widen()
            band //= 2
        while len(self.counts) <= band:
            self.counts.append(0)
        self.counts[band] += 1

    def widen(self) -> None:
        """Bands twice as wide."""
        counts = [*self.counts, 0][: (len(self.counts) + 1) // 2 * 2]
        self.counts = [counts[i] + counts[i + 1] for i in range(0, len(counts), 2)]
        self.width_ns *= 2

    def at(self, width_ns: int) -> list[int]:
        """The counts in bands of this width, which is that of these or a wider one."""
        wider = _Bands()
        wider.width_ns, wider.counts = self.width_ns, list(self.counts)
        while wider.width_ns < width_ns:
            wider.widen()
        return wider.counts + [0] * (BANDS - len(wider.counts))


class _Population:
    """The requests of one endpoint that were compared, or the part of them in the sample."""

    __slots__ = ("any_value", "bands", "requests", "sends", "values")

    def __init__(self) -> None:
        self.requests = 0
        self.sends = 0
        self.any_value: dict[str, int] = {}
        """Requests that have the attribute, by name."""
        self.values: dict[str, dict[str, int]] = {}
        self.bands = _Bands()


class _Cases:
    """The requests that show one finding; `beyond` are those of them that are not in the sample."""

    __slots__ = ("bands", "bands_beyond", "beyond", "requests", "requests_beyond", "sends", "sends_beyond", "values")

    def __init__(self) -> None:
        self.requests = self.requests_beyond = self.sends = self.sends_beyond = 0
        self.values: dict[tuple[str, str], int] = {}
        """By name and value; all that have the attribute under `_ANY`."""
        self.beyond: dict[tuple[str, str], int] = {}
        self.bands, self.bands_beyond = _Bands(), _Bands()


class _Candidate(NamedTuple):
    """A part of the traffic: how many in it show the finding (`cases`), and how many of those read do not (`others`)."""

    name: str
    value: str
    cases: int
    others: int
    all_cases: int
    all_others: int
    """The same of the whole traffic."""
    every: int
    """How many each of the others stands for."""
    by_send: bool = False
    """Counts are of sends, not of requests."""

    def log_chance(self) -> float:
        """Natural log of the chance that so many cases or more are in this part, if being in it means nothing."""
        return log_tail(self.cases, self.all_cases, self.cases + self.others, self.all_cases + self.all_others)


def _entropy(hits: int, total: int) -> float:
    if hits in (0, total):
        return 0.0
    rate = hits / total
    return -rate * math.log(rate) - (1.0 - rate) * math.log1p(-rate)


class SliceBook:
    """Counts attributes; one for each ledger. Its state is a function of the bets folded."""

    def __init__(self) -> None:
        self._populations: dict[tuple[str, bool], _Population] = {}
        """By endpoint, and whether only a sample was read of what does not differ."""
        self._cases: dict[tuple[str, bool], _Cases] = {}
        """By finding, and the same."""
        self._cells = 0
        self._every = 1
        self._passes = 1
        self._captured = False
        self._origin_ns: int | None = None

    def compared(self, bets: TrialBets) -> None:
        """A trial that is no repeat was compared."""
        if self._origin_ns is None:
            self._origin_ns = bets.started_ns
        if not bets.sampled or bets.tainted:
            return
        self._every = max(self._every, bets.sampled)
        self._passes = max(self._passes, bets.pass_index + 1)
        self._captured = self._captured or bets.captured
        population = self._populations.setdefault((bets.endpoint, bets.sampled != 1), _Population())
        population.sends += 1
        population.bands.add(bets.started_ns - self._origin_ns)
        first = not bets.captured or bets.pass_index == 0
        population.requests += first
        for name, value in bets.attributes:
            if (first or name == IN_FLIGHT) and self._room_for(population, name, value):
                population.values[name][value] += 1
            if first and name in population.any_value:
                population.any_value[name] += 1

    def _room_for(self, population: _Population, name: str, value: str) -> bool:
        values = population.values.get(name)
        if values is None:
            if len(population.values) >= SLICE_NAMES_MAX or self._cells >= SLICE_CELLS_MAX:
                return False
            values = population.values[name] = {}
            population.any_value[name] = 0
            self._cells += 1
        if value not in values:
            if len(values) >= SLICE_VALUES_MAX or self._cells >= SLICE_CELLS_MAX:
                return False
            values[value] = 0
            self._cells += 1
        return True

    def shown(self, finding: str, bets: TrialBets, *, first: bool) -> None:
        """In a trial that was told to `compared` the candidate stands alone; `first`: the request shows it for the first time."""
        if self._origin_ns is None or not bets.attributes:
            return
        thin = bets.sampled != 1
        population = self._populations.setdefault((bets.endpoint, thin), _Population())
        cases = self._cases.get((finding, thin))
        if cases is None:
            if self._cells >= SLICE_CELLS_MAX:
                return
            cases = self._cases[finding, thin] = _Cases()
            self._cells += 1
        beyond = not bets.sampled
        cases.sends += 1
        cases.sends_beyond += beyond
        (cases.bands_beyond if beyond else cases.bands).add(bets.started_ns - self._origin_ns)
        first = first or not bets.captured or bets.pass_index == 0
        cases.requests += first
        cases.requests_beyond += first and beyond
        for name, value in bets.attributes:
            by_send = name == IN_FLIGHT
            if not (first or by_send):
                continue
            known = self._room_for(population, name, value)
            if known:
                self._count(cases, (name, value), beyond=beyond)
            if name in population.any_value and not by_send:
                self._count(cases, (name, _ANY), beyond=beyond)

    def _count(self, cases: _Cases, key: tuple[str, str], *, beyond: bool) -> None:
        for counts in (cases.values, cases.beyond) if beyond else (cases.values,):
            if key in counts:
                counts[key] += 1
            elif self._cells < SLICE_CELLS_MAX:
                counts[key] = 1
                self._cells += 1

    def explain(self, finding: str, endpoint: str) -> Slice | None:
        """The attribute that explains a finding best; None where nothing does, or chance could."""
        parts = list(self._parts(finding, endpoint).values())
        limit = math.log(LEVEL / max(1, sum(map(len, parts))))
        best: tuple[float, int, str, str] | None = None
        named: tuple[_Candidate, ...] | None = None
        for strata in parts:
            if not _is_clear(strata) or min(map(self._log_chance, strata)) > limit:
                continue
            one = strata[0]
            score = _explained(strata) - CIRCUMSTANCE_MARGIN * one.by_send
            order = (-round(score, 6), _RANK.index(one.name.partition(".")[0]), one.name, one.value)
            if best is None or order < best:
                best, named = order, strata
        return None if named is None else self._slice(named, len(parts))

    def _parts(self, finding: str, endpoint: str) -> dict[tuple[str, str], tuple[_Candidate, ...]]:
        """Every part of the traffic that may be named, as it is where all was read and where a sample was."""
        found: dict[tuple[str, str], list[_Candidate]] = {}
        wholes: list[_Candidate] = []
        for thin in (False, True):
            population = self._populations.get((endpoint, thin))
            if population is None:
                continue
            cases = self._cases.get((finding, thin)) or _Cases()
            every = self._every if thin else 1
            for candidates in (_by_request(cases, population, every), _by_send(cases, population, every)):
                for one in candidates:
                    found.setdefault((one.name, one.value), []).append(one)
            within = cases.requests - cases.requests_beyond
            wholes.append(_Candidate("", "", 0, 0, cases.requests, max(0, population.requests - within), every))
        for (name, value), strata in found.items():
            # What was not met in one of the two has none of its requests there.
            if not strata[0].by_send:
                known = {one.every for one in strata}
                strata += [whole._replace(name=name, value=value) for whole in wholes if whole.every not in known]
        return {key: tuple(strata) for key, strata in found.items()}

    def _log_chance(self, one: _Candidate) -> float:
        # Sends of one request are one witness of what goes with time and load.
        return one.log_chance() / (self._passes if one.by_send else 1)

    def _slice(self, strata: tuple[_Candidate, ...], candidates: int) -> Slice:
        one = min(strata, key=self._log_chance)
        error = math.log(2 * candidates / (1.0 - COVERAGE)) * (self._passes if one.by_send else 1)
        low, high = (_of_all(rate, one.every) for rate in _interval(one.cases, one.cases + one.others, error))
        diverged, compared, all_diverged, all_compared = _weighed(strata)
        counts = (diverged, compared, all_diverged - diverged, all_compared - compared)
        estimated = any(part.every > 1 for part in strata)
        return Slice(
            attribute=one.name,
            value=one.value,
            diverged=counts[0],
            compared=counts[1],
            elsewhere_diverged=counts[2],
            elsewhere_compared=counts[3],
            low=low,
            high=high,
            estimated=estimated,
            sentence=sentence_of(one.name, one.value, counts, estimated=estimated, sends=one.by_send and self._captured),
        )


def _weighed(strata: tuple[_Candidate, ...]) -> tuple[int, int, int, int]:
    """Requests of a part that show the finding, all of the part, all that show it, all: what was sampled counted up."""
    return (
        sum(one.cases for one in strata),
        sum(one.cases + one.others * one.every for one in strata),
        sum(one.all_cases for one in strata),
        sum(one.all_cases + one.all_others * one.every for one in strata),
    )


def _is_clear(strata: tuple[_Candidate, ...]) -> bool:
    """Whether it differs there clearly more often than elsewhere, and elsewhere is somewhere."""
    diverged, compared, all_diverged, all_compared = _weighed(strata)
    if diverged < CASES_MIN or diverged < SHARE_MIN * all_diverged or compared == all_compared:
        return False
    return diverged / compared >= LIFT_MIN * (all_diverged - diverged) / (all_compared - compared)


def _explained(strata: tuple[_Candidate, ...]) -> float:
    """How much of the uncertainty about which requests show it is gone if one knows who is in the part: 0 to 1."""
    cases, inside, all_cases, total = (
        sum(counts)
        for counts in zip(*[(s.cases, s.cases + s.others, s.all_cases, s.all_cases + s.all_others) for s in strata], strict=True)
    )
    before = _entropy(all_cases, total)
    after = inside / total * _entropy(cases, inside) + (total - inside) / total * _entropy(all_cases - cases, total - inside)
    return 0.0 if before <= 0.0 else 1.0 - after / before


def _by_request(cases: _Cases, population: _Population, every: int) -> Iterator[_Candidate]:
    """What goes with the request itself. Which are looked at hangs on nothing that differs."""
    within = cases.requests - cases.requests_beyond
    all_others = max(0, population.requests - within)

    def candidate(name: str, value: str, found: int, beyond: int, read: int) -> _Candidate:
        others = min(all_others, max(0, read - (found - beyond)))
        return _Candidate(name, value, found, others, cases.requests, all_others, every)

    for name, values in population.values.items():
        if name == IN_FLIGHT:
            continue
        for value, read in values.items():
            if (every > 1 or read >= CASES_MIN) and read < population.requests:
                key = (name, value)
                yield candidate(name, value, cases.values.get(key, 0), cases.beyond.get(key, 0), read)
        missing = population.requests - population.any_value[name]
        if missing >= (CASES_MIN if every == 1 else 1) and missing < population.requests:
            found, beyond = cases.values.get((name, _ANY), 0), cases.beyond.get((name, _ANY), 0)
            yield candidate(name, ABSENT, cases.requests - found, cases.requests_beyond - beyond, missing)


def _by_send(cases: _Cases, population: _Population, every: int) -> Iterator[_Candidate]:
    """What changes from send to send: load, as "so many or more in flight", and spells of time."""
    all_others = max(0, population.sends - (cases.sends - cases.sends_beyond))

    def candidate(name: str, value: str, found: int, beyond: int, read: int) -> _Candidate:
        others = min(all_others, max(0, read - (found - beyond)))
        return _Candidate(name, value, found, others, cases.sends, all_others, every, by_send=True)

    levels = population.values.get(IN_FLIGHT, {})
    for least in sorted(levels, key=int)[1:]:
        keys = [(IN_FLIGHT, level) for level in levels if int(level) >= int(least)]
        found, beyond = (sum(counts.get(key, 0) for key in keys) for counts in (cases.values, cases.beyond))
        yield candidate(IN_FLIGHT, least, found, beyond, sum(levels[level] for _, level in keys))
    width_ns = max(bands.width_ns for bands in (population.bands, cases.bands, cases.bands_beyond))
    read, within, outside = (bands.at(width_ns) for bands in (population.bands, cases.bands, cases.bands_beyond))
    last = max((band for band in range(BANDS) if read[band] or within[band] or outside[band]), default=0)
    for begin in range(last + 1):
        for end in range(begin, last + 1):
            if (begin, end) == (0, last):
                continue
            spell = slice(begin, end + 1)
            found, beyond = sum(within[spell]) + sum(outside[spell]), sum(outside[spell])
            yield candidate(TIME, _spell(begin, end, last, width_ns), found, beyond, sum(read[spell]))


def _spell(begin: int, end: int, last: int, width_ns: int) -> str:
    """`12.0-31.0`, seconds from the run's start; `12.0-` to its end."""
    return f"{begin * width_ns / 1e9:.1f}-" + ("" if end == last else f"{(end + 1) * width_ns / 1e9:.1f}")


def log_tail(cases: int, drawn: int, marked: int, total: int) -> float:
    """Natural log of an upper bound of the chance that `drawn` blind draws from `total`, of which `marked` are marked, without
    putting back, hit `cases` or more of them: exact where few terms make it up, else Hoeffding's bound (1963, section 6)."""
    least = max(cases, drawn + marked - total)
    most = min(drawn, marked)
    if least > most:
        return -math.inf
    if cases <= max(0, drawn + marked - total):
        return 0.0
    if most - least < _TAIL_TERMS_MAX:
        all_ways = _log_choose(total, drawn)
        terms = [_log_choose(marked, k) + _log_choose(total - marked, drawn - k) - all_ways for k in range(least, most + 1)]
        return min(0.0, log_sum(terms))
    bounds = [
        draws * _divergence(cases / draws, of / total) for draws, of in ((drawn, marked), (marked, drawn)) if cases / draws > of / total
    ]
    return -max(bounds, default=0.0)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of two coins; `q` strictly between 0 and 1 unless it equals `p`."""
    found = 0.0
    for a, b in ((p, q), (1.0 - p, 1.0 - q)):
        if a > 0.0:
            found += a * math.log(a / b) if b > 0.0 else math.inf
    return found


def _interval(hits: int, trials: int, log_error: float) -> tuple[float, float]:
    """Bounds of a rate (Chernoff; Hoeffding 1963), each wrong with chance exp(-`log_error`) at most, at any number of trials."""
    seen = hits / trials

    def edge(far: float) -> float:
        near = seen
        for _ in range(40):
            middle = (near + far) / 2.0
            if trials * _divergence(seen, middle) > log_error:
                far = middle
            else:
                near = middle
        return far

    return (0.0 if hits == 0 else edge(0.0)), (1.0 if hits == trials else edge(1.0))


def _of_all(rate: float, every: int) -> float:
    """The rate among all requests, where of those that do not show it one in `every` was read."""
    return rate / (rate + (1.0 - rate) * every)
