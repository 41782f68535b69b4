"""The entry point: turns whatever a command ends with into one exit code and one clear message."""

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

import click

from harness.cli.commands import cli
from harness.cli.session import Session
from harness.cli.terminal import Terminal
from harness.core.errors import ShadowdiffError

EXIT_USAGE: Final = 2
EXIT_INTERNAL: Final = 5
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
INTERNAL: Final = "internal error:"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; never raises, whatever a command does."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character of the traffic gets its number instead of an error.
            stream.reconfigure(errors="backslashreplace")
    session = Session(Terminal(sys.stdout, sys.stderr, environ=os.environ))
    try:
        code = run(arguments, session)
    finally:
        session.terminal.end_progress()
    _leave_quietly()
    return code


def run(arguments: Sequence[str] | None, session: Session) -> int:
    """The exit code of one call, its errors said on the session's terminal."""
    terminal = session.terminal
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # Not click's own `main`: it would turn a broken pipe, or an end of file inside a command, into exit code 1, a verdict.
        with cli.make_context("shadowdiff", words, obj=session) as context:
            code: object = cli.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "shadowdiff"
        terminal.error(error.format_message(), f"`{path} --help` shows what it takes")
        return EXIT_USAGE
    except click.ClickException as error:
        terminal.error(error.format_message())
        return EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        terminal.error("interrupted")
        return EXIT_INTERRUPTED
    except BaseExceptionGroup as group:  # of task groups; told as one failure
        return _failed_together(group, session)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the last resort: nobody sees a traceback, no plug-in chooses the exit code
        return _failed(error, session)
    return code if isinstance(code, int) else 0


def _failed_together(group: BaseExceptionGroup[BaseException], session: Session) -> int:
    """Several tasks failed: each known error is said, and the gravest code counts; one unknown error makes it internal."""
    known, unknown = group.split(ShadowdiffError)
    if unknown is not None:
        if unknown.subgroup(KeyboardInterrupt) is not None:
            session.terminal.error("interrupted")
            return EXIT_INTERRUPTED
        return _failed(group, session)
    assert known is not None
    return max(_failed(error, session) for error in _leaves(known))


def _leaves(group: BaseExceptionGroup[ShadowdiffError]) -> list[ShadowdiffError]:
    found: list[ShadowdiffError] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _failed(error: BaseException, session: Session) -> int:
    terminal = session.terminal
    if isinstance(error, ShadowdiffError):
        terminal.error(f"{error.where}: {error.what}" if error.where else error.what, error.fix)
        return error.exit_code
    from harness.cli.crash import report_of, write_report  # noqa: PLC0415 - not needed while all is well

    if session.debug:
        terminal.raw_error(report_of(error))
        terminal.error(_summary(error), mark=INTERNAL)
        return EXIT_INTERNAL
    path = write_report(error, terminal.folder)
    where = f"the details are in {path}" if path is not None else "run it again with --debug for the details"
    terminal.error(_summary(error), where, mark=INTERNAL)
    return EXIT_INTERNAL


def _summary(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0]}" if lines else "")


def _leave_quietly() -> None:
    """Flushes standard output here, so that a reader who left early gives no complaint at the interpreter's end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
