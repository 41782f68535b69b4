"""The faults planted in the demo's candidate, as data: what is wrong, and as which findings it must show.

Also as data: the honest noise, which is where two instances of the stable build differ.
"""

from fnmatch import fnmatchcase
from typing import Final

import msgspec

from harness.core.labels import Aspect, Kind

_OF_VALUES: Final = frozenset({Kind.DISTANCE, Kind.BIAS, Kind.MIX, Kind.STYLE, Kind.SEQUENCE})


class Place(msgspec.Struct, frozen=True):
    """Findings by their key. `endpoint` and `path` may hold `*`; brackets mean themselves."""

    endpoint: str
    aspect: Aspect
    path: str
    kinds: frozenset[Kind]

    def covers(self, endpoint: str, aspect: Aspect, path: str, kind: Kind) -> bool:
        """Whether a finding with this key is meant."""
        return aspect == self.aspect and kind in self.kinds and self.is_at(endpoint, path)

    def is_at(self, endpoint: str, path: str) -> bool:
        """Whether it is at this place, whatever is found there."""
        return _matches(endpoint, self.endpoint) and _matches(path, self.path)


class PlantedFault(msgspec.Struct, frozen=True):
    """One fault. It is found when a finding is at one of its `shows`; a finding in `follows` is explained by it as well."""

    name: str
    what: str
    shows: tuple[Place, ...]
    follows: tuple[Place, ...] = ()

    def shown_by(self, endpoint: str, aspect: Aspect, path: str, kind: Kind) -> bool:
        """Whether a finding with this key is the fault itself."""
        return any(place.covers(endpoint, aspect, path, kind) for place in self.shows)

    def explains(self, endpoint: str, aspect: Aspect, path: str, kind: Kind) -> bool:
        """Whether a finding with this key is the fault itself or comes from it.

        A wrong value that comes and goes is also a candidate that disagrees with itself there, and another mix of values.
        """
        if any(place.covers(endpoint, aspect, path, kind) for place in (*self.shows, *self.follows)):
            return True
        of_values = aspect is Aspect.DETERMINISM or (aspect is Aspect.BODY and kind in _OF_VALUES)
        return of_values and any(place.aspect is Aspect.BODY and place.is_at(endpoint, path) for place in (*self.shows, *self.follows))


