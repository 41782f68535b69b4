"""Seeded traffic for the order service: who asks what, planned as values, and a driver that sends it to an address.

The plan deals fixed numbers of each kind of request over the sessions, so that every seed exercises every branch often
enough; only which products, amounts, orders and sessions meet depends on the seed. A session's later steps use the
token and the order numbers of its earlier answers; sessions share nothing.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import product as combinations
from random import Random
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec
import orjson

from scenarios.demo.catalogue import CATEGORIES, CURRENCIES, REGIONS, TENANTS, Product, products

SESSIONS: Final = 30
"""Sessions of a plan: about 14 requests each."""
CONCURRENCY: Final = 8
THINK_S: Final = 0.04
"""Mean pause between two requests of a session."""
TIMEOUT_S: Final = 30.0
FIRST_CUSTOMER: Final = 1001

_LISTS: Final = 36
_DETAILS: Final = 120
_RECOMMENDATIONS: Final = 60
_QUOTES: Final = 20
_QUOTES_IN_YEN: Final = 18
_QUOTES_OF_ZERO: Final = 18
_SHIPPING: Final = 12
_SHIPPING_AP_SOUTH: Final = 18
_ORDERS: Final = 30
_ORDERS_UNDER_AGREEMENT: Final = 14
_MISTAKES: Final = 8
_STABLE_CURRENCIES: Final = tuple(code for code in CURRENCIES if code != "JPY")


class Step(msgspec.Struct, frozen=True):
    """One request. `{token}` and names that earlier steps learned are filled in, in path and headers."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    signed: bool = True
    """Sent with the session's token."""
    learns: tuple[tuple[str, str], ...] = ()
    """Names, and the members of the answer they stand for in later steps."""


class Session(msgspec.Struct, frozen=True):
    """What one client does, in order, over one connection."""

    customer: int
    tenant: str
    region: str
    device: str
    steps: tuple[Step, ...]


class Sent(msgspec.Struct, frozen=True):
    """What became of the traffic."""

    requests: int
    statuses: dict[int, int]
    """Answers by status."""
    failed: int
    """Requests without an answer."""
    left_out: int
    """Steps not sent, since the step they depend on had failed."""


def plan(seed: int, sessions: int = SESSIONS) -> tuple[Session, ...]:
    """The sessions of a seed: the same for ever. The numbers of requests grow with the number of sessions."""
    chance = Random(f"traffic {seed}")
    share = sessions / SESSIONS
    tenants, regions = _dealt(chance, TENANTS, sessions), _dealt(chance, REGIONS, sessions)
    extra: list[list[tuple[Step, ...]]] = [[] for _ in range(sessions)]
    for bundle in _anonymous(chance, share):
        extra[chance.randrange(sessions)].append(bundle)
    for at, bundle in _orders(chance, share, tenants):
        extra[at].append(bundle)
    return tuple(
        Session(
            customer=FIRST_CUSTOMER + at,
            tenant=tenants[at],
            region=regions[at],
            device=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            steps=tuple(_steps(chance, FIRST_CUSTOMER + at, extra[at])),
        )
        for at in range(sessions)
    )


async def drive(
    base_url: str,
    sessions: Sequence[Session],
    *,
    seed: int,
    concurrency: int = CONCURRENCY,
    think_s: float = THINK_S,
    on_answer: Callable[[int], None] | None = None,
) -> Sent:
    """Send the sessions to `base_url`, at most `concurrency` at once; `on_answer` is called with each status.

    A step that gets no answer is counted and the session goes on, without the steps that depend on it.
    """
    room = asyncio.Semaphore(concurrency)
    tally = _Tally(on_answer)

    async def one(session: Session) -> None:
        async with room:
            await _play(base_url, session, Random(f"pauses {seed} {session.customer}"), think_s, tally)

    async with asyncio.TaskGroup() as group:
        for session in sessions:
            group.create_task(one(session), name=f"session-{session.customer}")
    return tally.sent()


class _Tally:
    def __init__(self, on_answer: Callable[[int], None] | None) -> None:
        self._on_answer = on_answer
        self._statuses: Counter[int] = Counter()
        self.failed = 0
        self.left_out = 0

    def answered(self, status: int) -> None:
        self._statuses[status] += 1
        if self._on_answer is not None:
            self._on_answer(status)

    def sent(self) -> Sent:
        return Sent(self._statuses.total() + self.failed, dict(sorted(self._statuses.items())), self.failed, self.left_out)


async def _play(base_url: str, session: Session, chance: Random, think_s: float, tally: _Tally) -> None:
    """One session over one connection, so that a recording shows who sent what."""
    known: dict[str, str] = {}
    headers = {"X-Tenant": session.tenant, "X-Region": session.region, "X-Device": session.device, "User-Agent": "shop-app/4.2"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        headers=headers,
    ) as client:
        for step in session.steps:
            try:
                path = step.path.format_map(known)
                own = {"Authorization": f"Bearer {known['token']}"} if step.signed else {}
            except KeyError:
                tally.left_out += 1
                continue
            if step.body is not None:
                own["Content-Type"] = "application/json"
            try:
                data = None if step.body is None else orjson.dumps(step.body)
                async with client.request(step.method, base_url + path, data=data, headers=own, allow_redirects=False) as answer:
                    body = await answer.read()
            except (aiohttp.ClientError, TimeoutError, OSError):
                tally.failed += 1
                continue
            tally.answered(answer.status)
            if step.learns and answer.status < 300:
                known.update(_learned(step, body))
            await asyncio.sleep(chance.expovariate(1 / think_s) if think_s else 0)


