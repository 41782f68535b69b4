"""The console: no markup, no end of the process when the reader leaves."""

import io

from rich.table import Table

from harness.cli.console import PlainConsole


class Gone(io.StringIO):
    def write(self, text: str, /) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_it_renders_to_text_without_markup() -> None:
    console = PlainConsole(io.StringIO(), environ={}, plain_width=30)
    table = Table("a")
    table.add_row("[red]x[/] :smile:")
    assert "[red]x[/] :smile:" in console.text_of(table)
    assert console.text_of("y" * 50, soft_wrap=True) == "y" * 50 + "\n"
    assert console.width == 30


def test_a_width_that_was_asked_for_counts() -> None:
    assert PlainConsole(io.StringIO(), environ={"COLUMNS": "50"}, plain_width=30).width == 50


def test_it_falls_silent_when_the_reader_leaves() -> None:
    console = PlainConsole(Gone(), environ={}, plain_width=30)
    console.print("x")
    assert console.quiet is True
