"""What one run carries from its start to its report: identity, folder, ledger, fold, counts."""

import platform
import secrets
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Protocol

import msgspec

from comparators.registry import load_comparators, versions
from harness.app import parts
from harness.app.expecting import as_of, load_expected
from harness.app.judging_policy import labels_for, policy_for
from harness.app.keeper import StoreKeeper
from harness.app.room import room_of_epoch
from harness.core.attributes import AttributeReader
from harness.core.errors import ShadowdiffError
from harness.core.labels import Control, Design, Role, RunMode
from harness.core.outcomes import Tally
from harness.core.redact import Redactor
from harness.core.values import Totals, Trial
from harness.core.watched import EffectsFacts
from harness.evidence.expected import NOTHING_EXPECTED, ExpectedChanges, ExpectedFacts
from harness.evidence.ledger import Ledger
from harness.evidence.policy import Policy
from harness.fold import Fold
from harness.metrics import MetricsState
from harness.pipeline import Pipeline
from harness.report.model import CaptureFacts, Provenance, RunFacts, TargetFacts
from harness.report.redacted import redact_trial
from harness.settings.load import Loaded
from harness.settings.policies import LoadedPolicy
from harness.settings.schema import Settings
from harness.settings.show import lines
from harness.store import Keep, RunRecord, RunStore
from harness.version import package_version
from replay.formats.registry import installed_formats

FACTS: Final = "facts"


class StoredFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What judging or reporting a stored run needs beside its bets and trials."""

    run: RunFacts
    policy: Policy
    """The run's own, by which it is judged again where no other is named."""
    control: Control
    design: Design
    endpoints: dict[str, int] = {}
    """Requests of the capture by endpoint; empty for a stream."""
    replayable: int | None = None
    """Requests that were to be compared in each pass; None for a stream."""
    totals: Totals = Totals()
    interrupted: bool = False
    ended: str = ""
    """Why the run ended before its time, where not by a signal."""
    has_candidate: bool = True
    live: bool = False
    unused_rules: tuple[str, ...] = ()
    effects: EffectsFacts = EffectsFacts()
    """What was watched of effects beside the trials."""
    expected: ExpectedFacts = NOTHING_EXPECTED
    """The accepted changes."""
    whole_policy: Policy | None = None
    """With all its conditions, which are applied to the labels again when the run is judged again."""
    policy_ref: str = ""
    """The ref at which the policy was read."""


class StoreMaker(Protocol):
    """Makes the run directory, as `RunStore.create` does."""

    def __call__(self, base: Path, record: RunRecord, *, redact: Callable[[Trial], Trial], bytes_max: float) -> RunStore:
        """The store, in a directory of its own in `base`."""
        ...


class After(NamedTuple):
    """Of which run a context is a later epoch, and where it is kept. Counts, keys, policy and metrics are the run's."""

    first: "Context"
    base: Path
    name: str
    make_store: StoreMaker


class Back(NamedTuple):
    """How the directory of a run is opened that goes on after the process that wrote it was killed."""

    secret: bytes
    """The key of the hashes in its bets."""
    make_store: StoreMaker