def _learned(step: Step, body: bytes) -> dict[str, str]:
    try:
        answer = orjson.loads(body)
        return {name: str(answer[member]) for name, member in step.learns}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return {}


def _steps(chance: Random, customer: int, extra: list[tuple[Step, ...]]) -> Iterable[Step]:
    """Log in, then the bundles in any order, each bundle's steps in their own order and others' in between."""
    yield Step(
        "POST", "/login", {"customer": customer, "passphrase": f"open sesame {customer}"}, signed=False, learns=(("token", "token"),)
    )
    waiting = [list(bundle) for bundle in extra]
    while waiting:
        bundle = chance.choice(waiting)
        yield bundle.pop(0)
        if not bundle:
            waiting.remove(bundle)


def _anonymous(chance: Random, share: float) -> list[tuple[Step, ...]]:
    """Requests whose answers depend on nothing that was sent before."""
    goods = list(products())
    found = [_get("/products", category=c, currency=code, sort=sort) for c, code, sort in _some(chance, share, _LISTS, *_LIST_CHOICES)]
    found += [_get(f"/products/{sku}", currency=code) for sku, code in _some(chance, share, _DETAILS, goods, tuple(CURRENCIES))]
    found += [_get("/recommendations", sku=sku, limit=n) for sku, n in _some(chance, share, _RECOMMENDATIONS, goods, (2, 3, 4, 5, 6))]
    quantities = (1, 2, 3, 5, 7, 12, 20, 60)
    found += [
        _get(f"/quotes/{sku}", currency=code, qty=n)
        for sku, code, n in _some(chance, share, _QUOTES, goods, _STABLE_CURRENCIES, quantities)
    ]
    found += [_get(f"/quotes/{sku}", currency="JPY", qty=n) for sku, n in _some(chance, share, _QUOTES_IN_YEN, goods, quantities)]
    found += [
        _get(f"/quotes/{sku}", currency=code, qty=0) for sku, code in _some(chance, share, _QUOTES_OF_ZERO, goods, _STABLE_CURRENCIES)
    ]
    weights = tuple(n / 4 for n in range(1, 121))
    others = tuple(name for name in REGIONS if name != "ap-south")
    found += [_get("/shipping", region=name, weight=kg) for name, kg in _some(chance, share, _SHIPPING, others, weights)]
    found += [_get("/shipping", region="ap-south", weight=kg) for (kg,) in _some(chance, share, _SHIPPING_AP_SOUTH, weights)]
    found += [_get("/products", sort="colour"), _get("/products/99999"), _get("/shipping", region="moon", weight=1), _get("/orders/1")]
    for sku in chance.sample(goods, round(share * _MISTAKES / 4)):
        found += [
            _get(f"/quotes/{sku}", currency="XAU"),
            _get(f"/products/{sku + 1}"),
            _get("/recommendations", sku=sku, limit=99),
            Step("POST", "/orders", {"lines": [{"sku": sku, "quantity": -1}]}),
        ]
    found += [_get("/health"), Step("GET", "/orders", signed=False)]
    return [(step,) for step in found]


_LIST_CHOICES: Final = ((*CATEGORIES,), (*CURRENCIES,), ("price", "price", "-price", "name"))


def _orders(chance: Random, share: float, tenants: Sequence[str]) -> list[tuple[int, tuple[Step, ...]]]:
    """Orders with what is done to them later, each with the session that places it."""
    goods = list(products().values())
    found = []
    under_agreement = round(share * _ORDERS_UNDER_AGREEMENT)
    for count in range(round(share * _ORDERS)):
        at = chance.choice([at for at, tenant in enumerate(tenants) if TENANTS[tenant] or count >= under_agreement])
        agreement = TENANTS[tenants[at]] if count < under_agreement else None
        lines = [_line(chance, goods, chance.randint(1, 4)) for _ in range(chance.randint(1, 2))]
        if agreement is not None:
            covered = [product for product in goods if product.category == agreement.category]
            lines.append(_line(chance, covered, agreement.pieces_min + chance.randrange(20)))
        elif count % 3 == 0:
            lines.append(_line(chance, goods, chance.randint(10, 60)))
        order = {"lines": lines, "currency": chance.choice(_STABLE_CURRENCIES)}
        name = f"order{count}"
        later = [_get(f"/orders/{{{name}}}")]
        if count % 3 == 0:
            later.append(_get("/orders", status="open"))
        if count % 4 == 0:
            later += [Step("POST", f"/orders/{{{name}}}/cancel", {}), _get(f"/orders/{{{name}}}")]
        if count % 12 == 0:
            later.append(Step("POST", f"/orders/{{{name}}}/cancel", {}))
        found.append((at, (Step("POST", "/orders", order, learns=((name, "id"),)), *later)))
    return found


def _line(chance: Random, goods: Sequence[Product], quantity: int) -> dict[str, int]:
    return {"sku": chance.choice(goods).sku, "quantity": quantity}


def _get(path: str, **query: object) -> Step:
    return Step("GET", f"{path}?{urlencode(query)}" if query else path)


def _some(chance: Random, share: float, count: int, *choices: Sequence[Any]) -> list[tuple[Any, ...]]:
    """So many different combinations, or all there are and some twice."""
    every = list(combinations(*choices))
    wanted = round(share * count)
    return [picked for _ in range(0, wanted, len(every)) for picked in chance.sample(every, len(every))][:wanted]


def _dealt(chance: Random, names: Iterable[str], count: int) -> list[str]:
    """Each name as often as any other, in any order."""
    known = list(names)
    dealt = [known[at % len(known)] for at in range(count)]
    chance.shuffle(dealt)
    return dealt
