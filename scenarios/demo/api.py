"""The order service as a function: one HTTP request in, one response and its working time out. No sockets, no waiting.

What it owes to other services comes out as values too, for somebody else to send.

The log-in takes any passphrase: the demo's traffic is recorded with its secrets redacted, and a replay must be able to
log in again. A real service could not do that; give a replay credentials that work there.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec
import orjson

from harness.core.http import header
from harness.core.values import Request, Response, body_of
from scenarios.demo.candidate import CandidateShop
from scenarios.demo.catalogue import CATEGORIES, CURRENCIES, REGIONS, TENANTS, Agreement, Currency, Product, Region
from scenarios.demo.outside import IDEMPOTENCY_KEY, MAIL, PAYMENTS, OutboundCall
from scenarios.demo.pricing import QUANTITY_MAX, Discount, Line, less, number, price_in, rounded
from scenarios.demo.shop import InvalidInputError, Shop
from scenarios.demo.store import Order, Store

BUILDS: Final[dict[str, type[Shop]]] = {"stable": Shop, "candidate": CandidateShop}
LINES_MAX: Final = 20
LIMIT_MAX: Final = 10
WEIGHT_KG_MAX: Final = 200.0
CUSTOMERS: Final = range(1000, 10_000)
_WORK_MS: Final = (0.5, 2.0)
"""What answering any request takes: uniform between these."""


class Answer(msgspec.Struct, frozen=True):
    """A response, how long the service worked on it, and what it asks of other services before it answers."""

    response: Response
    work_ms: float
    calls: tuple[OutboundCall, ...] = ()
    """To be sent in this order. What becomes of them does not change the response."""


class Call(msgspec.Struct, frozen=True):
    """A request as the handlers see it, checked as far as all endpoints have in common."""

    query: dict[str, str]
    headers: tuple[tuple[str, str], ...]
    body: bytes
    number: int
    """The number in the path; 0 where there is none."""
    region: Region | None
    agreement: Agreement | None


class Problem(Exception):  # noqa: N818  # the word of RFC 9457
    """An answer that is not what was asked for."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail


View = dict[str, Any]
Handler = Callable[[Call], tuple[int, View]]


