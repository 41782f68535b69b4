"""The options of the commands: each stands for a key of the configuration, which checks its text. Knows no command."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from harness.cli.session import Session

if TYPE_CHECKING:
    from harness.settings.load import Loaded

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class SettingOption(click.Option):
    """An option that sets a key. Its text is checked with the rest of the configuration, so that all errors come at once."""

    def __init__(self, *args: Any, key: str, **attributes: Any) -> None:
        self.key = key
        super().__init__(*args, expose_value=False, callback=_collect, **attributes)


def setting(*names: str, key: str, metavar: str, text: str) -> Decorator:
    """An option with a value."""
    return click.option(*names, cls=SettingOption, key=key, metavar=metavar, help=text)


def switch(*names: str, key: str, text: str) -> Decorator:
    """An option that says yes."""
    return click.option(*names, cls=SettingOption, key=key, is_flag=True, default=None, help=text)


def _collect(context: click.Context, option: click.Parameter, value: Any) -> None:
    assert isinstance(option, SettingOption)
    if value is None or value == ():
        return
    from harness.settings.load import Option  # noqa: PLC0415 - not needed for --help

    given: list[Option] = context.meta.setdefault(_GIVEN, [])
    given.append(Option(option.opts[0], option.key, value))


def _quiet(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).terminal.quiet = True


def _debug(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).debug = True


_GIVEN: Final = "shadowdiff.given"
_CONFIG: Final = "shadowdiff.config"


def _config(context: click.Context, _option: click.Parameter, value: Path | None) -> None:
    context.meta[_CONFIG] = value


def together(*decorators: Decorator) -> Decorator:
    """Several options as one decorator, in this order in the help."""

    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


QUIET_AND_DEBUG: Final = together(
    click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_quiet, help="Only warnings, errors and results."),
    click.option("--debug", is_flag=True, expose_value=False, callback=_debug, help="Show the traceback of an internal error."),
)
CONFIG: Final = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    expose_value=False,
    callback=_config,
    help="Configuration file, instead of ./shadowdiff.yaml.",
)

STABLE: Final = setting("--stable", key="targets.stable", metavar="T", text="The build whose answers count: a URL, or cmd:COMMAND.")
SECONDARY: Final = setting("--secondary", key="targets.secondary", metavar="T", text="A second instance of stable, which shows the noise.")
CANDIDATE: Final = setting("--candidate", key="targets.candidate", metavar="T", text="The build under test: a URL, or cmd:COMMAND.")
POLICY: Final = setting(
    "--policy", key="policy", metavar="F", text="What fails, and at which error rates: default, rollout, strict, or a file."
)
POLICY_SOURCE: Final = together(
    setting("--policy-ref", key="policy_ref", metavar="REF", text="Read the policy as it is at this branch, tag or commit."),
    setting("--require-policy-digest", key="require_policy_digest", metavar="HEX", text="Refuse (exit code 2) a policy of another digest."),
)
LABELS: Final = together(
    click.option(
        "--label",
        cls=SettingOption,
        key="labels",
        metavar="KEY=VALUE",
        multiple=True,
        help="Label of the candidate, such as author-kind=ai; repeatable.",
    ),
    click.option(
        "--labels-from-git",
        cls=SettingOption,
        key="labels_from_git",
        metavar="[REF]",
        is_flag=False,
        flag_value="HEAD",
        default=None,
        help="Take the hash and the trailers of this commit, HEAD without REF, as labels.",
    ),
)
EXPECTED: Final = setting(
    "--expected", key="expected", metavar="F", text="File of accepted changes, instead of ./shadowdiff-expected.yaml."
)
OUT: Final = setting("--out", key="store.run_dir", metavar="DIR", text="The run's own folder, instead of a new one in ./shadowdiff-runs.")
SEED: Final = setting("--seed", key="replay.seed", metavar="N", text="Seed of every random choice.")

REPLAY: Final = together(
    STABLE,
    CANDIDATE,
    SECONDARY,
    POLICY,
    POLICY_SOURCE,
    LABELS,
    EXPECTED,
    OUT,
    switch("--allow-writes", key="replay.allow_writes", text="Send unsafe methods too: each target has a store of its own."),
    setting("--concurrency", key="replay.concurrency", metavar="N", text="Sessions replayed at once."),
    setting("--speed", key="replay.speed", metavar="X|max", text="1 as recorded, 2 twice as fast, max without waiting."),
    setting("--passes", key="replay.passes", metavar="N|auto", text="How often the capture is sent; auto: until all is decided."),
    setting("--state", key="replay.state", metavar="WORD", text="What targets remember between passes: auto, fresh, stateless or shared."),
    click.option(
        "--host",
        cls=SettingOption,
        key="replay.hosts",
        metavar="HOST",
        multiple=True,
        help="Host of the capture that is mapped to the targets; repeatable. Without it, the commonest.",
    ),
    click.option(
        "--session",
        cls=SettingOption,
        key="replay.sessions",
        metavar="KEY",
        multiple=True,
        help="Send this session of the capture only, by the key a report names; repeatable.",
    ),
    setting("--effects", key="effects.collect", metavar="NAMES", text="What is watched beside answers: http,postgres,sqlite,redis,otlp."),
    setting("--vary", key="replay.vary", metavar="N", text="Send N variations of one request of each endpoint as well."),
    switch("--skip-broken", key="replay.skip_broken", text="Count the broken entries of a capture and use the others."),
    SEED,
)

STOP_EARLY: Final = switch("--stop-early", key="replay.stop_early", text="Send no more once a failure is proven.")

PROXY: Final = together(
    setting("--listen", key="proxy.listen", metavar="HOST:PORT", text="Where clients are served."),
    setting("--stable", key="targets.stable", metavar="URL", text="The build whose answers the clients get."),
    setting("--candidate", key="targets.candidate", metavar="URL", text="The build under test."),
    setting("--secondary", key="targets.secondary", metavar="URL", text="A second instance of stable, which shows the noise."),
    setting("--record", key="proxy.record", metavar="F", text="Write the traffic to a capture file."),
    setting("--for", key="proxy.duration_s", metavar="TIME", text="How long to run, e.g. 90s or 10m; else until stopped."),
    switch("--gate", key="proxy.gate", text="Let the verdict decide the exit code."),
    switch("--resume", key="proxy.resume", text="Go on with the run in --out, where there is one that was killed."),
    setting(
        "--admin", key="proxy.admin", metavar="HOST:PORT", text="Where metrics, verdict and health are served; 127.0.0.1:9464 without it."
    ),
    switch("--allow-writes", key="proxy.allow_writes", text="Mirror unsafe methods too: each target has a store of its own."),
    setting("--workers", key="proxy.workers", metavar="N", text="Processes that serve clients."),
    setting("--compare-workers", key="proxy.compare_workers", metavar="N", text="Processes that compare."),
    setting("--ingress", key="proxy.ingress", metavar="WORD", text="What comes in: native, copies or mitmproxy."),
    setting(
        "--mitm-mode", key="proxy.mitm_mode", metavar="WORD", text="How clients come to mitmproxy: reverse, regular, socks5, transparent."
    ),
    setting("--mitm-dir", key="proxy.mitm_dir", metavar="DIR", text="Folder of mitmproxy's certificate authority."),
    switch("--mitm-http3", key="proxy.mitm_http3", text="Serve HTTP/3 through mitmproxy too."),
    setting("--clients-max", key="proxy.clients_max", metavar="N", text="Client connections of each worker at once."),
    setting("--tls-cert", key="proxy.tls_cert", metavar="F", text="Certificate shown to clients: serve over TLS."),
    setting("--tls-key", key="proxy.tls_key", metavar="F", text="Key of --tls-cert, where it is in a file of its own."),
    switch("--via", key="proxy.via", text="Add a Via header to requests."),
    switch("--forwarded-for", key="proxy.forwarded_for", text="Add X-Forwarded-For, -Host and -Proto to requests."),
    setting("--sample", key="proxy.sample", metavar="PERCENT", text="How many of the requests are mirrored; all without it."),
    setting(
        "--sample-key", key="proxy.sample_key", metavar="KEY", text="What stays together in the sample: header:NAME, cookie:NAME or path:N."
    ),
    click.option(
        "--exclude",
        cls=SettingOption,
        key="proxy.exclude",
        metavar="PATH",
        multiple=True,
        help="Path template that is never mirrored, such as /admin/**; repeatable.",
    ),
    setting(
        "--default-exclusions",
        key="proxy.default_exclusions",
        metavar="on|off",
        text="Whether log-out and one-time links are not mirrored.",
    ),
    setting("--shadow-rps-max", key="proxy.shadow_rps_max", metavar="N", text="Requests a second to a shadow target."),
    setting(
        "--shadow-in-flight-max",
        key="proxy.shadow_in_flight_max",
        metavar="N",
        text="Requests of each worker under way to a shadow target.",
    ),
    setting("--build", key="build", metavar="LABEL", text="What the build under test is called by those who ask for its verdict."),
    setting("--build-header", key="epochs.build_header", metavar="NAME", text="Header of the candidate's answers that names its build."),
    setting("--version-path", key="epochs.version_path", metavar="PATH", text="Path of the candidate that answers which build it is."),
    setting("--epoch", key="epochs.period_s", metavar="TIME", text="Close the verdict and begin anew so often, e.g. 24h."),
    setting("--breaker-errors", key="proxy.breaker_errors", metavar="SHARE", text="Failed share at which a shadow target is left alone."),
    setting("--breaker-latency-ms", key="proxy.breaker_latency_ms", metavar="MS", text="Median above which a shadow target is left alone."),
    setting("--breaker-open", key="proxy.breaker_open_s", metavar="TIME", text="How long it is left alone before it is tried again."),
    POLICY,
    POLICY_SOURCE,
    LABELS,
    EXPECTED,
    OUT,
)


def load(context: click.Context) -> "Loaded":
    """The settings of this command: file, environment, options."""
    from harness.settings.load import load_settings  # noqa: PLC0415 - not needed for --help

    return load_settings(file=context.meta.get(_CONFIG), options=context.meta.get(_GIVEN, ()))


def load_with(context: click.Context, needed: Iterable[str]) -> "Loaded":
    """The settings, with the keys that the command cannot do without. Raises ConfigError naming what is missing."""
    from harness.settings.need import check_needed  # noqa: PLC0415 - not needed for --help

    loaded = load(context)
    options = {option.key: option.opts[0] for option in context.command.params if isinstance(option, SettingOption)}
    check_needed(loaded.settings, needed, command=context.command.name or "", options=options)
    return loaded
