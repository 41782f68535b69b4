"""A full disk sheds storage only: the gate's verdict is what it was, what was lost is said, and what is left is never judged as pass.

That clients of the proxy are served meanwhile is in test_promises.
"""

import asyncio
from pathlib import Path

from harness.app.gate import run_gate
from harness.app.stored import judge_run
from harness.core.errors import ShadowdiffError
from harness.core.labels import Role
from harness.settings.schema import AuditSettings
from tests.app.support import Handler, Heard, builds, capture, items, settings, shop
from tests.e2e.test_promises import fill, small_disk

SIZE_BYTES = 48 * 1024


def gate(out: Path, file: Path, candidate: Handler, ui: Heard, **sections: object) -> int:
    async def body() -> int:
        async with asyncio.timeout(100), builds(candidate) as urls:
            assert set(urls) == set(Role)
            return await run_gate(settings(out, urls, **sections), [file], ui, verdict=True)

    return asyncio.run(body())


def judged_again(run: Path) -> int:
    try:
        return judge_run(run, None, Heard())
    except ShadowdiffError as error:
        return error.exit_code


def test_a_gate_on_a_disk_that_fills_up_gives_the_verdict_that_it_gives_elsewhere(tmp_path: Path) -> None:
    file = capture(tmp_path / "shop.gor", items(400))
    with small_disk(tmp_path / "disk", SIZE_BYTES) as disk:
        for name, candidate in (("same", shop()), ("other", shop(price=11))):
            elsewhere = gate(tmp_path / name, file, candidate, Heard())
            ui = Heard()
            assert gate(disk / name, file, candidate, ui) == elsewhere
            said = ui.text + " ".join(ui.warnings)
            assert "this run cannot be judged again in full" in said
            assert judged_again(tmp_path / name) == elsewhere
            assert judged_again(disk / name) == 4, "never a pass, and nothing else that it could not prove"


def test_with_the_audit_required_a_disk_that_is_full_lets_nothing_pass(tmp_path: Path) -> None:
    file = capture(tmp_path / "shop.gor", items(400))
    with small_disk(tmp_path / "disk", SIZE_BYTES) as disk:
        ui = Heard()
        audit = AuditSettings(file=str(disk / "audit.jsonl"), required=True)
        fill(disk)
        assert gate(tmp_path / "run", file, shop(), ui, audit=audit) == 4
        assert any("not in the audit file" in warning for warning in ui.warnings)
        assert (disk / "audit.jsonl").stat().st_size == 0 if (disk / "audit.jsonl").exists() else True
