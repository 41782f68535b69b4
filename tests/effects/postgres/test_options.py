"""What users may say under `effects.postgres`."""

import pytest

from harness.core.errors import UsageError
from harness.core.labels import Role
from harness.effects.postgres.options import Options, matches, read_options


def test_connection_strings_by_role() -> None:
    options = read_options(
        {"dsn": "dbname=shop_{role}", "dsn_of": {"candidate": "service={role}"}, "tables": ["orders"], "plugin": "wal2json"}
    )
    assert options.dsn_for(Role.STABLE) == "dbname=shop_stable"
    assert options.dsn_for(Role.CANDIDATE) == "service=candidate"
    assert options == Options(dsn="dbname=shop_{role}", dsn_of={Role.CANDIDATE: "service={role}"}, tables=("orders",), plugin="wal2json")


def test_all_problems_at_once_each_with_its_key() -> None:
    with pytest.raises(UsageError) as caught:
        read_options({"dsn": 1, "tabels": ["x"], "plugin": "pgoutput", "dsn_of": {"nobody": "x"}, "final_state": "yes"})
    text = str(caught.value)
    for key in ("dsn", "tabels", "plugin", "dsn_of", "final_state"):
        assert f"effects.postgres.{key}: " in text
    assert 'did you mean "tables"?' in text
    assert "missing" not in text
    with pytest.raises(UsageError, match=r"effects\.postgres\.dsn: missing"):
        read_options({})


@pytest.mark.parametrize(
    ("pattern", "table", "expected"),
    [
        ("orders", "public.orders", True),
        ("orders", "public.orders_old", False),
        ("orders*", "public.orders_old", True),
        ("public.*", "public.orders", True),
        ("other.*", "public.orders", False),
        ("Orders", "public.orders", False),
        ("*", "public.orders", True),
    ],
)
def test_patterns(pattern: str, table: str, expected: bool) -> None:
    assert matches(pattern, table) is expected


def test_ignoring_goes_before_watching() -> None:
    options = Options(dsn="x", tables=("public.*",), ignore_tables=("audit_*",))
    assert [options.watches(name) for name in ("public.orders", "public.audit_1", "other.orders")] == [True, False, False]
    assert Options(dsn="x").watches("any.table")
