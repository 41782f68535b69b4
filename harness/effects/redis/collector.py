"""The commands by which builds write to Redis: a relay for each target, on a port of its own, before the target's server."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Annotated, Final, Self

import msgspec

from harness.core import limits_collectors
from harness.core.errors import SetupError, UsageError
from harness.core.labels import Role
from harness.core.values import Effect
from harness.effects.api import Collector, Lapse, Observed, OpenTrial, Workplace
from harness.effects.naming import Operations, document, key_template
from harness.effects.redis.relay import Client, Upstream
from harness.effects.redis.tracker import Done
from harness.effects.room import Room
from harness.effects.sections import of_role, read_section

POLL_SECONDS: Final = 0.001
_WHERE: Final = "effects.redis"
_UNIX: Final = "unix:"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `effects.redis`."""

    upstream: str = "127.0.0.1:6379"
    """HOST:PORT or unix:/PATH of the server; `{role}` is filled in."""
    upstream_of: dict[Role, str] = {}
    """Server for a role, instead of `upstream`."""
    database_of: dict[Role, Annotated[int, msgspec.Meta(ge=0, le=65535)]] = {}
    """Logical database for a role, where targets share a server."""
    listen: dict[Role, str] = {}
    """HOST:PORT of the relay for a role; without it a free port of the loopback interface."""

    def server(self, role: Role) -> str:
        """The server of a role, as it was written."""
        return of_role(self.upstream_of.get(role, self.upstream), role)


def _check(options: Options) -> Iterable[str]:
    if _address(of_role(options.upstream, Role.STABLE)) is None:
        yield f"upstream: {options.upstream!r} is neither HOST:PORT nor unix:/PATH"
    for role, text in options.upstream_of.items():
        if _address(text) is None:
            yield f"upstream_of: {role}: {text!r} is neither HOST:PORT nor unix:/PATH"
    for role, text in options.listen.items():
        if text.startswith(_UNIX) or _address(text) is None:
            yield f"listen: {role}: {text!r} is not HOST:PORT"


def _address(text: str) -> Upstream | None:
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        return Upstream(path=path) if path.startswith("/") else None
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if not colon or not host or "/" in host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return None
    return Upstream(host=host, port=int(port))


