"""The collector of outbound HTTP calls: builds call through a proxy that records, passes on, or answers from a tape."""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from harness.core.errors import UsageError
from harness.core.home import expanded
from harness.core.labels import Role
from harness.effects.api import Collector, Lapse, Observed, OpenTrial, Workplace
from harness.effects.egress.calls import TapedCall
from harness.effects.egress.documents import COLLECTOR
from harness.effects.egress.options import Mode, Options, listen_address, read_options

if TYPE_CHECKING:
    from harness.effects.egress.desk import CallDesk
    from harness.effects.egress.library import Library
    from harness.effects.egress.proxy import EgressProxy
    from harness.effects.egress.tapefile import TapeWriter
    from harness.effects.egress.trial_tapes import TrialTapes

_REPLACING: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name all authorities that a client trusts."""
_ADDING: Final = "NODE_EXTRA_CA_CERTS"
LIVE_WAITING_NS: Final = 10_000_000
"""In live traffic the effect of a call that waits for stable's is told after this time, though its answer is not known yet."""
LIVE_DELAY_SECONDS: Final = 0.025
"""In live traffic calls that a build makes within this time after its answer are still its trial's."""
_NOT_LIVE: Final = frozenset({Mode.RECORD, Mode.TAPE})
"""Modes that go by what request a call belongs to, which in live traffic nobody says."""
_PROXY: Final = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_NOT_PROXY: Final = ("NO_PROXY", "no_proxy")
"""Emptied: what the harness's own environment excepts would be real calls of the candidate, unseen."""


