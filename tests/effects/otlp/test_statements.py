"""Query texts without their values: a table of texts, and properties for any text."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import limits
from harness.effects.otlp.statements import Statement, statement

CASES = [
    (
        "select  * from Orders where id = 42 and name='it''s' -- x",
        "",
        "SELECT * FROM Orders WHERE id = ? AND name = ?",
        "SELECT",
        "Orders",
        False,
    ),
    ("INSERT INTO orders (a,b) VALUES (%s, $2), (:x, @y)", "", "INSERT INTO orders(a, b) VALUES (?, ?), (?, ?)", "INSERT", "orders", True),
    ("SELECT %(name)s, ? FROM t", "", "SELECT ?, ? FROM t", "SELECT", "t", False),
    (
        "WITH x AS (DELETE FROM a WHERE id IN (1,2, 3) RETURNING *) SELECT * FROM x",
        "postgresql",
        "WITH x AS (DELETE FROM a WHERE id IN (?) RETURNING *) SELECT * FROM x",
        "SELECT",
        "x",
        True,
    ),
    ("with x as (select 1) update b set c = 2", "", "WITH x AS (SELECT ?) UPDATE b SET c = ?", "UPDATE", "b", True),
    (
        "update public.\"Orders\" set q = -5, r=r-1 where t::date > '2024-01-01'",
        "",
        'UPDATE public."Orders" SET q = ?, r = r - ? WHERE t::date > ?',
        "UPDATE",
        "public.Orders",
        True,
    ),
    ("SELECT count(*) FROM a WHERE id=ANY(ARRAY[1,2]) FOR UPDATE", "", None, "SELECT", "a", False),
    ("DELETE FROM `orders` WHERE 1 # why", "mysql", "DELETE FROM `orders` WHERE ?", "DELETE", "orders", True),
    ("select 'a\\'b', \"c\" from t", "mysql", "SELECT ?, ? FROM t", "SELECT", "t", False),
    ("select 'a\\' from t", "postgresql", "SELECT ? FROM t", "SELECT", "t", False),
    ("SELECT $$a'b$$, $f$ x $f$, E'a\\'b', 0x1F, 1.5e-3, .5 FROM t", "", "SELECT ?, ?, ?, ?, ?, ? FROM t", "SELECT", "t", False),
    ("/* c */ insert into t values (1) ;", "", "INSERT INTO t VALUES (?)", "INSERT", "t", True),
    ("SELECT a->>'x' FROM t WHERE b ?| 'y'", "postgresql", None, "SELECT", "t", False),
    ("CREATE TABLE IF NOT EXISTS orders (id integer)", "", "CREATE TABLE IF NOT EXISTS orders(id integer)", "CREATE", "orders", True),
    ("INSERT OR REPLACE INTO t VALUES (1)", "sqlite", "INSERT OR REPLACE INTO t VALUES (?)", "INSERT", "t", True),
    ("INSERT INTO a VALUES (1) ON CONFLICT (id) DO UPDATE SET x = 1", "", None, "INSERT", "a", True),
    ("TRUNCATE TABLE a", "", "TRUNCATE TABLE a", "TRUNCATE", "a", True),
    ("savepoint sa_savepoint_1", "", "SAVEPOINT ?", "SAVEPOINT", "", False),
    ("ROLLBACK TO SAVEPOINT s140_x3", "", "ROLLBACK TO SAVEPOINT ?", "ROLLBACK", "", False),
    ("COMMIT", "", "COMMIT", "COMMIT", "", False),
    ("BEGIN; DELETE FROM t", "", "BEGIN; DELETE FROM t", "BEGIN", "", True),
    ("EXPLAIN ANALYZE DELETE FROM x", "", None, "EXPLAIN", "", True),
    ("select o.order, o.update from t o", "", "SELECT o.order, o.update FROM t o", "SELECT", "t", False),
    ("", "", "", "", "", False),
    ("SET cart:1042:items v EX 5", "redis", "SET cart:{int}:items ?", "SET", "cart:{int}:items", True),
    ("GET ?", "redis", "GET ?", "GET", "", False),
    ("SET a 1\nGET a", "redis", "SET a ?\nGET a", "PIPELINE", "", True),
    ("", "redis", "", "", "", False),
    ('{"find": "orders", "filter": {"id": 5, "in": [1, 2]}}', "mongodb", '{"filter":{"id":"?","in":["?"]},"find":"?"}', "", "", True),
    ('{"a": "secret", "b": 5', "mongodb", '{"a": ?, "b": ?', "", "", True),
]


@pytest.mark.parametrize(("text", "system", "said", "verb", "table", "writes"), CASES, ids=[case[0][:40] or "empty" for case in CASES])
def test_texts(text: str, system: str, said: str | None, verb: str, table: str, writes: bool) -> None:
    found = statement(text, system)
    assert said is None or found.text == said
    assert (found.verb, found.table, found.writes) == (verb, table, writes)


@pytest.mark.parametrize(
    "one", ["SELECT a FROM t WHERE b IN (1)", "select a from t where b in (1, 2, 3)", "SELECT  a\nFROM t WHERE b IN (%s,%s)"]
)
def test_the_same_statement_reads_the_same(one: str) -> None:
    assert statement(one).text == "SELECT a FROM t WHERE b IN (?)"


PIECES = st.sampled_from(
    [
        *(
            "SELECT",
            "select",
            "a",
            "FROM",
            "t",
            "WHERE",
            "IN",
            "(1, 2)",
            "(",
            ")",
            ",",
            "=",
            "-",
            "5",
            "1.5",
            "'x'",
            "'it''s'",
            '"q"',
            "?",
            "$1",
            "%s",
        ),
        *(
            ":p",
            "::",
            "@v",
            "/* c */",
            "-- c\n",
            "ARRAY[1,2]",
            "[",
            "]",
            "`b`",
            "$$x$$",
            "'",
            '"',
            "\\",
            "VALUES",
            "SAVEPOINT s1",
            ".",
            ";",
            "->>",
        ),
    ]
)
SYSTEMS = st.sampled_from(["", "postgresql", "mysql", "redis", "mongodb"])


@given(st.lists(PIECES, max_size=25).map(" ".join))
def test_what_has_been_normalised_stays(text: str) -> None:
    """Where every quote is closed (an open one leaves its mark behind), and what comes out does not begin as JSON does."""
    if any(mark in text.replace("'x'", "").replace("'it''s'", "").replace('"q"', "") for mark in "'\"\\"):
        return
    once = statement(text).text
    assert statement(once).text == once or once.startswith("[")


@given(st.text(), SYSTEMS)
def test_any_text_is_taken(text: str, system: str) -> None:
    assert isinstance(statement(text, system), Statement)


SECRET = "zq7secret"


@given(st.lists(PIECES.filter(lambda piece: not set(piece) & set("'\"\\-/$`;")), max_size=10), st.lists(PIECES, max_size=5))
def test_a_literal_never_shows(before: list[str], behind: list[str]) -> None:
    text = " ".join((*before, f"'{SECRET}'", *behind))
    assert SECRET not in statement(text).text


@pytest.mark.parametrize(
    "text",
    [
        "/*" * 20_000,
        "'" * 32_001,
        "%(" * 16_000,
        "$a$" * 10_000,
        "(" * 32_000,
        "1," * 16_000,
        "a." * 16_000,
        '{"a":' * 6_000,
        "-" * 32_000,
        '"' * 31_999,
    ],
)
def test_hostile_texts_cost_little(text: str) -> None:
    began = time.process_time()
    statement(text, "postgresql")
    assert time.process_time() - began < 5


def test_a_long_text_is_cut() -> None:
    text = statement("SELECT " + "a, " * limits.SPAN_STATEMENT_CHARS_MAX).text
    assert len(text) <= limits.SPAN_STATEMENT_CHARS_MAX
    assert re.fullmatch(r"SELECT (a, )*a,?", text)