class RedisCollector(Collector):
    """Watches one relay for each target."""

    name = "redis"
    version = 1

    def __init__(self, options: Options, workplace: Workplace) -> None:
        self._options = options
        self._clock = workplace.clock
        self._local = f"{workplace.host}:0"
        self._listeners: dict[Role, asyncio.Server] = {}
        self._addresses: dict[Role, str] = {}
        self._upstreams: dict[Role, Upstream] = {}
        self._clients: dict[Client, asyncio.Task[None]] = {}
        self._operations = Operations()
        self._seen: list[Observed] = []
        self._room = Room()
        self._lapses: Counter[tuple[str, Role | None, bool]] = Counter()
        self._attached = False

    @classmethod
    def make(cls, options: Mapping[str, object], workplace: Workplace) -> Self:
        """See Collector."""
        return cls(read_section(Options, options, _WHERE, _check), workplace)

    async def open(self, roles: Collection[Role]) -> None:
        """Listen for each target. Raises SetupError where a port is taken, UsageError where two targets would share their data."""
        self._upstreams = self._told_apart(roles)
        loop = asyncio.get_running_loop()
        for role, upstream in self._upstreams.items():
            text = self._options.listen.get(role, self._local)
            where = _address(text)
            assert where is not None, "checked when the options were read"
            make = partial(Client, upstream, _RoleWatcher(self, role), self._client_opened, self._client_closed)
            try:
                server = await loop.create_server(make, where.host, where.port)
            except OSError as error:
                raise SetupError(
                    f"the relay for {role} cannot listen: {error.strerror or error}",
                    where=f"{_WHERE}.listen",
                    fix=f"free {text}, or give another",
                ) from error
            self._listeners[role] = server
            host, port = server.sockets[0].getsockname()[:2]
            self._addresses[role] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _told_apart(self, roles: Collection[Role]) -> dict[Role, Upstream]:
        found: dict[Role, Upstream] = {}
        for role in roles:
            address = _address(self._options.server(role))
            assert address is not None, "checked when the options were read"
            upstream = msgspec.structs.replace(address, database=self._options.database_of.get(role, -1))
            for other, taken in found.items():
                same = str(taken) == str(upstream)
                if same and (taken.database == upstream.database or min(taken.database, upstream.database) < 0):
                    raise UsageError(
                        f"{other} and {role} would share the data of {upstream}",
                        where=f"{_WHERE}.upstream",
                        fix=f"give each target its own server ({{role}} in upstream, or upstream_of) or database ({_WHERE}.database_of)",
                    )
            found[role] = upstream
        return found

    def names(self, role: Role) -> Mapping[str, str]:
        """`redis`: HOST:PORT of the relay; `redis_url`: the same as a URL, with the role's database."""
        address = self._addresses.get(role)
        if address is None:
            return {}
        database = self._options.database_of.get(role)
        return {"redis": address, "redis_url": f"redis://{address}" + ("" if database is None else f"/{database}")}

    async def attach(self) -> None:
        """From here on writes are told of."""
        self._seen.clear()
        self._room.clear()
        self._attached = True

    async def settle(self, trial: OpenTrial, deadline_ns: int) -> bool:
        """A build that answered has the replies to its commands, but for those it did not wait for."""
        del trial
        while any(client.tracker.waiting for client in self._clients):
            if self._clock.monotonic_ns() >= deadline_ns:
                self._lapse("replies to writes had not come when the wait for a trial's effects was over", None, blind=False)
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    async def drain(self) -> list[Observed]:
        """See Collector."""
        seen, self._seen = self._seen, []
        self._room.clear()
        return seen

    async def detach(self) -> None:
        """What builds do when they stop is not told of; they end their connections themselves."""
        self._attached = False

    async def close(self) -> None:
        """See Collector."""
        self._attached = False
        for server in self._listeners.values():
            server.close()
        tasks = list(self._clients.values())
        for client, task in list(self._clients.items()):
            task.cancel()
            client.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._listeners.values():
            await server.wait_closed()
        self._listeners.clear()

    def lapses(self) -> tuple[Lapse, ...]:
        """See Collector."""
        found = [Lapse(what, count, role, blind) for (what, role, blind), count in self._lapses.items()]
        if self._operations.overflowed:
            found.append(Lapse("operations beyond the bound on names count as one", self._operations.overflowed, None, blind=False))
        return tuple(found)

    def _client_opened(self, client: Client, task: "asyncio.Task[None]") -> None:
        self._clients[client] = task

    def _client_closed(self, client: Client) -> None:
        self._clients.pop(client, None)

    def _file(self, role: Role, done: list[Done]) -> None:
        if not self._attached:
            return
        for one in done:
            effect = self._effect(role, one)
            if self._room.takes(effect):
                self._seen.append(Observed(role=role, effect=effect))
            else:
                self._lapse("writes beyond what is held until they are asked for", role, blind=True)

    def _effect(self, role: Role, done: Done) -> Effect:
        write = done.write
        place = " ".join(part for part in (write.place, key_template(write.key) if write.key else "") if part) or "*"
        fields = write.document
        if done.database != max(0, self._upstreams[role].database):
            fields = {**fields, "database": done.database}
            if self._upstreams[role].database >= 0:
                self._lapse(
                    f"a build wrote to database {done.database}, which is not its own: targets may share data there", role, blind=False
                )
        return Effect(
            collector=self.name,
            operation=self._operations.named(write.verb, place),
            document=document(fields),
            at_ns=self._clock.monotonic_ns(),
            note=done.note,
        )

    def _lapse(self, what: str, role: Role | None, *, blind: bool, count: int = 1) -> None:
        key = (what, role, blind)
        if key in self._lapses or len(self._lapses) < limits_collectors.REDIS_LAPSES_MAX:
            self._lapses[key] += count
        else:
            self._lapses["more that could not be seen", None, True] += count


class _RoleWatcher:
    """The collector as the relay of one role knows it."""

    def __init__(self, collector: RedisCollector, role: Role) -> None:
        self._collector = collector
        self._role = role

    def done(self, done: list[Done]) -> None:
        self._collector._file(self._role, done)

    def lapse(self, what: str, blind: bool) -> None:
        self._collector._lapse(what, self._role, blind=blind)