class EgressCollector(Collector):
    """Outbound HTTP calls (`effects.http`)."""

    name = COLLECTOR
    version = 1

    def __init__(self, options: Options, workplace: Workplace) -> None:
        self._options = options
        self._workplace = workplace
        self.favours_stable = options.mode is Mode.VIRTUALISE
        self._ca = Path()
        self._bundle = Path()
        self._proxy: EgressProxy | None = None
        self._desk: CallDesk | None = None
        self._trials: TrialTapes | None = None
        self._library: Library | None = None
        self._writer: TapeWriter | None = None
        if workplace.live:
            self.delay_s = LIVE_DELAY_SECONDS

    @classmethod
    def make(cls, options: Mapping[str, object], workplace: Workplace) -> Self:
        """See Collector."""
        chosen = read_options(options)
        if workplace.live:
            _check_live(chosen)
        return cls(chosen, workplace)

    @property
    def mode(self) -> str:
        """See Collector."""
        return str(self._options.mode)

    async def open(self, roles: Collection[Role]) -> None:
        """See Collector. Imports mitmproxy, which takes a second."""
        from harness.effects.egress.desk import CallDesk  # noqa: PLC0415  (imports mitmproxy)
        from harness.effects.egress.library import Library  # noqa: PLC0415  (as above)
        from harness.effects.egress.live_tapes import LiveTapes  # noqa: PLC0415  (as above)
        from harness.effects.egress.proxy import EgressProxy  # noqa: PLC0415  (as above)
        from harness.effects.egress.tapefile import TapeWriter, read_tape  # noqa: PLC0415  (as above)
        from harness.effects.egress.trial_tapes import TrialTapes  # noqa: PLC0415  (as above)
        from harness.effects.egress.trust import CA_FILE, write_bundles  # noqa: PLC0415  (as above)

        options, workplace = self._options, self._workplace
        if options.mode is Mode.TAPE:
            self._library = Library(read_tape(Path(options.tape)))
        if workplace.live:
            self._trials = LiveTapes(kept=options.mode is Mode.VIRTUALISE, now_s=asyncio.get_running_loop().time)
        else:
            self._trials = TrialTapes(self._library.tape_for) if self._library is not None else TrialTapes()
        self._desk = CallDesk(
            options,
            self._trials,
            clock=workplace.clock,
            seed=workplace.rng.randrange(2**63),
            library=self._library,
            write=self._record,
        )
        folder = self._authority_folder()
        self._proxy = EgressProxy(self._desk, folder=folder, verify_upstream=options.verify_upstream)
        upstream, self._bundle = write_bundles(folder, options.upstream_ca)
        self._proxy.trust(upstream)
        self._ca = folder / CA_FILE
        for role in roles:
            await self._proxy.listen(role, *listen_address(options, role, workplace.host))
        if options.mode is Mode.RECORD:  # last, since a tape that is begun replaces an earlier one when it is closed
            self._writer = TapeWriter.open(Path(options.tape), workplace.redactor)

    def names(self, role: Role) -> Mapping[str, str]:
        """See Collector: `egress` is the proxy's URL, `ca` the certificate that a build must trust."""
        return {"egress": self._url(role), "ca": str(self._ca)}

    def env(self, role: Role) -> Mapping[str, str]:
        """See Collector: the proxy, and authorities among which its own is."""
        url = self._url(role)
        return {
            **dict.fromkeys(_PROXY, url),
            **dict.fromkeys(_NOT_PROXY, ""),
            **dict.fromkeys(_REPLACING, str(self._bundle)),
            _ADDING: str(self._ca),
        }

    async def prepare(self, role: Role) -> None:
        """See Collector."""
        if role is not Role.STABLE:
            return
        if self._trials is not None:
            self._trials.start()
        if self._library is not None:
            self._library.renew()

    def spare(self, addresses: Collection[tuple[str, int]]) -> None:
        if self._desk is not None:
            self._desk.spare(addresses)

    async def attach(self) -> None:
        """See Collector."""
        if self._trials is not None:
            self._trials.starting = False
        if self._desk is not None:
            self._desk.forget()

    def begin(self, trial: OpenTrial) -> None:
        """See Collector."""
        if self._trials is not None:
            self._trials.begin(trial)
        if self._writer is not None:
            self._writer.begin(trial.request, trial.trace)

    def answered(self, trial: OpenTrial, role: Role) -> None:
        """See Collector."""
        if self._trials is not None and (found := self._trials.open.get(trial.trace)) is not None:
            found.answered(role)

    async def settle(self, trial: OpenTrial, deadline_ns: int) -> bool:
        """See Collector: until no call of the trial is under way."""
        if self._trials is None or self._desk is None:
            return True
        left_s = max(0, deadline_ns - self._workplace.clock.monotonic_ns()) / 1e9
        settled = await self._trials.settle(trial, asyncio.get_running_loop().time() + left_s)
        if not settled:
            self._desk.release(trial.trace)
        return settled

    async def drain(self) -> list[Observed]:
        """See Collector."""
        if self._desk is None:
            return []
        return self._desk.drain(self._workplace.clock.monotonic_ns() - LIVE_WAITING_NS if self._workplace.live else 0)

    def end(self, trial: OpenTrial) -> None:
        """See Collector."""
        if self._trials is not None:
            self._trials.end(trial)
        if self._desk is not None:
            self._desk.ended(trial.trace)
        if self._writer is not None:
            self._writer.end(trial.trace)

    async def close(self) -> None:
        """See Collector. Raises SetupError where a tape could not be written to its end."""
        if self._trials is not None:
            self._trials.close()
        if self._proxy is not None:
            await self._proxy.close()
        if self._writer is not None:
            self._writer.close()

    def lapses(self) -> tuple[Lapse, ...]:
        """See Collector."""
        found = () if self._desk is None else self._desk.lapses()
        if self._writer is None:
            return found
        withheld = "an answer was taped without its body, which cannot be redacted: on replay it is a 502"
        counts = ((self._writer.left_out, "a call did not fit onto the tape"), (self._writer.withheld, withheld))
        return (*found, *(Lapse(what, count, Role.STABLE, blind=False) for count, what in counts if count))

    def _record(self, taped: TapedCall) -> None:
        if self._writer is not None:
            self._writer.write(taped)

    def _authority_folder(self) -> Path:
        return expanded(self._options.ca) if self._options.ca else self._workplace.folder / "ca"

    def _url(self, role: Role) -> str:
        host, _ = listen_address(self._options, role, self._workplace.host)
        reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        port = self._proxy.port(role) if self._proxy is not None else 0
        return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def _check_live(options: Options) -> None:
    """Raises UsageError for what only a replay can do."""
    if options.mode in _NOT_LIVE:
        raise UsageError(
            f"live traffic knows no mode {options.mode}: nobody says which request a call belongs to",
            where="effects.http.mode",
            fix="use observe or virtualise; tapes are recorded and used in replays",
        )
    if options.faults:
        raise UsageError(
            "faults would meet stable's calls too, which live clients wait for",
            where="effects.http.faults",
            fix="use them in a replay",
        )
