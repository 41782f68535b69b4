"""What a benchmark has to say: tables, what was missed, what could not be had. Knows how to print it and nothing else."""

import math
import statistics
from collections.abc import Iterable, Sequence

import msgspec


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One table; every row has a text for every column, and the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A benchmark's result."""

    tables: tuple[Table, ...]
    missed: tuple[str, ...] = ()
    """Aims that were not reached, each as a sentence; also one that could not be judged."""
    absent: tuple[str, ...] = ()
    """Programs or options that were not there, so that their figures are missing."""


def text(outcome: Outcome) -> str:
    """For a terminal."""
    parts = [_plain(table) for table in outcome.tables]
    parts += [f"not measured: {name}" for name in outcome.absent]
    parts += [f"MISSED: {aim}" for aim in outcome.missed]
    return "\n".join(parts)


def markdown(outcome: Outcome) -> str:
    """For a document: what was missed and what is absent stand below the tables."""
    parts = [_marked_up(table) for table in outcome.tables]
    said = [f"- not measured: {name}" for name in outcome.absent] + [f"- **missed:** {aim}" for aim in outcome.missed]
    if said:
        parts.append("\n".join(said))
    return "\n\n".join(parts)


def show(outcome: Outcome) -> int:
    """Print it. 1 when an aim was missed."""
    print(text(outcome), flush=True)
    return int(bool(outcome.missed))


def percentile(values: Iterable[float], share: float) -> float:
    """The nearest-rank percentile; nan of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def median(values: Sequence[float]) -> float:
    """The median; nan of nothing."""
    return statistics.median(values) if values else math.nan


def number(value: float, digits: int = 0) -> str:
    """With thousands separated; a dash for what is not known."""
    return "-" if math.isnan(value) else f"{value:,.{digits}f}"


def percent(part: float, whole: float, digits: int = 1) -> str:
    """A share as text."""
    return f"{100 * part / whole:.{digits}f} %" if whole else "-"


def _plain(table: Table) -> str:
    rows = [table.columns, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = [table.title]
    for row in rows:
        first, rest = row[0].ljust(widths[0]), [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  " + "  ".join([first, *rest]))
    return "\n".join([*lines, *(f"  {note}" for note in table.notes), ""])


def _marked_up(table: Table) -> str:
    lines = [f"**{table.title}**", "", _row(table.columns), "|" + "|".join(["---"] + ["---:"] * (len(table.columns) - 1)) + "|"]
    lines += [_row(row) for row in table.rows]
    if table.notes:
        lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