class OrderService:
    """One process of the service. `now` gives seconds since the epoch; `chance` all that is random."""

    def __init__(self, build: str, chance: Random, now: Callable[[], float]) -> None:
        self._chance = chance
        self._now = now
        self._shop = BUILDS[build](chance)
        self._store = Store(chance)
        self._instance = f"{chance.getrandbits(32):08x}"
        self._keys = Random(self._instance)
        """For what only other services see, so that answers do not depend on it."""
        self._outbox: list[OutboundCall] = []
        self._routes: tuple[tuple[str, re.Pattern[str], Handler], ...] = tuple(
            (method, re.compile(path.replace("{number}", r"(?P<number>\d{1,9})")), handler)
            for method, path, handler in (
                ("POST", "/login", self._login),
                ("GET", "/products", self._list_products),
                ("GET", "/products/{number}", self._product),
                ("GET", "/recommendations", self._recommendations),
                ("GET", "/quotes/{number}", self._quote),
                ("GET", "/shipping", self._shipping),
                ("POST", "/orders", self._place_order),
                ("GET", "/orders", self._list_orders),
                ("GET", "/orders/{number}", self._order),
                ("POST", "/orders/{number}/cancel", self._cancel_order),
            )
        )

    def answer(self, request: Request) -> Answer:
        """The answer to any request; never raises."""
        request_id = self._uuid()
        work_ms = self._chance.uniform(*_WORK_MS)
        path = urlsplit(request.target).path
        try:
            status, view = self._dispatch(request, path)
            media_type = "application/json"
        except Problem as problem:
            status, media_type = problem.status, "application/problem+json"
            view = {"title": problem.title, "status": status, "detail": problem.detail, "instance": f"urn:uuid:{request_id}"}
        if path == "/recommendations" and status == 200:
            work_ms += self._shop.recommendation_work_ms()
        headers = [("Content-Type", media_type), ("X-Request-Id", request_id), ("X-Instance", self._instance)]
        if status == 201:
            headers.append(("Location", f"/orders/{view['id']}"))
        if path.startswith("/products"):
            headers += [("Cache-Control", "private, max-age=60"), ("Vary", "X-Tenant, X-Region")]
        calls, self._outbox = tuple(self._outbox), []
        return Answer(Response(status, tuple(headers), body_of(orjson.dumps(view))), work_ms, calls)

    def _dispatch(self, request: Request, path: str) -> tuple[int, View]:
        if path in {"/", "/health"}:
            return 200, {"status": "ok", "checked_at": self._time()}
        found = [(method, match, handler) for method, pattern, handler in self._routes if (match := pattern.fullmatch(path))]
        if not found:
            raise Problem(404, "Not found", f"nothing is at {path}")
        for method, match, handler in found:
            if method == request.method:
                return handler(self._call(request, int(match.groupdict().get("number") or 0)))
        raise Problem(405, "Method not allowed", f"{path} has {', '.join(method for method, _, _ in found)}")

    def _call(self, request: Request, in_path: int) -> Call:
        tenant = header(request.headers, "x-tenant")
        if tenant not in TENANTS:
            raise Problem(400, "Unknown tenant", "X-Tenant must name a tenant")
        region = header(request.headers, "x-region")
        return Call(
            query=dict(parse_qsl(urlsplit(request.target).query, keep_blank_values=True)),
            headers=request.headers,
            body=request.body.data,
            number=in_path,
            region=REGIONS.get(region or ""),
            agreement=TENANTS[tenant],
        )

    def _login(self, call: Call) -> tuple[int, View]:
        body = _json_object(call)
        customer, passphrase = body.get("customer"), body.get("passphrase")
        if type(customer) is not int or customer not in CUSTOMERS or not isinstance(passphrase, str) or not passphrase:
            raise Problem(401, "Log-in failed", "customer and passphrase do not match")
        view = {"number": customer, "name": f"Customer {customer}", "email": _email(customer)}
        return 200, {"token": self._store.log_in(customer), "expires_at": self._time(hours=8), "customer": view}

    def _list_products(self, call: Call) -> tuple[int, View]:
        currency = _currency(call.query.get("currency"))
        category = call.query.get("category")
        if category is not None and category not in CATEGORIES:
            raise Problem(400, "Invalid query", f"category must be one of {', '.join(CATEGORIES)}")
        found = [product for product in self._shop.products.values() if category in {None, product.category}]
        sort = call.query.get("sort", "sku")
        if sort in {"price", "-price"}:
            found = self._shop.sorted_by_price(found, currency, descending=sort == "-price")
        elif sort == "name":
            found.sort(key=lambda product: (product.name, product.sku))
        elif sort != "sku":
            raise Problem(400, "Invalid query", "sort must be one of sku, name, price, -price")
        items = [{"sku": product.sku, "name": product.name, "price": _price(product, currency)} for product in found]
        return 200, {"currency": currency.code, "count": len(items), "items": items, "generated_at": self._time()}

    def _product(self, call: Call) -> tuple[int, View]:
        product, currency, region = self._known(call.number), _currency(call.query.get("currency")), _region(call)
        return 200, {
            "sku": product.sku,
            "name": product.name,
            "category": product.category,
            "price": _price(product, currency),
            "currency": currency.code,
            "weight_kg": product.weight_kg,
            # A set: its order means nothing and is another one each time.
            "tags": self._chance.sample(product.tags, len(product.tags)),
            "stock": {"available": self._shop.available(product, region), "warehouse": region.warehouse},
            "generated_at": self._time(),
        }

    def _recommendations(self, call: Call) -> tuple[int, View]:
        product = self._known(_whole(call.query, "sku", 0))
        limit = _whole(call.query, "limit", 4)
        if not 1 <= limit <= LIMIT_MAX:
            raise Problem(400, "Invalid query", f"limit must be 1 to {LIMIT_MAX}")
        items = [{"sku": other.sku, "name": other.name, "score": float(score)} for other, score in self._shop.recommended(product, limit)]
        return 200, {"sku": product.sku, "items": items, "trace": self._uuid()}

    def _quote(self, call: Call) -> tuple[int, View]:
        product, currency = self._known(call.number), _currency(call.query.get("currency"))
        quantity = _whole(call.query, "qty", 1)
        if quantity > QUANTITY_MAX:
            raise Problem(400, "Invalid quantity", f"quantity must be {QUANTITY_MAX} or less")
        try:
            quantity = self._shop.checked_quantity(quantity)
        except InvalidInputError as error:
            raise Problem(400, "Invalid quantity", str(error)) from error
        return 200, {
            "quote": self._uuid(),
            "sku": product.sku,
            "quantity": quantity,
            "currency": currency.code,
            "unit_price": _price(product, currency),
            "total": self._shop.quote_total(product, quantity, currency),
            "valid_until": self._time(hours=24),
        }

    def _shipping(self, call: Call) -> tuple[int, View]:
        name = call.query.get("region")
        if name not in REGIONS:
            raise Problem(400, "Invalid query", f"region must be one of {', '.join(REGIONS)}")
        region, currency = REGIONS[name], _currency(call.query.get("currency"))
        try:
            weight_kg = float(call.query.get("weight", ""))
        except ValueError:
            weight_kg = 0.0
        if not 0 < weight_kg <= WEIGHT_KG_MAX:
            raise Problem(400, "Invalid query", f"weight must be a number of kilograms, above 0, up to {WEIGHT_KG_MAX:g}")
        price = (region.base + region.per_kg * Decimal(str(weight_kg))) * currency.rate
        days = self._shop.delivery_days(region, weight_kg)
        return 200, {
            "region": region.name,
            "weight_kg": weight_kg,
            "price": number(rounded(price, currency.decimals), currency),
            "currency": currency.code,
            "delivery": {"days": days, "warehouse": region.warehouse},
            "quoted_at": self._time(),
        }

    def _place_order(self, call: Call) -> tuple[int, View]:
        token = self._token(call)
        body = _json_object(call)
        currency = _currency(body.get("currency", "EUR"))
        lines = self._lines(body.get("lines"))
        amounts = [rounded(price_in(line.product, currency) * line.quantity, currency.decimals) for line in lines]
        subtotal = sum(amounts, Decimal(0))
        discount = self._shop.discount(lines, call.agreement)
        off = rounded(subtotal - less(subtotal, discount.percent), currency.decimals) if discount else Decimal(0)
        view: View = {
            "id": self._store.next_order_id(),
            "status": "open",
            "customer": self._store.customer_of(token),
            "currency": currency.code,
            "lines": [
                {"sku": line.product.sku, "quantity": line.quantity, "amount": number(amount, currency)}
                for line, amount in zip(lines, amounts, strict=True)
            ],
            "subtotal": number(subtotal, currency),
            "discount": self._shop.discount_view(discount, number(off, currency)) if discount else None,
            "total": number(subtotal - off, currency),
            "placed_at": self._time(),
        }
        self._store.keep(Order(view["id"], token, view))
        self._charge(view, subtotal - off, currency)
        self._confirm(view, discount)
        return 201, view

    def _charge(self, order: View, amount: Decimal, currency: Currency) -> None:
        body = {name: order[name] for name in ("customer", "currency")} | {"order_id": order["id"], "amount": order["total"]}
        for _ in range(self._shop.charge_attempts(amount, currency)):
            key = str(uuid.UUID(int=self._keys.getrandbits(128), version=4))
            self._outbox.append(OutboundCall(PAYMENTS, "/charges", body, ((IDEMPOTENCY_KEY, key),)))

    def _confirm(self, order: View, discount: Discount | None) -> None:
        fields = self._shop.confirmation(f"{order['total']} {order['currency']}", discount)
        if fields is not None:
            body = {"to": _email(order["customer"]), "template": "order-placed", "order_id": order["id"], "fields": fields}
            self._outbox.append(OutboundCall(MAIL, "/messages", body))

    def _list_orders(self, call: Call) -> tuple[int, View]:
        status = call.query.get("status")
        if status not in {None, "open", "cancelled"}:
            raise Problem(400, "Invalid query", "status must be open or cancelled")
        views = [order.view for order in self._store.orders(self._token(call)) if status in {None, order.view["status"]}]
        orders = [{name: view[name] for name in ("id", "status", "currency", "total", "placed_at")} for view in views]
        return 200, {"count": len(orders), "orders": orders}

    def _order(self, call: Call) -> tuple[int, View]:
        return 200, self._own_order(call).view

    def _cancel_order(self, call: Call) -> tuple[int, View]:
        order = self._own_order(call)
        if order.view["status"] == "cancelled":
            raise Problem(409, "Already cancelled", "the order was cancelled before")
        view = order.view | {"status": "cancelled", "cancelled_at": self._time()}
        self._store.keep(Order(order.id, order.token, view))
        return 200, {"id": order.id, "status": "cancelled", "refund": view["total"], "cancelled_at": view["cancelled_at"]}

    def _own_order(self, call: Call) -> Order:
        order = self._store.order(call.number, self._token(call))
        if order is None:
            raise Problem(404, "Not found", "no such order")
        return order

    def _token(self, call: Call) -> str:
        token = (header(call.headers, "authorization") or "").removeprefix("Bearer ")
        if self._store.customer_of(token) is None:
            raise Problem(401, "Log in first", "the Authorization header must carry a token from /login")
        return token

    def _lines(self, lines: object) -> tuple[Line, ...]:
        if not isinstance(lines, list) or not 1 <= len(lines) <= LINES_MAX:
            raise Problem(400, "Invalid order", f"lines must be a list of 1 to {LINES_MAX}")
        found = []
        for line in lines:
            sku, quantity = (line.get("sku"), line.get("quantity")) if isinstance(line, dict) else (None, None)
            if type(sku) is not int or sku not in self._shop.products:
                raise Problem(400, "Invalid order", "each line needs the sku of a product")
            if type(quantity) is not int or not 1 <= quantity <= QUANTITY_MAX:
                raise Problem(400, "Invalid order", f"each line needs a quantity of 1 to {QUANTITY_MAX}")
            found.append(Line(self._shop.products[sku], quantity))
        return tuple(found)

    def _known(self, sku: int) -> Product:
        product = self._shop.products.get(sku)
        if product is None:
            raise Problem(404, "Not found", "no such product")
        return product

    def _time(self, *, hours: int = 0) -> str:
        moment = datetime.fromtimestamp(self._now(), UTC) + timedelta(hours=hours)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))


def _json_object(call: Call) -> Mapping[str, Any]:
    try:
        body = orjson.loads(call.body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "Invalid body", "the body is not JSON") from error
    if not isinstance(body, dict):
        raise Problem(400, "Invalid body", "the body is not a JSON object")
    return body


def _email(customer: int) -> str:
    return f"customer{customer}@shop.example"


def _currency(code: object) -> Currency:
    found = CURRENCIES.get(code) if isinstance(code, str) else CURRENCIES["EUR"] if code is None else None
    if found is None:
        raise Problem(400, "Invalid currency", f"currency must be one of {', '.join(CURRENCIES)}")
    return found


def _region(call: Call) -> Region:
    if call.region is None:
        raise Problem(400, "Unknown region", "X-Region must name a region")
    return call.region


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"-?\d{1,9}", text, re.ASCII):
        raise Problem(400, "Invalid query", f"{name} must be a whole number")
    return int(text)


def _price(product: Product, currency: Currency) -> int | float:
    return number(price_in(product, currency), currency)
