"""A small SVG writer for latency: one strip for each endpoint, one line for each target, on a shared logarithmic scale.

Pure text out. Colours are classes, so that the page decides them (light, dark, print). Every strip has a text twin.
"""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Final

from harness.core.labels import Role
from harness.evidence.snapshot import TargetLatency
from harness.report.text import clean, milliseconds

WIDTH: Final = 640
_LEFT: Final = 8
_RIGHT: Final = 12
_ROW: Final = 13
_AXIS: Final = 18
_LATENCY_MS_MIN: Final = 0.01


class Scale:
    """Milliseconds to horizontal position, logarithmic, from a power-of-ten-ish low to high."""

    def __init__(self, low_ms: float, high_ms: float) -> None:
        self.low = _nice_below(max(low_ms, _LATENCY_MS_MIN))
        self.high = max(_nice_above(high_ms), self.low * 10)

    def x(self, value_ms: float) -> float:
        """Position of a latency, held inside the plot."""
        bounded = min(max(value_ms, self.low), self.high)
        share = math.log(bounded / self.low) / math.log(self.high / self.low)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def ticks(self) -> list[float]:
        """Labelled values: 1, 2 and 5 times powers of ten, thinned where the scale is long."""
        steps = (1.0, 2.0, 5.0) if self.high / self.low <= 2_000 else (1.0,)
        exponent = math.floor(math.log10(self.low))
        values: list[float] = []
        while 10.0**exponent <= self.high:
            values.extend(step * 10.0**exponent for step in steps)
            exponent += 1
        return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]


def scale_for(latencies: Sequence[Mapping[Role, TargetLatency]]) -> Scale:
    """One scale for all strips, so that endpoints can be compared by eye."""
    values = [value for targets in latencies for quantiles in targets.values() for value in (quantiles.p50_ms, quantiles.p99_ms)]
    known = [value for value in values if value > 0]
    return Scale(min(known), max(known)) if known else Scale(1, 100)


def latency_strip(endpoint: str, targets: Mapping[Role, TargetLatency], scale: Scale) -> str:
    """An SVG with a line from p50 to p99 for each target: a dot at p50, a bar at p90, an end at p99."""
    roles = [role for role in Role if role in targets]
    height = _ROW * len(roles) + _AXIS + 4
    label = clean(f"Latency of {endpoint}: " + "; ".join(_spoken(role, targets[role]) for role in roles))
    head = f'class="strip" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(label)}"'
    parts = [f'<svg {head} preserveAspectRatio="xMinYMid meet" xmlns="http://www.w3.org/2000/svg">']
    bottom = _ROW * len(roles) + 4
    for value in scale.ticks():
        x = scale.x(value)
        anchor = "start" if x < 30 else "end" if x > WIDTH - 30 else "middle"
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{bottom + 12}" text-anchor="{anchor}">{_tick(value)}</text>')
    for index, role in enumerate(roles):
        parts.append(_line(role, targets[role], scale, y=_ROW * index + _ROW / 2 + 2))
    return "".join([*parts, "</svg>"])


def rate_bar(rate: float, low: float, high: float, control: float) -> str:
    """A finding's rate with its interval between 0 and 100 %, the control's rate as a thin mark. All are shares."""
    width, height = 160, 14

    def x(share: float) -> float:
        return round(2 + min(max(share, 0.0), 1.0) * (width - 4), 1)

    label = f"excess rate {rate:.1%}, between {low:.1%} and {high:.1%}; control {control:.1%}"
    return (
        f'<svg class="rate" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{label}" '
        'xmlns="http://www.w3.org/2000/svg">'
        f'<line class="rail" x1="2" x2="{width - 2}" y1="7" y2="7"/>'
        f'<line class="span" x1="{x(low)}" x2="{x(high)}" y1="7" y2="7"/>'
        f'<line class="control" x1="{x(control)}" x2="{x(control)}" y1="2" y2="12"/>'
        f'<circle class="point" cx="{x(rate)}" cy="7" r="4"/></svg>'
    )


def flow_bar(shares: Sequence[tuple[str, int]]) -> str:
    """Counts as one stacked bar; each is (class name and label, count). Classes come from the harness, never from traffic."""
    total = sum(count for _, count in shares)
    label = html.escape(", ".join(f"{name} {count:,}" for name, count in shares))
    parts = [
        f'<svg class="flow" viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg">'
    ]
    x = 0.0
    for name, count in shares:
        width = round(100 * count / total, 3) if total else 0.0
        if width:
            parts.append(f'<rect class="{html.escape(name)}" x="{x}" y="0" width="{width}" height="4"/>')
        x += width
    return "".join([*parts, "</svg>"])


def _line(role: Role, quantiles: TargetLatency, scale: Scale, *, y: float) -> str:
    start, bar, end = scale.x(quantiles.p50_ms), scale.x(quantiles.p90_ms), scale.x(quantiles.p99_ms)
    return (
        f'<g class="{role.value}"><title>{html.escape(_spoken(role, quantiles))}</title>'
        f'<line class="range" x1="{start}" x2="{end}" y1="{y}" y2="{y}"/>'
        f'<line class="mark" x1="{bar}" x2="{bar}" y1="{y - 4}" y2="{y + 4}"/>'
        f'<line class="end" x1="{end}" x2="{end}" y1="{y - 2.5}" y2="{y + 2.5}"/>'
        f'<circle class="dot" cx="{start}" cy="{y}" r="4.5"/></g>'
    )


def _spoken(role: Role, quantiles: TargetLatency) -> str:
    values = (("p50", quantiles.p50_ms), ("p90", quantiles.p90_ms), ("p99", quantiles.p99_ms))
    return f"{role.value} " + ", ".join(f"{name} {milliseconds(value)}" for name, value in values)


def _tick(value_ms: float) -> str:
    return f"{value_ms / 1000:g} s" if value_ms >= 1000 else f"{value_ms:g} ms"


def _nice_below(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1, 2, 5) if step * power <= value * 1.0001)


def _nice_above(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(value, _LATENCY_MS_MIN)))
    return min(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.9999)
