"""Says in the audit file what each verdict was: of which run, on which inputs, by which policy, about which build. Nothing secret."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from harness.app import audit_log
from harness.app.context import Context
from harness.core.errors import SetupError, UsageError
from harness.core.home import expanded
from harness.core.limits import AUDIT_LABEL_CHARS_MAX, AUDIT_LABELS_MAX
from harness.core.placeholders import PLACEHOLDER
from harness.core.redact import Redactor
from harness.report.model import Report
from harness.settings.schema import AuditSettings, Settings
from harness.store import RunRecord
from harness.ui import Ui

EXIT_BROKEN: Final = 1
EXIT_NOT_AUDITED: Final = 4
_HASH_CHARS: Final = 64
_WHERE_KEPT: Final = ("store.dir", "store.run_dir", "audit.", "labels", "provenance", "build")
"""Keys that say where things are kept, or how the candidate is labelled: no part of what a verdict hangs on."""
JUDGED_AGAIN: Final = "judge"
"""The mode of a verdict on a stored run."""


def audit_file(settings: AuditSettings, runs: Path) -> Path | None:
    """The audit file; None where there is to be none. A bare name is one in `runs`, the folder in which the run's folder is."""
    if not settings.file.strip():
        return None
    path = expanded(settings.file)
    return runs / path if path.name == settings.file else path


def said_of(record: RunRecord, report: Report, *, mode: str, at_s: float) -> dict[str, object]:
    """What the line of a verdict says. Record and report are redacted already; hashes are of what they show."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s)),
        "run": record.id,
        "mode": mode,
        "inputs": {
            "captures": [capture.digest for capture in report.run.provenance.captures],
            "configuration": configuration_digest(record),
        },
        "policy": {"name": _short(report.policy.name), "digest": report.policy.digest},
        "build": _short(report.run.build),
        "labels": _shown(report.run.provenance.labels),
        "verdict": str(report.verdict),
        "reasons": list(dict.fromkeys(str(reason.code) for reason in report.reasons)),
    }


def configuration_digest(record: RunRecord) -> str:
    """SHA-256, in hex, over keys and values of the run's configuration, without secrets and without where things are kept."""
    kept = [[key, PLACEHOLDER.sub("redacted", value)] for key, value, _ in record.settings if not key.startswith(_WHERE_KEPT)]
    return hashlib.sha256(msgspec.json.encode(kept)).hexdigest()


def write_verdict(record: RunRecord, report: Report, file: Path | None, ui: Ui, *, mode: str, at_s: float) -> bool:
    """Append a verdict's line. False where that failed, which `ui` is told. Where there is no verdict or no file nothing is done."""
    if file is None or report.verdict is None:
        return True
    try:
        done = audit_log.append(file, said_of(record, report, mode=mode, at_s=at_s))
    except SetupError as error:
        ui.warn(f"this verdict is not in the audit file: {error}")
        return False
    if done.torn is not None:
        ui.warn(f"{file}: {done.torn.bytes:,} bytes of a verdict that a crash had cut off were set aside")
    ui.info(f"Audit   {file} line {done.number}: {done.hash}")
    return True


async def write_run(context: Context, report: Report, ui: Ui) -> bool:
    """Append the verdict of a run that has ended, as `write_verdict` does. A disk that hangs does not hold up the loop."""
    store = context.store
    file = audit_file(context.settings.audit, store.path.parent)
    at_s = context.clock.time()
    return await asyncio.to_thread(write_verdict, store.record, report, file, ui, mode=str(report.run.mode), at_s=at_s)


def audited_code(code: int, settings: AuditSettings, *, audited: bool) -> int:
    """The exit code of a verdict: with `audit.required` a pass that is not in the audit file is none."""
    return EXIT_NOT_AUDITED if settings.required and not audited and code == 0 else code


def verify_audit(settings: Settings, file: Path | None, last: str, ui: Ui) -> int:
    """Check the chain of an audit file and say what there is; 0 where it is whole, else 1.

    `last` is a hash that has to be in it. Raises SetupError where the file cannot be read, UsageError for no hash, or where no
    file is named and the configuration has none.
    """
    chosen = file or audit_file(settings.audit, Path(settings.store.dir))
    if chosen is None:
        raise UsageError("no audit file is named, and audit.file is empty", fix="name the file")
    asked = last.strip().lower()
    if asked and (len(asked) != _HASH_CHARS or set(asked) - set("0123456789abcdef")):
        raise UsageError(f"{last!r} is no hash of a line", where="--last", fix=f"give its {_HASH_CHARS} hexadecimal digits")
    checked = audit_log.verify(chosen, asked)
    lines = "1 line" if checked.lines == 1 else f"{checked.lines:,} lines"
    ui.result("\n".join([f"{chosen}: {lines}, last hash {checked.last or '(none)'}", *_beside(checked), *checked.problems]))
    return EXIT_BROKEN if checked.problems else 0


def _beside(checked: audit_log.Checked) -> list[str]:
    said = [f"line {place} was torn by a crash and set aside; a later line tells of it" for place in checked.set_aside]
    if checked.asked_at is not None:
        after = checked.lines - checked.asked_at
        said.append(
            f"the hash asked for is that of line {checked.asked_at:,}" + (f"; {after:,} came after it" if after > 0 else ", the last")
        )
    return said


def _shown(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels, bounded. They are redacted by their form already, and here by their name: a line of the file is for good."""
    redactor = Redactor(secrets.token_bytes(32))
    return {
        _short(name): _short(redactor.text(f"{name}: {value}").removeprefix(f"{name}: "))
        for name, value in sorted(labels.items())[:AUDIT_LABELS_MAX]
    }


def _short(text: str) -> str:
    return text if len(text) <= AUDIT_LABEL_CHARS_MAX else text[: AUDIT_LABEL_CHARS_MAX - 1] + "…"
