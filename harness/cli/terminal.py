"""The only module that writes to the terminal: results to standard output, all else to standard error.

Clear without colour; NO_COLOR and streams that are no terminal get neither colour nor control characters.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, cast

from harness.core.errors import SetupError
from harness.ui import plain

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, TaskID

    from harness.cli.console import PlainConsole

PLAIN_WIDTH: Final = 120
"""Columns where there is no terminal to ask."""
PLAIN_PROGRESS_S: Final = 5.0
"""At most one progress line in this time for each label, where there is no terminal."""
LIVE_PROGRESS_S: Final = 0.1


class Terminal:
    """A `Ui` on two streams. `quiet` leaves out information, hints and progress, never warnings, errors or results."""

    def __init__(
        self, out: TextIO, err: TextIO, *, environ: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic, quiet: bool = False
    ) -> None:
        self.quiet = quiet
        self.folder: Path | None = None
        self._out = out
        self._err = err
        self._environ = dict(environ)
        self._monotonic = monotonic
        self._consoles: dict[int, PlainConsole] = {}
        self._live: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._shown: dict[str, tuple[float, int]] = {}
        """By label: when progress was last shown (or first heard of, with -1), and how far it was."""

    def info(self, text: str) -> None:
        """See Ui."""
        if not self.quiet:
            self._say(text)

    def warn(self, text: str) -> None:
        """See Ui."""
        self._say(text, mark="warning:", style="yellow")

    def hint(self, text: str) -> None:
        """See Ui."""
        if not self.quiet:
            self._say(text, mark="hint:", style="cyan")

    def error(self, text: str, fix: str = "", *, mark: str = "error:") -> None:
        """Says why the command ended, and what to do about it."""
        self.end_progress()
        self._say(text, mark=mark, style="bold red")
        if fix:
            self._say(fix, mark="hint:", style="cyan")

    def raw_error(self, text: str) -> None:
        """Writes text as it is, e.g. a traceback that was asked for."""
        self.end_progress()
        self._say(text.rstrip("\n"))

    def result(self, item: object) -> None:
        """See Ui. Raises SetupError where standard output cannot be written to; a reader who left early is no error."""
        self.end_progress()
        text = plain(item).rstrip("\n") + "\n" if isinstance(item, str) else self._rendered(cast("RenderableType", item))
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:
            return
        except OSError as error:
            raise SetupError(f"standard output cannot be written to: {error.strerror}") from error

    def _rendered(self, item: "RenderableType") -> str:
        """As text; a file or a pipe gets no spaces at the ends of lines."""
        console = self._console(self._out)
        text = console.text_of(item)
        return text if console.is_terminal else "".join(f"{line.rstrip()}\n" for line in text.splitlines())

    def progress(self, label: str, done: int, total: int | None) -> None:
        """See Ui. Lines where there is no terminal, a bar where there is one."""
        if self.quiet:
            return
        now = self._monotonic()
        finished = total is not None and done >= total
        live = self._console(self._err).is_terminal
        shown_at, shown_done = self._shown.get(label, (None, -1))
        if shown_at is None and not live:
            # What is over before the first line would be due is not worth one: what follows says how it ended.
            self._shown[label] = (now, -1)
            return
        pause_s = LIVE_PROGRESS_S if live else PLAIN_PROGRESS_S
        early = shown_at is not None and now - shown_at < pause_s
        if done == shown_done or (early and (shown_done < 0 or not finished)):
            return
        self._shown[label] = (now, done)
        if live:
            self._bar(label, done, total)
        else:
            self._say(f"{label}: {done}" + (f" of {total} ({100 * done // max(total, 1)} %)" if total is not None else ""))

    def use_folder(self, folder: Path) -> None:
        """See Ui."""
        self.folder = folder

    def end_progress(self) -> None:
        """Takes the bars away, so that what follows stands alone."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._tasks.clear()

    def _bar(self, label: str, done: int, total: int | None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - loaded only when shown

        if self._live is None:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            # Refreshed by the calls themselves: no thread of its own, and nothing moves while the harness is busy.
            self._live = Progress(*columns, console=self._console(self._err), auto_refresh=False, transient=True)
            self._live.start()
        if label not in self._tasks:
            self._tasks[label] = self._live.add_task(plain(label), total=total)
        self._live.update(self._tasks[label], completed=done, total=total, refresh=True)

    def _say(self, text: str, *, mark: str = "", style: str = "") -> None:
        from rich.text import Text  # noqa: PLC0415 - loaded only when shown

        line = Text(plain(text))
        if mark:
            line = Text.assemble((mark, style), " ", line)
        console = self._console(self._err)
        try:
            if self._live is not None:
                console.print(line, soft_wrap=True)
                return
            self._err.write(console.text_of(line, soft_wrap=True))
            self._err.flush()
        except OSError:
            # Nobody reads standard error any more; the exit code still says how it ended.
            return

    def _console(self, stream: TextIO) -> "PlainConsole":
        if id(stream) not in self._consoles:
            from harness.cli.console import PlainConsole  # noqa: PLC0415 - loaded only when shown

            self._consoles[id(stream)] = PlainConsole(stream, environ=self._environ, plain_width=PLAIN_WIDTH)
        return self._consoles[id(stream)]
