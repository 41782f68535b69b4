"""`shadowdiff accept`: from findings of a stored run to entries in the file of accepted changes."""

import datetime
import fnmatch
import getpass
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from harness.app.expecting import file_of
from harness.app.stored import stored_report
from harness.core.errors import SetupError, UsageError
from harness.core.labels import FindingClass, Kind
from harness.core.limits import EXPECTED_CHARS_MAX, EXPECTED_ENTRIES_MAX, GIT_TIMEOUT_S
from harness.evidence.expected import ExpectedChange
from harness.evidence.findings import finding_id
from harness.frames import write_whole
from harness.report.model import FindingView, Report
from harness.report.words import kind_words, place_words
from harness.settings.expected_file import BIAS_MUST_CHANGE, date_of, not_acceptable, read_expected_file, written
from harness.settings.problems import closest, preview
from harness.ui import Ui

_PREFIX: Final = re.compile(r"[0-9a-f]{4,12}")


class Accepting(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody accepts, and how."""

    run: Path
    findings: tuple[str, ...] = ()
    """Ids, or beginnings of them that fit one finding only."""
    roots: tuple[str, ...] = ()
    """Findings together with all that follow from them."""
    endpoints: tuple[str, ...] = ()
    """All findings of endpoints that a pattern fits; `*` stands for any characters."""
    reason: str
    expires: str
    by: str | None = None
    file: str | None = None
    config: Path | None = None
    """The configuration file, beside which the usual file lies."""
    must_change: bool = False


def accept(what: Accepting, ui: Ui, *, today: datetime.date, ask: Callable[[str], bool] | None = None) -> int:
    """Write the chosen findings into the file, each with what the run saw of it. `ask` (interactive) is put every finding.

    An entry of a finding that was accepted before is replaced. Raises UsageError where nothing fits or cannot be accepted,
    SetupError where the run cannot be read or the file not be written; then nothing is written.
    """
    reason, by = _said(what.reason, "--reason"), _said(what.by if what.by is not None else _own_name(), "--by")
    expires = date_of(what.expires)
    if expires is None:
        raise UsageError(f"{preview(what.expires)} is no date", where="--expires", fix="give a day such as 2031-12-31")
    if expires < today:
        raise UsageError(f"{what.expires} is past", where="--expires", fix="give the last day on which the change is accepted")
    report = stored_report(what.run)
    chosen = _chosen(what, report, every=ask is not None)
    if ask is not None:
        chosen = [finding for finding in chosen if ask(f"{_named(finding)}: accept?")]
    path = file_of(what.file, what.config)
    before = read_expected_file(path) if path.exists() else ()
    added = {finding.id: _entry(finding, what, reason, by) for finding in chosen}
    entries = {change.id: change for change in before} | added
    if len(entries) > EXPECTED_ENTRIES_MAX:
        raise UsageError(f"there would be {len(entries):,} entries", where=str(path), fix=f"keep up to {EXPECTED_ENTRIES_MAX:,}")
    if added:
        try:
            mode = path.stat().st_mode & 0o777 if path.exists() else _MODE
            write_whole(path, written(entries.values()).encode())
            path.chmod(mode)
        except OSError as error:
            raise SetupError(f"cannot be written: {error.strerror}", where=str(path), fix="give another --file") from error
    known = {change.id for change in before}
    for finding in chosen:
        ui.info(f"{'replaced' if finding.id in known else 'accepted'} {_named(finding)}")
    ui.result(f"{len(added)} accepted until {what.expires} in {path}" if added else "nothing accepted")
    return 0


_MODE: Final = 0o644
"""Of a new file: it belongs to the repository, not to the run."""


def _chosen(what: Accepting, report: Report, *, every: bool) -> list[FindingView]:
    """The findings that are named, or with `every` all that can be accepted where none is; in the report's order."""
    names: dict[str, None] = {}
    for given in what.findings:
        names[_found(given, report).id] = None
    for given in what.roots:
        root = _found(given, report)
        names[root.id] = None
        names.update(dict.fromkeys(_below(root.id, report.findings)))
    for pattern in what.endpoints:
        matching = [finding.id for finding in report.findings if fnmatch.fnmatchcase(finding.endpoint, pattern.replace("[", "[[]"))]
        fitting = [name for name in matching if not _refused(_by_id(name, report))]
        if not fitting:
            known = sorted({finding.endpoint for finding in report.findings})
            near = closest(pattern, known)
            hint = f'did you mean "{near}"? ' if near else ""
            raise UsageError(
                f"no finding that can be accepted is of an endpoint {preview(pattern)}", where="--endpoint", fix=f"{hint}see the report"
            )
        if what.must_change:
            fitting = [name for name in fitting if _by_id(name, report).kind is not Kind.BIAS]
        names.update(dict.fromkeys(fitting))
    if not (what.findings or what.roots or what.endpoints):
        if not every:
            raise UsageError("nothing was chosen", where="accept", fix="name findings, or give --root, --endpoint or --interactive")
        names = {finding.id: None for finding in report.findings if not _refused(finding)}
    problems = [f"{_named(finding)}: {why}" for name in names if (why := _why_not(finding := _by_id(name, report), what))]
    if problems:
        raise UsageError("\n  ".join(["cannot be accepted:", *problems]), where=str(what.run), fix="leave them out")
    return [finding for finding in report.findings if finding.id in names]


def _by_id(name: str, report: Report) -> FindingView:
    return next(finding for finding in (*report.findings, *report.noise) if finding.id == name)


def _found(given: str, report: Report) -> FindingView:
    """The finding that an id or its beginning names."""
    text = given.strip().lower()
    every = (*report.findings, *report.noise)
    matching = [finding for finding in every if finding.id.startswith(text)] if _PREFIX.fullmatch(text) else []
    if len(matching) == 1:
        return matching[0]
    if matching:
        listed = ", ".join(finding.id for finding in matching[:5])
        raise UsageError(f"{preview(given)} fits {len(matching)} findings: {listed}", where="accept", fix="give more of the id")
    near = closest(text, (finding.id for finding in every))
    hint = f'did you mean "{near}"? ' if near else ""
    raise UsageError(
        f"the run has no finding {preview(given)}", where="accept", fix=f"{hint}the report shows ids; give four digits or more"
    )


def _below(root: str, findings: Iterable[FindingView]) -> list[str]:
    """All that follows from a finding, however far down."""
    listed = list(findings)
    found = {root}
    while more := {finding.id for finding in listed if finding.root in found} - found:
        found |= more
    return [finding.id for finding in listed if finding.id in found and not (finding.id != root and _refused(finding))]


def _refused(finding: FindingView) -> str:
    """Why a finding cannot be accepted; empty where it can."""
    if finding.finding_class is FindingClass.NOISE:
        return "it is noise: the control differs there as well, and nothing has to be accepted"
    if finding.kind is Kind.UNCOMPARABLE:
        return "it could not be compared, so nobody knows what it is"
    if finding.seen is None:
        return "the run did not keep what was seen of it"
    if why := not_acceptable(finding.aspect, finding.path, finding.kind, finding.seen):
        return why
    if finding.id != finding_id(finding.endpoint, finding.aspect, finding.path, finding.kind):
        return "its place has signs, or is of a length, that a file cannot hold: use a rule"
    return ""


def _why_not(finding: FindingView, what: Accepting) -> str:
    """The same, with what was asked for."""
    return _refused(finding) or (BIAS_MUST_CHANGE if what.must_change and finding.kind is Kind.BIAS else "")


def _entry(finding: FindingView, what: Accepting, reason: str, by: str) -> ExpectedChange:
    assert finding.seen is not None
    return ExpectedChange(
        id=finding.id,
        endpoint=finding.endpoint,
        aspect=finding.aspect,
        path=finding.path,
        kind=finding.kind,
        reason=reason,
        by=by,
        expires=what.expires,
        must_change=what.must_change,
        seen=finding.seen,
    )


def _named(finding: FindingView) -> str:
    return f"{finding.id} {finding.endpoint}: {place_words(finding)}, {kind_words(finding)}"


def _said(text: str, where: str) -> str:
    line = " ".join(text.split())
    if not line or len(line) > EXPECTED_CHARS_MAX:
        raise UsageError(
            "is empty" if not line else "is too long", where=where, fix=f"give a text of up to {EXPECTED_CHARS_MAX:,} characters"
        )
    return line


def _own_name(command: Sequence[str] = ("git", "config", "user.name")) -> str:
    """Git's name for the user, else the login."""
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False)
        if told.returncode == 0 and told.stdout.strip():
            return told.stdout.strip()
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        pass
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:
        raise UsageError("nobody knows who you are", where="--by", fix="give your name with --by") from error
