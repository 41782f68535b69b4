# mypy: ignore-errors
"""A shop on Flask, requests and SQLite, where orders are stored and charged.

`PAYMENTS` is the payment service, `CHARGES` how often it is asked."""

import os
import sqlite3

import requests
from flask import Flask, jsonify

app = Flask("shop")
PAYMENTS = os.environ["PAYMENTS"]
CHARGES = int(os.environ.get("CHARGES", "1"))


def database() -> sqlite3.Connection:
    """In memory, new for each request: the stored rows are not what this is about."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, sku TEXT, quantity INTEGER)")
    return connection


@app.post("/orders/<int:number>")
def create(number: int):
    connection = database()
    cursor = connection.cursor()
    cursor.execute("insert into orders (id, sku, quantity) values (?, 'A-1', 3)", (number,))
    status = [requests.post(f"{PAYMENTS}/charges/{number}", json={"amount": 5}, timeout=30).status_code for _ in range(CHARGES)]
    return jsonify(id=number, charged=status)


@app.get("/orders/<int:number>")
def read(number: int):
    cursor = database().cursor()
    rows = cursor.execute(f"SELECT * FROM orders WHERE id IN ({number}, {number + 1})").fetchall()
    return jsonify(rows=len(rows))


@app.get("/ready")
def ready():
    return "ready"


if __name__ == "__main__":
    app.run("127.0.0.1", int(os.environ["PORT"]))
