"""The contract of effect collectors (entry point group `shadowdiff.effects`), and the values they give out.

A collector watches one sort of effect at all targets: outbound calls, rows, commands, spans. It is opened before the builds
start, attached whenever they are ready, drained again and again, and closed at the end. It says what it saw and as much as
it knows of whose it was; to which trial an effect belongs is decided in `harness.effects.attribution`.

Nothing that a target, a database or a client of the collector does may raise out of a collector once it is attached: what it
cannot see is a lapse, counted and shown, and the run goes on.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

import msgspec

from harness.core.clock import Clock, Rng
from harness.core.errors import UsageError
from harness.core.labels import Role
from harness.core.redact import Redactor
from harness.core.values import Effect


class OpenTrial(msgspec.Struct, frozen=True, kw_only=True):
    """A trial whose effects are being watched."""

    trace: str
    """32 hex digits; its name among effects."""
    roles: tuple[Role, ...]
    request: str
    """The same for the same request in every run (a hash of method, target and body): the key of tapes."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """An effect as a collector saw it."""

    role: Role
    effect: Effect
    trace: str = ""
    """The trial that it names itself, by trace context or by what it was matched with; empty where it names none."""


class Lapse(msgspec.Struct, frozen=True):
    """Something that a collector could not see or had to give up, and how often; `role` None where it concerns all."""

    what: str
    count: int = 1
    role: Role | None = None
    blind: bool = True
    """Effects may have been missed by it."""


class TableState(msgspec.Struct, frozen=True, kw_only=True):
    """One table at the end of a pass, at one target."""

    table: str
    rows: int
    digests: dict[str, str]
    """Column name -> digest over all its values, whatever the order of the rows."""
    first: tuple[bytes, ...] = ()
    """The first rows by primary key (else by all columns), JSON objects, bounded."""


class Workplace(msgspec.Struct, frozen=True, kw_only=True):
    """What a collector is given to work with."""

    folder: Path
    """A folder of its own, private (0700); there from `open` on, gone after the run."""
    clock: Clock
    rng: Rng
    redactor: Redactor
    """For what is written to disk beyond the run."""
    host: str = "127.0.0.1"
    """The address to listen on where the user names none: builds that are started here can reach it."""
    live: bool = False
    """Live traffic: trials are not announced (`begin`, `settle` and `end` are never called), many are under way at once, and
    whatever names a trace is given out under it."""


class Collector:
    """A base for collectors: everything that one has no use for does nothing.

    `name` is unique and short, the prefix of what it reports; `version` is raised whenever the same doings may give other
    effects. Methods are called on one event loop.
    """

    name: str = ""
    version: int = 1
    live: bool = True
    """It can tell whose an effect is where many requests are under way at once, or at least count it by target."""
    delay_s: float = 0.0
    """How long after a target's answer its effects may still come, as a rule."""
    favours_stable: bool = False
    """It treats stable otherwise than the others (stable's calls are real, theirs are answered from them)."""

    @classmethod
    def make(cls, options: Mapping[str, object], workplace: Workplace) -> Self:
        """A collector with the options of its section of the configuration (`effects.NAME`). Raises UsageError, all problems at once."""
        del options, workplace
        raise UsageError("the collector does not say how it is made", where=cls.__name__, fix="give its class a `make`")

    @property
    def mode(self) -> str:
        """How it takes part, where it has modes; for the report."""
        return ""

    async def open(self, roles: Collection[Role]) -> None:
        """Begin to listen, before any build starts. Raises SetupError."""

    def names(self, role: Role) -> Mapping[str, str]:
        """Placeholders for a target's command and `env`, e.g. `redis` for `{redis}`; known once open."""
        del role
        return {}

    def env(self, role: Role) -> Mapping[str, str]:
        """Environment variables that a target started by the harness gets, unless its own `env` sets them; known once open."""
        del role
        return {}

    def spare(self, addresses: Collection[tuple[str, int]]) -> None:
        """Hosts and ports of all collectors: what builds send there is sent to the harness, and is no doing of theirs."""
        del addresses

    async def prepare(self, role: Role) -> None:
        """Called for each target just before each start of the builds. Raises SetupError."""
        del role

    async def attach(self) -> None:
        """The builds are ready: connect to what they use. What they did while starting is not reported. Raises SetupError."""

    def begin(self, trial: OpenTrial) -> None:
        """A trial is about to be sent."""
        del trial

    def answered(self, trial: OpenTrial, role: Role) -> None:
        """A target's exchange in a trial is over."""
        del trial, role

    async def settle(self, trial: OpenTrial, deadline_ns: int) -> bool:
        """All exchanges of a trial are over: wait until its effects have come, at most until `deadline_ns` (monotonic).

        Returns whether they are complete as far as this collector can know.
        """
        del trial, deadline_ns
        return True

    async def drain(self) -> list[Observed]:
        """Everything seen since the last call, in the order in which it was seen at each target."""
        return []

    def end(self, trial: OpenTrial) -> None:
        """A trial has been judged: what is kept for it can go."""
        del trial

    async def final_state(self, role: Role) -> tuple[TableState, ...]:
        """The stored state of a target, at the end of a pass, before the builds stop.

        A table that is left out is taken for absent, unless a lapse is counted meanwhile.
        """
        del role
        return ()

    async def detach(self) -> None:
        """The builds are about to stop: let go of what is theirs, so that they can."""

    async def close(self) -> None:
        """Stop listening and clean up. Called once, also after an `open` that failed; not where it was never opened."""

    def lapses(self) -> tuple[Lapse, ...]:
        """What could not be seen so far, with counts."""
        return ()