def _matches(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def _place(endpoint: str, aspect: Aspect, path: str, *kinds: Kind) -> Place:
    return Place(endpoint, aspect, path, frozenset(kinds))


_CHARGES: Final = "$['http POST payments.demo/charges']"
_MESSAGES: Final = "$['http POST mail.demo/messages']"

FAULTS: Final = (
    PlantedFault(
        "yen-in-cents",
        "quotes in JPY have decimals, which the currency has not; all other currencies are right",
        (_place("GET /quotes/*", Aspect.BODY, "$.total", Kind.TYPE, Kind.VALUE),),
    ),
    PlantedFault(
        "lost-reason",
        "the reason of a discount is gone where it comes from a tenant's agreement",
        (
            _place("POST /orders", Aspect.BODY, "$.discount.reason", Kind.MISSING),
            _place("GET /orders/*", Aspect.BODY, "$.discount.reason", Kind.MISSING),
        ),
    ),
    PlantedFault(
        "unstable-sort",
        "products of one price come in any order when the list is sorted by price",
        (
            _place("GET /products", Aspect.BODY, "$.items", Kind.ORDER),
            _place("GET /products", Aspect.BODY, "$.items[*].*", Kind.VALUE, Kind.ORDER, Kind.LENGTH),
        ),
    ),
    PlantedFault(
        "zero-accepted",
        "a quote for 0 pieces is answered as if 1 had been asked for, instead of 400",
        (_place("GET /quotes/*", Aspect.STATUS, "$", Kind.CODE),),
        (
            _place("GET /quotes/*", Aspect.BODY, "$", Kind.MEDIA_TYPE, Kind.LENGTH, Kind.VALUE),
            _place("GET /quotes/*", Aspect.BODY, "$.*", Kind.MISSING, Kind.EXTRA),
            _place("GET /quotes/*", Aspect.HEADERS, "content-type", Kind.MEDIA_TYPE, Kind.VALUE),
        ),
    ),
    PlantedFault(
        "stock-off-by-one",
        "the stock shown is one too low in 3 of 100 answers, at random",
        (_place("GET /products/*", Aspect.BODY, "$.stock.available", Kind.VALUE),),
    ),
    PlantedFault(
        "slow-recommendations",
        "recommendations take 30 ms more",
        (_place("GET /recommendations", Aspect.LATENCY, "p50", Kind.SLOWER),),
        (_place("GET /recommendations", Aspect.LATENCY, "tail*", Kind.SLOWER),),
    ),
    PlantedFault(
        "customs-forgotten",
        "delivery to one region, ap-south, is promised too early",
        (_place("GET /shipping", Aspect.BODY, "$.delivery.days", Kind.VALUE),),
    ),
    PlantedFault(
        "charged-twice",
        "orders above 80 EUR are charged twice; the answer is right",
        (_place("POST /orders", Aspect.EFFECTS, _CHARGES, Kind.DUPLICATED),),
        # An attempt more takes its time.
        (_place("POST /orders", Aspect.LATENCY, "p50", Kind.SLOWER), _place("POST /orders", Aspect.LATENCY, "tail*", Kind.SLOWER)),
    ),
    PlantedFault(
        "mail-not-sent",
        "no mail confirms an order with a discount from a tenant's agreement; the answer is right",
        (_place("POST /orders", Aspect.EFFECTS, _MESSAGES, Kind.MISSING),),
    ),
)

_ANYWHERE: Final = "* /*"

HONEST_NOISE: Final = (
    _place(_ANYWHERE, Aspect.HEADERS, "x-request-id", Kind.VALUE),
    _place(_ANYWHERE, Aspect.HEADERS, "x-instance", Kind.VALUE),
    _place("POST /orders", Aspect.HEADERS, "location", Kind.VALUE),
    _place(_ANYWHERE, Aspect.BODY, "$.instance", Kind.VALUE),
    _place("GET /health", Aspect.BODY, "$.checked_at", Kind.VALUE),
    _place("POST /login", Aspect.BODY, "$.token", Kind.VALUE),
    _place("POST /login", Aspect.BODY, "$.expires_at", Kind.VALUE),
    _place("GET /products", Aspect.BODY, "$.generated_at", Kind.VALUE),
    _place("GET /products/*", Aspect.BODY, "$.generated_at", Kind.VALUE),
    _place("GET /products/*", Aspect.BODY, "$.tags", Kind.ORDER),
    _place("GET /recommendations", Aspect.BODY, "$.trace", Kind.VALUE),
    _place("GET /quotes/*", Aspect.BODY, "$.quote", Kind.VALUE),
    _place("GET /quotes/*", Aspect.BODY, "$.valid_until", Kind.VALUE),
    _place("GET /shipping", Aspect.BODY, "$.quoted_at", Kind.VALUE),
    _place("* /orders*", Aspect.BODY, "$.id", Kind.VALUE),
    _place("* /orders*", Aspect.BODY, "$.placed_at", Kind.VALUE),
    _place("* /orders*", Aspect.BODY, "$.cancelled_at", Kind.VALUE),
    _place("GET /orders", Aspect.BODY, "$.orders[*].id", Kind.VALUE),
    _place("GET /orders", Aspect.BODY, "$.orders[*].placed_at", Kind.VALUE),
    _place("POST /orders", Aspect.EFFECTS, _CHARGES + ".headers.idempotency-key", Kind.VALUE),
    _place("POST /orders", Aspect.EFFECTS, _CHARGES + ".body.order_id", Kind.VALUE),
    _place("POST /orders", Aspect.EFFECTS, _MESSAGES + ".body.order_id", Kind.VALUE),
)
"""Order numbers, the token and Location are mapped from one instance to the other by a replay; the rest stays noise."""
