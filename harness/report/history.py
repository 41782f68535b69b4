"""The epochs of a live run in words: what a report says of its own, and the list of all on a terminal."""

import time
from collections.abc import Iterable
from typing import Protocol

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.core.labels import ReasonCode, VerdictState
from harness.core.limits import REPORT_TABLE_ROWS_MAX
from harness.report.model import EpochFacts, ResumedFacts
from harness.report.text import clean


class Line(Protocol):
    """What is shown of an epoch."""

    @property
    def epoch(self) -> int: ...
    @property
    def build(self) -> str: ...
    @property
    def since(self) -> float: ...
    @property
    def verdict(self) -> VerdictState: ...
    @property
    def reason(self) -> ReasonCode: ...
    @property
    def requests(self) -> int: ...
    @property
    def alpha(self) -> float: ...
    @property
    def resumed(self) -> int: ...
    @property
    def lost(self) -> int: ...


def epoch_words(epoch: EpochFacts | None) -> str:
    """One sentence on the epoch and on what a false alarm has for a chance, and one for each time that it was resumed; empty where
    there is none to speak of."""
    if epoch is None:
        return ""
    return " ".join([_chance(epoch), *map(resumed_words, epoch.resumed)])


def resumed_words(resumed: ResumedFacts) -> str:
    """One sentence on what a kill has cost."""
    lost = "1 request" if resumed.lost == 1 else f"{resumed.lost:,} requests"
    return f"Resumed at {resumed.at} after the proxy was killed: {lost} lost, those under way and of at most {resumed.seconds:g} s before."


def _chance(epoch: EpochFacts) -> str:
    said = f"Epoch {epoch.number}: a false alarm has a chance of at most {_percent(epoch.alpha)} in it"
    if epoch.runs_a_month is None or epoch.alpha_a_month is None or epoch.period_s is None:
        return f"{said}, and as much in each further one."
    month = "no bound is left" if epoch.alpha_a_month >= 1.0 else f"at most {_percent(epoch.alpha_a_month)}"
    return f"{said}; over the {epoch.runs_a_month:,} epochs of a month together {month}."


def history_view(lines: Iterable[Line]) -> RenderableType:
    """All epochs, one a line, the newest last."""
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    shown = list(lines)
    resumed = any(line.resumed for line in shown)
    for name in ("Epoch", "Since (UTC)", "Verdict", "Reason", "Compared", *(("Lost",) if resumed else ()), "Alpha", "Build"):
        table.add_column(name, overflow="fold")
    for line in shown[-REPORT_TABLE_ROWS_MAX:]:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(line.since))
        verdict, reason, build = str(line.verdict), str(line.reason), clean(line.build)
        lost = (f"{line.lost:,}",) if resumed else ()
        cells = (str(line.epoch), since, verdict, reason, f"{line.requests:,}", *lost, _percent(line.alpha), build)
        table.add_row(*map(Text, cells))
    left = len(shown) - REPORT_TABLE_ROWS_MAX
    more = [Text(f"... and {left:,} before them in history.jsonl")] if left > 0 else []
    return Group(Text("History", style="bold"), table, *more)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
