"""The section `effects.postgres` of the configuration. Nothing here needs psycopg."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final, Literal

import msgspec

from harness.core.labels import Role
from harness.effects.sections import of_role, read_section

SECTION: Final = "effects.postgres"
ANY_FIX: Final = "see docs/effects-postgres.md"
Plugin = Literal["auto", "wal2json", "test_decoding"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user may say. Patterns are those of a shell, against `schema.table`, or against the table alone if they have no dot."""

    dsn: str = ""
    """Connection string or URL, with `{role}` where the targets' differ."""
    dsn_of: dict[Role, str] = {}
    """Those of single targets, before `dsn`."""
    tables: tuple[str, ...] = ()
    """Tables to watch; all where empty."""
    ignore_tables: tuple[str, ...] = ()
    plugin: Plugin = "auto"
    final_state: bool = True
    """Compare the tables as they are at the end of a pass."""

    def dsn_for(self, role: Role) -> str:
        """The connection string of a target; empty where none was given."""
        return of_role(self.dsn_of.get(role, self.dsn), role)

    def watches(self, table: str) -> bool:
        """Whether a table (`schema.table`) is to be watched."""
        if any(matches(pattern, table) for pattern in self.ignore_tables):
            return False
        return not self.tables or any(matches(pattern, table) for pattern in self.tables)


def matches(pattern: str, table: str) -> bool:
    """Whether a pattern stands for a table (`schema.table`)."""
    return fnmatchcase(table if "." in pattern else table.partition(".")[2], pattern)


def read_options(given: Mapping[str, object]) -> Options:
    """The options, checked. Raises UsageError with all problems."""

    def check(options: Options) -> Iterable[str]:
        if not options.dsn and not given.get("dsn_of"):
            yield "dsn: missing; say how to reach each target's database, as in postgresql://localhost/shop_{role}"

    return read_section(Options, given, SECTION, check, ANY_FIX)
