"""A shop that does things: it charges a card, writes rows, sets keys, publishes and mails; `--faults` plants one fault a path.

The answers of the sound and of the faulty build are the same, byte for byte: only what is done to the outside differs.
It runs with the packages of tests/requirements/instrumented.txt, in either of two frameworks. Everything outside is named
by the environment: PAYMENTS, MAIL (URLs), DATABASE_URL, SQLITE, REDIS_URL; what is not named is not used.
"""

# ruff: noqa: PLC0415 - frameworks and drivers are imported only where they are used

import argparse
import os
import sqlite3
import uuid
from importlib import import_module
from typing import Any

CHECKOUTS = (
    "call-missing",
    "call-doubled",
    "call-amount",
    "call-path",
    "call-order",
    "row-missing",
    "row-doubled",
    "row-quantity",
    "row-table",
    "key-missing",
    "message-missing",
    "sound",
)
Call = tuple[str, str, dict[str, Any]]


class Outside:
    """Rows, keys and messages, each where it is configured."""

    def __init__(self) -> None:
        self.database: Any = None
        if url := os.environ.get("DATABASE_URL"):
            import psycopg

            self.database = psycopg.connect(url, autocommit=True)
        self.sqlite = sqlite3.connect(os.environ["SQLITE"], check_same_thread=False) if os.environ.get("SQLITE") else None
        self.redis: Any = None
        if url := os.environ.get("REDIS_URL"):
            self.redis = import_module("redis").Redis.from_url(url)

    def create(self) -> None:
        """Tables, where they are not there yet."""
        if self.database is not None:
            for table in ("orders", "orders_archive"):
                self.database.execute(
                    f"create table if not exists {table} (id serial primary key, number text, sku text, quantity int, placed timestamptz)"
                )
        if self.sqlite is not None:
            self.sqlite.execute("create table if not exists stock (sku text primary key, quantity integer)")
            self.sqlite.execute("create table if not exists moves (id integer primary key autoincrement, sku text, quantity integer)")
            self.sqlite.execute("insert or ignore into stock values ('lamp', 1000), ('desk', 1000)")
            self.sqlite.commit()

    def write(self, number: str, sku: str, quantity: int, fault: str) -> None:
        """One order line: a row in each database."""
        if fault == "row-missing" and sku == "desk":
            return
        written = quantity + (fault == "row-quantity" and sku == "desk")
        for _ in range(2 if fault == "row-doubled" and sku == "lamp" else 1):
            if self.database is not None:
                table = "orders_archive" if fault == "row-table" and sku == "lamp" else "orders"
                self.database.execute(
                    f"insert into {table} (number, sku, quantity, placed) values (%s, %s, %s, now())", (number, sku, written)
                )
            if self.sqlite is not None:
                self.sqlite.execute("insert into moves (sku, quantity) values (?, ?)", (sku, -written))
                self.sqlite.execute("update stock set quantity = quantity - ? where sku = ?", (written, sku))
                self.sqlite.commit()

    def remember(self, number: str, customer: int, fault: str) -> None:
        """Cache and message."""
        if self.redis is None:
            return
        if fault != "key-missing":
            self.redis.set(f"cart:{customer}", "empty", ex=600)
        if fault != "message-missing":
            self.redis.publish("orders", f'{{"customer": {customer}}}')


class Shop:
    """One build."""

    def __init__(self, *, faulty: bool) -> None:
        self.faulty = faulty
        self.outside = Outside()
        self.outside.create()

    def calls(self, fault: str, amount: int, customer: int) -> list[Call]:
        """The outbound calls of a checkout, in their order."""
        payments, mail = os.environ.get("PAYMENTS"), os.environ.get("MAIL")
        charge = {"customer": customer, "amount": amount + (fault == "call-amount"), "key": str(uuid.uuid4())}
        found: list[Call] = []
        if payments:
            path = "/v2/charges" if fault == "call-path" else "/charges"
            found += [("POST", f"{payments}{path}", charge)] * (2 if fault == "call-doubled" else 1)
        if mail and fault != "call-missing":
            found.append(("POST", f"{mail}/messages", {"to": customer, "template": "thanks"}))
        return found[::-1] if fault == "call-order" else found

    def rest(self, fault: str, customer: int) -> None:
        """What a checkout does beside its calls."""
        number = str(uuid.uuid4())
        self.outside.write(number, "lamp", 1, fault)
        self.outside.write(number, "desk", 2, fault)
        self.outside.remember(number, customer, fault)

    def fault_of(self, path: str) -> str:
        """The fault planted at a path; empty in the sound build."""
        return path.removeprefix("/checkout/") if self.faulty else ""


def flask_app(shop: Shop) -> Any:
    """The shop in Flask, with requests."""
    import flask

    app = flask.Flask("shop")
    session = import_module("requests").Session()

    @app.get("/")
    def ready() -> Any:
        return flask.jsonify(ok=True)

    @app.post("/checkout/<name>")
    def checkout(name: str) -> Any:
        body = flask.request.get_json()
        fault = shop.fault_of(f"/checkout/{name}")
        for method, url, document in shop.calls(fault, body["amount"], body["customer"]):
            session.request(method, url, json=document, timeout=20)
        shop.rest(fault, body["customer"])
        return flask.jsonify(ok=True, amount=body["amount"])

    return app


def aiohttp_app(shop: Shop) -> Any:
    """The shop in aiohttp, with its client."""
    from aiohttp import ClientSession, ClientTimeout, web

    async def client(app: web.Application) -> Any:
        async with ClientSession(trust_env=True, timeout=ClientTimeout(total=20)) as session:
            app[key] = session
            yield

    async def ready(_request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def checkout(request: web.Request) -> web.Response:
        body = await request.json()
        fault = shop.fault_of(request.path)
        for method, url, document in shop.calls(fault, body["amount"], body["customer"]):
            async with request.app[key].request(method, url, json=document) as answer:
                await answer.read()
        shop.rest(fault, body["customer"])
        return web.json_response({"ok": True, "amount": body["amount"]})

    key = web.AppKey("session", ClientSession)
    app = web.Application()
    app.router.add_get("/", ready)
    app.router.add_post("/checkout/{name}", checkout)
    app.cleanup_ctx.append(client)
    return app


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--framework", choices=("flask", "aiohttp"), required=True)
    parser.add_argument("--faults", action="store_true")
    options = parser.parse_args()
    shop = Shop(faulty=options.faults)
    if options.framework == "flask":
        flask_app(shop).run(host="127.0.0.1", port=options.port, threaded=False)
    else:
        from aiohttp import web

        web.run_app(aiohttp_app(shop), host="127.0.0.1", port=options.port, print=None)


if __name__ == "__main__":
    main()
