"""The commands: what they take, what they need, and the one function of harness.app that each of them calls.

Everything heavy is imported inside the bodies, so that --help is there at once.
"""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from harness.cli import options
from harness.cli.session import Session

if TYPE_CHECKING:
    from harness.settings.load import Loaded

REPORT_FORMATS: Final = ("html", "json", "junit", "markdown")

_NEEDED_FOR_REPLAY: Final = ("targets.stable", "targets.candidate")
_NEEDED_FOR_PROXY: Final = ("proxy.listen", "targets.stable")
_CAPTURES: Final = click.argument("captures", metavar="CAPTURE...", nargs=-1, required=True, type=click.Path(path_type=Path))
_RUN: Final = click.argument("run", metavar="RUN", type=click.Path(exists=True, file_okay=False, path_type=Path))

pass_session = click.make_pass_decorator(Session, ensure=True)


def _print_help(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.ensure_object(Session).terminal.result(context.get_help())
        context.exit()


class HelpfulCommand(click.Command):
    """A command whose help goes through the terminal, as everything does."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """See click."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _print_help
        return option


class HelpfulGroup(HelpfulCommand, click.Group):
    """A group of such commands."""

    command_class = HelpfulCommand
    group_class = type


def _print_version(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from harness.version import package_version  # noqa: PLC0415 - not needed for --help

        context.ensure_object(Session).terminal.result(f"shadowdiff {package_version()}")
        context.exit()


@click.group(cls=HelpfulGroup, name="shadowdiff", invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version and exit.")
@click.pass_context
def cli(context: click.Context) -> None:
    """Run real traffic through the stable and the candidate build, and say what differs.

    Exit codes: 0 pass, 1 fail, 2 usage or configuration, 3 inconclusive, 4 environment (a target never became ready, a
    capture cannot be read), 5 internal error, 130 and 143 interrupted.
    """
    if context.invoked_subcommand is None:
        raise click.UsageError("Missing command.", context)


@cli.command(short_help="Run the bundled builds and find what was planted in them.")
@click.option("--seed", type=click.IntRange(min=0), default=1, metavar="N", help="Seed of traffic and faults; 1 without it.")
@click.option("--candidate-is-stable", is_flag=True, help="Plant nothing: the candidate is the stable build, and must not fail.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of its two runs, instead of a new one in ./shadowdiff-runs."
)
@options.QUIET_AND_DEBUG
@pass_session
def demo(session: Session, seed: int, candidate_is_stable: bool, out: Path | None) -> int:
    """Run the bundled builds and find what was planted in them.

    Starts a small order service as stable, secondary and candidate, sends seeded traffic through the live proxy, replays
    what was recorded, prints the verdict and writes the report. The exit code is 0 when all planted faults were found
    (or, with --candidate-is-stable, when nothing was), else 5. Reads no configuration.
    """
    from harness.app.demo import run_demo  # noqa: PLC0415
    from harness.cli import loop  # noqa: PLC0415
    from harness.settings.schema import DemoOptions  # noqa: PLC0415

    chosen = DemoOptions(seed=seed, candidate_is_stable=candidate_is_stable, out=out)
    return loop.run(run_demo(chosen, session.terminal))


@cli.command(short_help="Replay captures against both builds and give a verdict.")
@_CAPTURES
@options.REPLAY
@options.STOP_EARLY
@options.CONFIG
@options.QUIET_AND_DEBUG
@click.pass_context
def gate(context: click.Context, captures: tuple[Path, ...]) -> int:
    """Replay captures against both builds and give a verdict.

    T is a URL, or cmd:COMMAND with {port} filled in; a stable given as a command gets a second instance as secondary by
    itself. Only GET, HEAD and OPTIONS are sent, unless --allow-writes says that each target has a store of its own. The exit
    code is the verdict: 0 pass, 1 fail, 3 inconclusive.
    """
    return _replay(context, captures, verdict=True)


@cli.command(short_help="Replay captures as gate does, without a verdict.")
@_CAPTURES
@options.REPLAY
@options.CONFIG
@options.QUIET_AND_DEBUG
@click.pass_context
def replay(context: click.Context, captures: tuple[Path, ...]) -> int:
    """Replay captures as gate does, and write the report without a verdict.

    T is a URL, or cmd:COMMAND with {port} filled in. Only GET, HEAD and OPTIONS are sent, unless --allow-writes says that each
    target has a store of its own. The exit code is 0 once the captures were replayed.
    """
    return _replay(context, captures, verdict=False)


def _replay(context: click.Context, captures: tuple[Path, ...], *, verdict: bool) -> int:
    loaded = options.load_with(context, _NEEDED_FOR_REPLAY)
    from harness.app.gate import run_gate  # noqa: PLC0415
    from harness.cli import loop  # noqa: PLC0415

    return loop.run(run_gate(loaded, captures, context.ensure_object(Session).terminal, verdict=verdict))


@cli.command(short_help="Serve clients from stable and mirror to the others.")
@options.PROXY
@options.CONFIG
@options.QUIET_AND_DEBUG
@click.pass_context
def proxy(context: click.Context) -> int:
    """Serve clients from stable and mirror their requests to secondary and candidate.

    A client gets stable's answer and never waits for the others. Only GET, HEAD and OPTIONS are mirrored, unless
    --allow-writes says that each target has a store of its own. The exit code is 0 on a clean stop, and with --gate the
    verdict: 0 pass, 1 fail, 3 inconclusive. SIGUSR1 switches mirroring off; SIGHUP reads configuration and certificates again.
    """
    # Service managers may send these before it serves, when their usual effect would end it.
    for early in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(early, signal.SIG_IGN)
    loaded = options.load_with(context, _NEEDED_FOR_PROXY)
    from harness.app.memory import collect_rarely  # noqa: PLC0415
    from harness.app.proxy import run_proxy  # noqa: PLC0415
    from harness.cli import loop  # noqa: PLC0415

    def read_again() -> "Loaded":
        return options.load_with(context, _NEEDED_FOR_PROXY)

    collect_rarely()
    return loop.run(run_proxy(loaded, context.ensure_object(Session).terminal, read_again))


@cli.command(short_help="Judge a stored run again.")
@_RUN
@options.POLICY
@options.POLICY_SOURCE
@click.option("--audit", is_flag=True, help="Append this verdict to the audit file too.")
@options.CONFIG
@options.QUIET_AND_DEBUG
@click.pass_context
def judge(context: click.Context, run: Path, audit: bool) -> int:
    """Judge a stored run again, with another policy if one is given.

    RUN is the run's folder. The exit code is the verdict: 0 pass, 1 fail, 3 inconclusive.
    """
    settings = options.load(context).settings
    from harness.app.stored import judge_run  # noqa: PLC0415
    from harness.settings.policies import PolicySource  # noqa: PLC0415

    source = PolicySource(settings.policy_ref, settings.require_policy_digest)
    return judge_run(run, settings.policy, context.ensure_object(Session).terminal, settings.audit if audit else None, source)


@cli.command(short_help="Accept differences of a stored run, as they were seen.")
@_RUN
@click.argument("findings", metavar="[FINDING...]", nargs=-1)
@click.option("--reason", required=True, metavar="TEXT", help="Why they are wanted.")
@click.option("--expires", required=True, metavar="DATE", help="The last day on which they are accepted, such as 2031-12-31.")
@click.option("--by", default=None, metavar="NAME", help="Who accepts them; Git's user.name or the login without it.")
@click.option("--file", default=None, metavar="F", help="File of accepted changes, instead of shadowdiff-expected.yaml.")
@click.option("--root", "roots", multiple=True, metavar="FINDING", help="A finding and all that follow from it; repeatable.")
@click.option("--endpoint", "endpoints", multiple=True, metavar="PATTERN", help="All findings of these endpoints; repeatable.")
@click.option("--interactive", is_flag=True, help="Ask about each finding: those named, or all.")
@click.option("--must-change", is_flag=True, help="Fail where the change does not happen.")
@options.CONFIG
@options.QUIET_AND_DEBUG
@click.pass_context
def accept(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    run: Path,
    findings: tuple[str, ...],
    reason: str,
    expires: str,
    by: str | None,
    file: str | None,
    roots: tuple[str, ...],
    endpoints: tuple[str, ...],
    interactive: bool,
    must_change: bool,
) -> int:
    """Accept differences of a stored run, each as it was seen: a difference outside of that fails again.

    RUN is the run's folder, FINDING an id of its report or the beginning of one. The entries go to a file that belongs into the
    repository of the service; see docs/expected.md.
    """
    loaded = options.load(context)
    import datetime  # noqa: PLC0415

    from harness.app import accept as accepting  # noqa: PLC0415

    what = accepting.Accepting(
        run=run,
        findings=findings,
        roots=roots,
        endpoints=endpoints,
        reason=reason,
        expires=expires,
        by=by,
        file=file if file is not None else loaded.settings.expected,
        config=loaded.file,
        must_change=must_change,
    )
    today = datetime.datetime.now(datetime.UTC).date()
    ask = (lambda question: click.confirm(question, err=True)) if interactive else None
    return accepting.accept(what, context.ensure_object(Session).terminal, today=today, ask=ask)


@cli.command(short_help="Print the report of a stored run.")
@_RUN
@click.option(
    "--format",
    "form",
    type=click.Choice(REPORT_FORMATS),
    default="markdown",
    metavar="WORD",
    help="html, json, junit or markdown (the default).",
)
@options.QUIET_AND_DEBUG
@pass_session
def report(session: Session, run: Path, form: str) -> int:
    """Print the report of a stored run.

    RUN is the run's folder. The report goes to standard output.
    """
    from harness.app.stored import render_report  # noqa: PLC0415

    return render_report(run, form, session.terminal)


@cli.group(no_args_is_help=False)
def capture() -> None:
    """Look at capture files."""


@capture.command(short_help="Say what captures hold.")
@_CAPTURES
@options.QUIET_AND_DEBUG
@pass_session
def info(session: Session, captures: tuple[Path, ...]) -> int:
    """Say what captures hold: requests, hosts, methods, recorded answers, sessions, time, broken entries."""
    from harness.app.captures import capture_info  # noqa: PLC0415

    return capture_info(captures, session.terminal)


@cli.group(no_args_is_help=False)
def audit() -> None:
    """Look at the file of verdicts."""


@audit.command(short_help="Check that no verdict was changed or taken out.")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@click.option("--last", default="", metavar="HASH", help="A hash that was noted before: its line, and all before it, must be there.")
@options.CONFIG
@options.QUIET_AND_DEBUG
@click.pass_context
def verify(context: click.Context, file: Path | None, last: str) -> int:
    """Check that no verdict in the audit file was changed, taken out or put elsewhere.

    FILE is the one of the configuration where none is named. Lines that were cut off at the end are found with --last only.
    The exit code is 0 where the chain is whole, else 1.
    """
    settings = options.load(context).settings
    from harness.app.audit import verify_audit  # noqa: PLC0415

    return verify_audit(settings, file, last, context.ensure_object(Session).terminal)


@cli.group(no_args_is_help=False)
def config() -> None:
    """Check and show the configuration."""


@config.command(short_help="Check file, environment and policy; list all problems.")
@options.CONFIG
@options.QUIET_AND_DEBUG
@click.pass_context
def check(context: click.Context) -> int:
    """Check the configuration file, the environment and the policy, and list all problems at once."""
    loaded = options.load(context)
    from harness import resources  # noqa: PLC0415
    from harness.core.labels import RunMode  # noqa: PLC0415
    from harness.settings.policies import check_digest, load_policy, policy_name  # noqa: PLC0415

    settings, folder = loaded.settings, resources.config_path("policies/default.yaml").parent
    policy = load_policy(policy_name(settings.policy, RunMode.GATE), folder=folder, ref=settings.policy_ref)
    if settings.require_policy_digest is not None:
        check_digest(policy, settings.require_policy_digest)
    where = loaded.file if loaded.file is not None else "no configuration file, so the defaults"
    context.ensure_object(Session).terminal.info(f"{where}: no problems")
    return 0


@config.command(short_help="Print every key, its value and where it came from.")
@click.option("--policy", default=None, metavar="F", help="Print this policy instead, by name or file, with all that it extends.")
@options.CONFIG
@options.QUIET_AND_DEBUG
@click.pass_context
def show(context: click.Context, policy: str | None) -> int:
    """Print every key, its effective value and where it came from. Values that may be secret are not shown."""
    loaded = options.load(context)
    from harness.settings import show as shown  # noqa: PLC0415

    if policy is not None:
        from harness import resources  # noqa: PLC0415
        from harness.settings.policies import load_policy  # noqa: PLC0415

        found = load_policy(policy, folder=resources.config_path("policies/default.yaml").parent, ref=loaded.settings.policy_ref)
        context.ensure_object(Session).terminal.result(shown.text(shown.policy_lines(found)))
        return 0

    context.ensure_object(Session).terminal.result(shown.text(shown.lines(loaded)))
    return 0


@config.command(short_help="Print the JSON Schema of the configuration file.")
@click.option("--policy", is_flag=True, help="Print that of a policy instead.")
@options.QUIET_AND_DEBUG
@pass_session
def schema(session: Session, policy: bool) -> int:
    """Print the JSON Schema of the configuration file, or of a policy, e.g. for an editor."""
    from harness.settings.json_schema import config_schema_text  # noqa: PLC0415
    from harness.settings.policy_schema import policy_schema_text  # noqa: PLC0415

    session.terminal.result(policy_schema_text() if policy else config_schema_text())
    return 0
