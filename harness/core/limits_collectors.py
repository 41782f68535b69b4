"""Every maximum of the collectors of effects, by name; all others are in `harness.core.limits`. Units are last in the name."""

from typing import Final

# Effects: outbound calls
EGRESS_HOLD_SECONDS_MAX: Final = 10.0
"""How long a call of another target may wait for stable to make its own."""
EGRESS_UNTIED_HOLD_SECONDS_MAX: Final = 2.0
"""The same for a call that belongs to no trial."""
EGRESS_TAPED_CALLS_MAX: Final = 4096
"""Calls on the tape of one trial, and on that of calls without a trial."""
EGRESS_UNTIED_BYTES_MAX: Final = 128 * 1024 * 1024
"""Bodies of calls and answers on the tape of calls without a trial, beyond which it is begun anew."""
EGRESS_ENDED_TRIALS_MAX: Final = 4096
"""Ended trials whose late calls are still known for theirs."""
EGRESS_LAPSES_MAX: Final = 128
"""Sorts of lapses of outbound calls that are told apart."""
EGRESS_INACTIVE_SECONDS_MAX: Final = 24 * 3600
"""mitmproxy's own bound on a connection without a byte: how long a build waits for an answer is its own affair."""
EGRESS_BACKLOG_MAX: Final = 1024
"""Connections of builds that wait to be accepted, for each target's proxy."""
EGRESS_LIVE_UNDER_WAY_SECONDS_MAX: Final = 2.0
"""How long, in live traffic, a call waits for the answer to a call of stable's that is under way."""
EGRESS_LIVE_COMING_SECONDS_MAX: Final = 0.25
"""How long, in live traffic, a call waits for stable to make its own, as it does where stable calls after it has answered."""
EGRESS_LIVE_TAPES_MAX: Final = 4096
"""Tapes of live requests, one for each trace in which stable called; the oldest go first."""
EGRESS_LIVE_TAPE_SECONDS_MAX: Final = 120.0
"""How long such a tape is kept after its first call."""
EGRESS_LIVE_TAPES_BYTES_MAX: Final = 128 * 1024 * 1024
"""Calls and answers on all these tapes; as much again may be held by their content."""
EGRESS_LIVE_RECENT_SECONDS: Final = 30.0
"""For how long at least a live call of stable's can be found by its content; at most twice as long."""
EGRESS_LIVE_RECENT_CALLS_MAX: Final = 4096
"""Live calls of stable's that can be found so, of the last of these times; as many of the one before."""

# Effects: PostgreSQL
POSTGRES_CONNECT_SECONDS_MAX: Final = 10
"""Longest wait for a connection."""
POSTGRES_SLOT_SECONDS_MAX: Final = 30
"""Longest wait for a replication slot, which starts when the transactions then open have ended."""
POSTGRES_FETCH_SECONDS_MAX: Final = 60.0
"""Longest wait for the changes of one target before its connection is taken for dead."""
POSTGRES_DRAIN_SECONDS_MAX: Final = 5.0
"""Longest that a drain waits for a target; what comes later is in a later drain."""
POSTGRES_FETCH_CHANGES: Final = 5_000
"""Changes asked for at once; a transaction is never divided, so there may be more."""
POSTGRES_FETCH_BYTES_MAX: Final = 32 * 1024 * 1024
"""Text of changes taken at once of one target; what is beyond it in a transaction is not seen, and a lapse."""
POSTGRES_UNDRAINED_BYTES_MAX: Final = 32 * 1024 * 1024
"""Size of the documents that wait at one target to be drained."""
POSTGRES_UNFIT_ROWS_MAX: Final = 1_000
"""Forms of rows that fit no table, even with the catalogue read anew, which are remembered so that it is not read for each again."""
POSTGRES_KEEP_ALIVE_SECONDS: Final = 5.0
"""How long changes may wait in a server's log before they are fetched without anybody asking."""
POSTGRES_NUDGE_SECONDS: Final = 1.0
"""How often, while rows change, a server is made to note which transactions run, so that it need not read its log from far back."""
POSTGRES_RECONNECT_SECONDS: Final = 1.0
"""Least time between two attempts to reach a server again."""
POSTGRES_DETACH_SECONDS_MAX: Final = 3
"""Longest wait for a target when it is let go of."""
POSTGRES_TABLE_SECONDS_MAX: Final = 15
"""Longest that one table may take at the end of a pass."""
POSTGRES_STATE_SECONDS_MAX: Final = 40.0
"""Longest that all tables of a target may take."""
POSTGRES_TABLES_MAX: Final = 1_000
"""Tables of a target whose final state is looked at."""
POSTGRES_CELL_CHARS_MAX: Final = 16_384
"""What is kept of one value of the first rows of a table."""
POSTGRES_LAPSES_MAX: Final = 64
"""Sorts of lapses of a server that are told apart; further ones are counted together."""

# Effects: Redis
REDIS_CONNECT_SECONDS_MAX: Final = 10.0
"""How long a connection to the server may take."""
REDIS_ARGUMENT_BYTES_MAX: Final = 64 * 1024
"""What is kept of one argument of a command."""
REDIS_ARGUMENTS_MAX: Final = 4096
"""Arguments of one command that are kept; further ones are counted and digested."""
REDIS_LINE_BYTES_MAX: Final = 64 * 1024
"""An inline command, or a length, which Redis itself bounds so."""
REDIS_REPLY_ITEMS_MAX: Final = 65_536
"""Elements of a reply that are looked at one by one."""
REDIS_REPLY_DEPTH_MAX: Final = 128
"""Nesting of a reply; a deeper one is garbage."""
REDIS_REPLY_TEXT_BYTES_MAX: Final = 64
"""What is kept of a reply's simple text, error or number; a longer bulk text is not kept."""
REDIS_PENDING_MAX: Final = REDIS_REPLY_ITEMS_MAX
"""Commands of one connection whose reply has not come, or that wait for their EXEC, whose reply has an element for each."""
REDIS_PENDING_BYTES_MAX: Final = 32 * 1024 * 1024
"""What is kept of these commands."""
REDIS_LAPSES_MAX: Final = 200
"""Sorts of lapses of the relays that are told apart."""

# Effects: SQLite
SQLITE_ATTACH_SECONDS_MAX: Final = 15.0
"""How long a build that is ready may keep its database locked before the triggers are in."""
SQLITE_LOG_ROWS_MAX: Final = 8192
"""Rows of the log; each new one pushes out the oldest, so that the file cannot grow without end. An update needs two."""
SQLITE_VALUE_CHARS_MAX: Final = 32_768
"""Characters of a text and half the bytes of a blob that are logged; of a longer one its length too."""
SQLITE_COLUMNS_MAX: Final = 1_990
"""Columns of a table that can be logged: SQLite's own bound is 2000, and the log has some of its own."""
SQLITE_READ_ROWS_MAX: Final = 1000
"""Rows of the log read at once: a reader holds up writers of a database that is not in WAL mode."""
SQLITE_STATE_SECONDS_MAX: Final = 40.0
"""How long one target's tables may take to be read at the end of a pass."""
SQLITE_STATE_ROWS_MAX: Final = 1_000_000
"""Rows of a table that are digested; of a larger one only the number is compared."""
SQLITE_STATE_CELLS_MAX: Final = 5_000_000
"""Values of a table that are digested."""
SQLITE_LAPSES_MAX: Final = 200
"""Sorts of lapses of the databases that are told apart."""
