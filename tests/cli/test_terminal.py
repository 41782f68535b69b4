"""The terminal: what goes where, plain where there is no terminal, quiet when told."""

import io
import os

import pytest
from rich.table import Table

from harness.cli.terminal import PLAIN_PROGRESS_S, PLAIN_WIDTH, Terminal
from harness.core.errors import SetupError


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    """A stream nobody reads."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str, /) -> int:
        raise self.error


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def terminal(
    out: io.StringIO | None = None, err: io.StringIO | None = None, **variables: str
) -> tuple[Terminal, io.StringIO, io.StringIO, Clock]:
    out, err, clock = out or io.StringIO(), err or io.StringIO(), Clock()
    return Terminal(out, err, environ={"TERM": "xterm-256color", **variables}, monotonic=clock), out, err, clock


def test_results_to_one_stream_and_words_to_the_other() -> None:
    ui, out, err, _ = terminal()
    ui.info("working")
    ui.warn("careful")
    ui.hint("try this")
    ui.result("data\n")
    ui.result("")
    ui.error("failed", "mend it")
    ui.error("bug", mark="internal error:")
    assert out.getvalue() == "data\n\n"
    assert err.getvalue() == "working\nwarning: careful\nhint: try this\nerror: failed\nhint: mend it\ninternal error: bug\n"


def test_quiet_leaves_warnings_errors_and_results() -> None:
    ui, out, err, _ = terminal()
    ui.quiet = True
    ui.info("working")
    ui.hint("try this")
    ui.progress("replay", 1, 2)
    ui.warn("careful")
    ui.error("failed", "mend it")
    ui.result("data")
    assert (out.getvalue(), err.getvalue()) == ("data\n", "warning: careful\nerror: failed\nhint: mend it\n")


def test_text_of_the_traffic_can_neither_steer_the_terminal_nor_be_taken_for_markup() -> None:
    ui, out, err, _ = terminal(Screen(), Screen())
    for say in (ui.info, ui.warn, ui.result):
        say("[bold]GET[/] \x1b[2J\u202e:smile: \r\n\tend")
    assert "\x1b[2J" not in out.getvalue() + err.getvalue()
    assert "[bold]GET[/] \\x1b[2J\\u202e:smile: \\x0d\n" in out.getvalue()
    assert "[bold]GET[/] \\x1b[2J\\u202e:smile: \\x0d\n" in err.getvalue()


def test_long_lines_are_not_broken() -> None:
    ui, out, err, _ = terminal(Screen(), Screen(), COLUMNS="40")
    ui.info("a" * 200)
    ui.result("b" * 200)
    assert "a" * 200 in err.getvalue()
    assert out.getvalue() == "b" * 200 + "\n"


def test_colour_only_on_a_terminal_and_not_against_the_wish() -> None:
    def said(err: io.StringIO, **variables: str) -> str:
        ui, _, stream, _ = terminal(None, err, **variables)
        ui.error("failed")
        return stream.getvalue()

    assert "\x1b[1;31m" in said(Screen())
    assert "31m" not in said(Screen(), NO_COLOR="1")
    assert said(io.StringIO()) == "error: failed\n"
    assert said(Screen(), TERM="dumb") == "error: failed\n"


def test_tables_are_plain_and_wide_where_there_is_no_terminal() -> None:
    table = Table("endpoint", "rate")
    table.add_row("GET /" + "x" * 90, "[bold]1 %[/]")
    ui, out, _, _ = terminal()
    ui.result(table)
    assert "x" * 90 in out.getvalue()
    assert "[bold]1 %[/]" in out.getvalue()
    assert "\x1b" not in out.getvalue()
    assert max(len(line) for line in out.getvalue().splitlines()) <= PLAIN_WIDTH
    ui, out, _, _ = terminal(None, None, COLUMNS="60")
    ui.result(table)
    assert max(len(line) for line in out.getvalue().splitlines()) <= 60


def test_progress_without_a_terminal_is_a_line_now_and_then() -> None:
    ui, _, err, clock = terminal()
    for done in range(101):
        ui.progress("replay", done, 100)
        clock.now += PLAIN_PROGRESS_S / 10
    ui.progress("replay", 100, 100)
    lines = err.getvalue().splitlines()
    assert lines[:2] == ["replay: 10 of 100 (10 %)", "replay: 20 of 100 (20 %)"]
    assert lines[-1] == "replay: 100 of 100 (100 %)"
    assert len(lines) == 10
    assert "\r" not in err.getvalue()
    assert "\x1b" not in err.getvalue()


def test_progress_of_unknown_length_and_of_nothing() -> None:
    ui, _, err, clock = terminal()
    ui.progress("live", 3, None)
    ui.progress("live", 4, None)
    clock.now += PLAIN_PROGRESS_S
    ui.progress("live", 5, None)
    ui.progress("nothing", 0, 0)
    assert err.getvalue() == "live: 5\n"


def test_what_is_soon_over_has_no_progress_line() -> None:
    ui, _, err, clock = terminal()
    for done in range(1, 101):
        ui.progress("pass 1", done, 100)
        clock.now += PLAIN_PROGRESS_S / 1000
    assert err.getvalue() == ""
    ui.progress("pass 2", 1, 100)
    clock.now += PLAIN_PROGRESS_S
    ui.progress("pass 2", 90, 100)
    ui.progress("pass 2", 100, 100)
    assert err.getvalue() == "pass 2: 90 of 100 (90 %)\npass 2: 100 of 100 (100 %)\n"


def test_progress_on_a_terminal_is_a_bar_that_goes_away() -> None:
    ui, out, err, clock = terminal(Screen(), Screen())
    ui.progress("pass [1]", 1, 10)
    clock.now += 1
    ui.progress("pass [1]", 7, 10)
    ui.progress("pass [2]", 0, 10)
    assert "pass [1]" in err.getvalue()
    assert "7/10" in err.getvalue()
    ui.info("a word between")
    ui.result("data")
    ui.end_progress()
    assert err.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in err.getvalue(), "the cursor is shown again"
    assert out.getvalue() == "data\n"


def test_a_reader_who_left_is_no_error_and_a_full_disk_is() -> None:
    ui, *_ = terminal(Gone(BrokenPipeError(32, "Broken pipe")), Gone(BrokenPipeError(32, "Broken pipe")))
    ui.result("data")
    ui.warn("nobody hears")
    ui, *_ = terminal(Gone(OSError(28, os.strerror(28))))
    with pytest.raises(SetupError, match="standard output cannot be written to: No space left"):
        ui.result("data")


def test_tables_in_files_have_no_spaces_at_the_ends_of_lines() -> None:
    table = Table(box=None)
    table.add_column("wide", width=30)
    table.add_row("x")
    for screen, padded in ((io.StringIO(), False), (Screen(), True)):
        ui, out, *_ = terminal(screen)
        ui.result(table)
        assert any(line.endswith(" ") for line in out.getvalue().splitlines()) is padded
