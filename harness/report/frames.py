"""A report as pandas DataFrames, for notebooks and for the latency tables. pandas is imported when it is asked for."""

from typing import TYPE_CHECKING

from harness.core.labels import Role
from harness.report.model import Report

if TYPE_CHECKING:
    import pandas

FINDING_COLUMNS = (
    "id", "endpoint", "aspect", "path", "kind", "class", "severity", "compared", "diverged", "control_diverged",
    "log10_e", "log10_threshold", "rate", "rate_low", "rate_high", "exemplars",
)  # fmt: skip
ENDPOINT_COLUMNS = ("endpoint", "target", "compared", "diverged", "bound", "p50_ms", "p90_ms", "p99_ms")
LATENCY_COLUMNS = (
    "endpoint", "compared", "stable_p50_ms", "secondary_p50_ms", "candidate_p50_ms", "delta_p50_ms", "delta_p99_ms",
    "ratio", "ratio_low", "ratio_high", "gates",
)  # fmt: skip


def findings_frame(report: Report) -> "pandas.DataFrame":
    """One row for each finding and noise entry, in the report's order; labels as plain strings."""
    import pandas  # noqa: PLC0415 - heavy, and most runs never need it

    rows = [
        {
            "id": finding.id,
            "endpoint": finding.endpoint,
            "aspect": finding.aspect.value,
            "path": finding.path,
            "kind": finding.kind.value,
            "class": finding.finding_class.value,
            "severity": finding.severity.value,
            "compared": finding.compared,
            "diverged": finding.diverged,
            "control_diverged": finding.control_diverged,
            "log10_e": finding.log10_e,
            "log10_threshold": finding.log10_threshold,
            "rate": finding.rate,
            "rate_low": finding.interval.low,
            "rate_high": finding.interval.high,
            "exemplars": len(finding.exemplars),
        }
        for finding in (*report.findings, *report.noise)
    ]
    return pandas.DataFrame(rows, columns=list(FINDING_COLUMNS))


def endpoints_frame(report: Report) -> "pandas.DataFrame":
    """One row for each endpoint and target with quantiles in milliseconds; an endpoint without latency has one row."""
    import pandas  # noqa: PLC0415 - heavy, and most runs never need it

    rows: list[dict[str, object]] = []
    for endpoint in report.endpoints:
        counts = {
            "endpoint": endpoint.endpoint,
            "compared": endpoint.compared,
            "diverged": endpoint.diverged,
            "bound": endpoint.bound,
        }
        targets = [
            {**counts, "target": role.value, "p50_ms": quantiles.p50_ms, "p90_ms": quantiles.p90_ms, "p99_ms": quantiles.p99_ms}
            for role in Role
            if (quantiles := endpoint.latency.targets.get(role)) is not None
        ]
        rows.extend(targets or [counts])
    return pandas.DataFrame(rows, columns=list(ENDPOINT_COLUMNS))


def latency_frame(report: Report) -> "pandas.DataFrame":
    """One row for each endpoint with latency: medians side by side, and what the candidate adds to its control.

    The control is secondary where it was timed, else stable. Rows are ordered by the ratio of medians, slowest first.
    """
    import pandas  # noqa: PLC0415 - heavy, and most runs never need it

    long = endpoints_frame(report).dropna(subset=["target"])
    if long.empty:
        return pandas.DataFrame(columns=list(LATENCY_COLUMNS))
    wide = long.pivot_table(index="endpoint", columns="target", values=["p50_ms", "p99_ms"], aggfunc="first", dropna=False)

    def column(quantile: str, role: Role) -> "pandas.Series[float]":
        if (quantile, role.value) in wide.columns:
            return wide[(quantile, role.value)].astype(float)
        return pandas.Series(float("nan"), index=wide.index)

    frame = pandas.DataFrame(index=wide.index)
    for role in Role:
        frame[f"{role.value}_p50_ms"] = column("p50_ms", role)
    for quantile in ("p50_ms", "p99_ms"):
        control = column(quantile, Role.SECONDARY).fillna(column(quantile, Role.STABLE))
        frame[f"delta_{quantile}"] = column(quantile, Role.CANDIDATE) - control
    facts = {endpoint.endpoint: endpoint for endpoint in report.endpoints}
    frame = frame.reset_index()
    latencies = [facts[name].latency for name in frame["endpoint"]]
    frame["compared"] = [facts[name].compared for name in frame["endpoint"]]
    frame["ratio"] = pandas.Series([latency.ratio for latency in latencies], dtype=float)
    frame["ratio_low"] = pandas.Series([latency.interval.low if latency.interval else None for latency in latencies], dtype=float)
    frame["ratio_high"] = pandas.Series([latency.interval.high if latency.interval else None for latency in latencies], dtype=float)
    frame["gates"] = [latency.gates for latency in latencies]
    ordered = frame.sort_values(["ratio", "endpoint"], ascending=[False, True], na_position="last", ignore_index=True)
    return ordered[list(LATENCY_COLUMNS)]
