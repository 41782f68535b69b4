"""The console that renders for the terminal. Imported late: rich is not needed for --help."""

from collections.abc import Mapping
from typing import TextIO

from rich.console import Console, RenderableType


class PlainConsole(Console):
    """Takes no text for markup, and outlives a reader who left: its own exit code would be taken for a verdict."""

    def __init__(self, stream: TextIO, *, environ: Mapping[str, str], plain_width: int) -> None:
        super().__init__(file=stream, markup=False, emoji=False, highlight=False, _environ=environ)
        if not self.is_terminal and "COLUMNS" not in environ:
            self.width = plain_width

    def on_broken_pipe(self) -> None:
        """Falls silent."""
        self.quiet = True

    def text_of(self, item: RenderableType, *, soft_wrap: bool = False) -> str:
        """What printing the item would write."""
        with self.capture() as captured:
            self.print(item, soft_wrap=soft_wrap)
        return captured.get()
