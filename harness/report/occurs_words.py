"""When a finding happens, in words: always, sometimes, only under load. Pure."""

from typing import Final

from harness.core.labels import Aspect, Occurrence
from harness.report.model import FindingView
from harness.report.text import count_of

_WORDS: Final[dict[Occurrence, str]] = {
    Occurrence.ALWAYS: "always",
    Occurrence.SOMETIMES: "sometimes",
    Occurrence.ONLY_UNDER_LOAD: "only under load",
    Occurrence.ONLY_ALONE: "only one request at a time",
}
UNTOLD: Final = "load was not told apart"


def occurs_words(finding: FindingView) -> str:
    """`only under load`; empty where nothing is known."""
    return "" if finding.occurs is None else _WORDS[finding.occurs.when]


def occurs_detail(finding: FindingView) -> str:
    """`only under load: in 9 of 9 passes with requests in parallel, in 0 of 3 with one at a time`; empty where nothing is known."""
    found = finding.occurs
    if found is None:
        return ""
    head = _WORDS[found.when]
    if finding.aspect is Aspect.DETERMINISM and not finding.root:
        return f"{head}: in {found.parallel_shown} of {count_of(found.parallel, 'pair')} of passes; {UNTOLD}"
    if not (found.parallel and found.alone):
        shown, sent = found.parallel_shown + found.alone_shown, found.parallel + found.alone
        how = "in parallel" if found.parallel else "one request at a time"
        return f"{head}: in {shown} of {count_of(sent, 'pass', 'passes')}, all {how}; {UNTOLD}"
    parallel = count_of(found.parallel, "pass", "passes")
    return (
        f"{head}: in {found.parallel_shown} of {parallel} with requests in parallel, in {found.alone_shown} of {found.alone} with one "
        "at a time"
    )