class Context:
    """The parts of a run that gate, replay and proxy have in common.

    To make one makes the run directory, so whatever may be wrong with options is found before. As a context manager it
    closes the run directory, once, and says in it whether the run came to its end.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        mode: RunMode,
        control: Control,
        design: Design,
        endpoints: dict[str, int],
        live: bool,
        identity: parts.Identity | None = None,
        after: "After | None" = None,
        back: "Back | None" = None,
    ) -> None:
        """`after` says of which run this is a later epoch, `back` how one goes on that was killed."""
        settings = loaded.settings
        self.loaded = loaded
        self.mode = mode
        self.control = control
        self.design = design
        self.clock = parts.SystemClock()
        self.identity = identity or parts.identity(self.clock, settings.replay.seed)
        self.ids = parts.CountedIds()
        self.tally: Tally = Tally() if after is None else after.first.tally
        self.redaction_key: bytes = secrets.token_bytes(32) if after is None else after.first.redaction_key
        """Of the redactor, for processes that redact for this run; it is never written down."""
        self.redactor: Redactor = parts.redactor_of(settings.redact, self.redaction_key) if after is None else after.first.redactor
        self.labels: dict[str, str] = labels_for(settings, self.redactor) if after is None else after.first.labels
        self.policy: LoadedPolicy = policy_for(settings, mode, self.labels) if after is None else after.first.policy
        self.expected: ExpectedFacts = (
            load_expected(
                settings.expected,
                loaded.file,
                started=self.identity.started,
                ref=settings.policy_ref,
                allow_self=self.policy.policy.allow_self_accepted,
            )
            if after is None
            else as_of(after.first.expected, self.identity.started)
        )
        applied = ExpectedChanges(self.expected.applied)
        self.plan = parts.plan_of(settings, applied.places())
        self.endpoints = endpoints
        self.live = live
        base, name = parts.run_folder(settings, self.identity) if after is None else (after.base, after.name)
        self._record = RunRecord(
            id=name,
            version=package_version(),
            settings=tuple((line.key, self.redactor.text(parts.writable(line.value)), line.origin) for line in lines(loaded)),
            comparators={name: str(version) for name, version in versions(load_comparators()).items()},
            formats={codec.name: str(codec.version) for codec in installed_formats()},
            keep=Keep(settings.store.keep),
        )
        make_store: StoreMaker = after.make_store if after is not None else back.make_store if back is not None else RunStore.create
        self.store = make_store(
            base,
            self._record,
            redact=lambda trial: redact_trial(self.redactor, trial),
            bytes_max=room_of_epoch(settings, first=after is None),
        )
        self.ledger = Ledger(self.policy.policy, control=control, design=design, endpoints=tuple(endpoints), live=live, accepted=applied)
        self.metrics: MetricsState = (
            MetricsState(run=name, build=parts.build_label(settings), clock=self.clock.time) if after is None else after.first.metrics
        )
        self.keeper = StoreKeeper(self.store, self.redactor)
        self.fold = Fold(self.ledger, self.keeper)
        self.secret: bytes = after.first.secret if after is not None else back.secret if back is not None else secrets.token_bytes(32)
        """Keys the hashes that stored bets keep of values. It is written down by a live run only, for as long as it is on."""

    def __enter__(self) -> "Context":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends the run. An error that leaves it is shown to people, so what it quotes of a build's command or output is redacted."""
        if isinstance(error, ShadowdiffError) and not self.tally.totals().requests:
            self.store.discard()  # nothing was sent: there is nothing to read in it, and the same --out can be given again
        else:
            self.store.close(finished=kind is None)
        if isinstance(error, ShadowdiffError):
            hide = self.redactor.text
            error.what, error.where, error.fix = hide(error.what), hide(error.where), hide(error.fix)
            error.args = (error.what,)

    @property
    def settings(self) -> Settings:
        """The run's settings."""
        return self.loaded.settings

    @property
    def run_id(self) -> str:
        """The run's name: that of its directory."""
        return self._record.id

    def pipeline(self) -> Pipeline:
        """Comparison within this process, as a replay does it."""
        return Pipeline(
            plan=self.plan,
            fold=self.fold,
            tally=self.tally,
            secret=self.secret,
            observers=(self.metrics,),
            attributes=AttributeReader(self.redactor),
            expected=ExpectedChanges(self.expected.applied),
        )

    def unused_rules(self) -> tuple[str, ...]:
        """The rules that have had no effect so far, as people know them."""
        rules = enumerate(self.settings.rules)
        return tuple(f"{rule.action} {rule.path}" for index, rule in rules if index not in self.fold.rules_used)

    @property
    def folder(self) -> Path:
        """The run directory."""
        return self.store.path

    def _shown(self, target: TargetFacts) -> TargetFacts:
        """A command line may hold secrets."""
        command = None if target.command is None else self.redactor.text(target.command)
        return TargetFacts(address=self.redactor.text(target.address), command=command)

    def facts(self, targets: dict[Role, TargetFacts], captures: Iterable[CaptureFacts] = (), *, seeded: bool = True) -> RunFacts:
        """The run as the report names it; `seconds` are up to now."""
        return RunFacts(
            id=self._record.id,
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.identity.started)),
            seconds=round(self.clock.time() - self.identity.started, 3),
            mode=self.mode,
            targets={role: self._shown(target) for role, target in targets.items()},
            build=parts.build_label(self.settings),
            seed=self.identity.seed if seeded else None,
            version=self._record.version,
            provenance=Provenance(
                command_line=self.redactor.text(parts.writable(" ".join(["shadowdiff", *sys.argv[1:]]))),
                captures=tuple(captures),
                comparators=self._record.comparators,
                formats=self._record.formats,
                python=platform.python_version(),
                platform=platform.system(),
                labels=self.labels,
            ),
        )
