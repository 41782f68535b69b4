"""Where a live run stands: what is written down, for whom, and what of a configuration must stay the same."""

from pathlib import Path

import msgspec
import pytest

from harness.app import checkpoint as module
from harness.app import parts
from harness.app.checkpoint import CHECKPOINT_FILE, Checkpoint, alike, forget, read_checkpoint, session_key
from harness.app.proxy import LiveRun
from harness.core.canon import Rule, RuleAction
from harness.core.errors import SetupError
from harness.core.labels import RunMode
from harness.core.limits import CHECKPOINT_SECONDS, STORE_FLUSH_SECONDS
from harness.core.values import Totals
from harness.core.watched import EffectsFacts
from harness.evidence.expected import NOTHING_EXPECTED
from harness.settings.schema import ProxySettings, Settings, StoreSettings, TargetSettings, TargetsSettings
from harness.store import BETS_FILE, Flushed, StoredRun
from tests.app.support import Heard, builds, shop
from tests.app.test_proxy import live, run, served, traffic, until

SECRET = b"s" * 32


def a_point(**changes: object) -> Checkpoint:
    fields: dict[str, object] = {
        "version": "1",
        "pid": 1,
        "identity": parts.Identity(id="r", started=1.0, seed=2),
        "secret": SECRET,
        "alike": {},
        "epoch": 1,
        "since": 1.0,
        "build": "b",
        "flushed": Flushed(),
        "base": Totals(),
        "own": Totals(),
        "totals": Totals(),
        "counts": "",
        "rules_used": (1, 3),
        "effects": EffectsFacts(),
        "resumed": (),
        "resumes": 0,
    }
    return Checkpoint(**{**fields, **changes})  # type: ignore[arg-type]  # fields by name


def digests(settings: Settings, labels: dict[str, str] | None = None) -> dict[str, str]:
    policy = parts.policy_of(settings.policy, RunMode.PROXY)
    return alike(settings, policy, labels or {}, NOTHING_EXPECTED, SECRET)


def test_it_is_read_as_it_was_written_and_what_is_no_checkpoint_says_so(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None
    file = tmp_path / CHECKPOINT_FILE
    file.write_bytes(msgspec.json.encode(a_point()))
    assert read_checkpoint(tmp_path) == a_point()
    for data in (b"", b"{", b"[1]", b'{"version": 1}', b"\xff"):
        file.write_bytes(data)
        with pytest.raises(SetupError, match="damaged"):
            read_checkpoint(tmp_path)
    (tmp_path / "counts-0").touch()
    (tmp_path / "precious").touch()
    forget(tmp_path, counts_only=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT_FILE, "precious"]
    forget(tmp_path)
    forget(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_what_decides_about_evidence_must_stay_and_the_rest_may_change() -> None:
    plain = Settings()
    same = (
        Settings(proxy=ProxySettings(listen="127.0.0.1:1", resume=True, sample=5.0, workers=3)),
        Settings(store=StoreSettings(run_dir="x")),
        Settings(policy="rollout"),
    )
    for settings in same:
        assert digests(settings) == digests(plain)
    other = {
        "targets": Settings(targets=TargetsSettings(candidate=TargetSettings(url="http://127.0.0.1:9"))),
        "rules": Settings(rules=(Rule(action=RuleAction.IGNORE, path="$.a"),)),
        "proxy.allow_writes": Settings(proxy=ProxySettings(allow_writes=True)),
        "policy": Settings(policy="strict"),
        "build": Settings(build="b-7"),
    }
    for name, settings in other.items():
        differing = {key for key, value in digests(settings).items() if digests(plain)[key] != value}
        assert differing == {name}
    assert digests(plain, {"model": "m"}) != digests(plain)


def test_a_session_keeps_its_name_and_no_name_gives_away_the_key() -> None:
    assert session_key(SECRET) == session_key(SECRET) != session_key(b"t" * 32)
    assert session_key(SECRET) != SECRET


def test_while_a_run_is_on_its_bets_reach_the_disk_and_at_its_end_the_key_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STORE_FLUSH_SECONDS", 0.02)
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.04)
    out, ui = tmp_path / "run", Heard()

    async def body() -> None:
        async with builds(shop(price=11)) as urls, traffic() as ask:
            live_run = LiveRun(live(out, urls), ui)
            async with served(live_run) as end:
                assert (out / CHECKPOINT_FILE).stat().st_mode & 0o777 == 0o600
                for number in range(10):
                    await ask(f"http://{live_run.address}/items/{number}")
                await until(lambda: live_run.state().requests == 10)
                await until(lambda: sum(1 for _ in StoredRun.open(out).bets()) == 10)
                await until(lambda: (point := read_checkpoint(out)) is not None and point.flushed.bets == (out / BETS_FILE).stat().st_size)
                point = read_checkpoint(out)
                assert point is not None
                assert point.totals.compared == point.own.compared == 10
                assert (point.totals.requests, point.own.requests) == (10, 0), "ingress workers count what comes in"
                await end()

    run(body)
    assert not (out / CHECKPOINT_FILE).exists()


def test_a_disk_that_takes_no_checkpoint_is_said_once_and_clients_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STORE_FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.01)
    tried = 0

    def full(_path: Path, _data: bytes) -> None:
        nonlocal tried
        tried += 1
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_whole", full)
    ui = Heard()

    async def body() -> None:
        async with builds(shop()) as urls, traffic() as ask:
            live_run = LiveRun(live(tmp_path / "run", urls), ui)
            async with served(live_run) as end:
                assert (await ask(f"http://{live_run.address}/items/1"))[0] == 200
                await until(lambda: tried >= 3)
                await end()

    run(body)
    assert len([said for said in ui.warnings if "could not be written down" in said]) == 1


def test_the_bounds_are_those_that_are_stated() -> None:
    text = (Path(__file__).parents[2] / "docs" / "live.md").read_text(encoding="utf-8")
    assert f"every {STORE_FLUSH_SECONDS:g} s" in text
    assert f"every {CHECKPOINT_SECONDS:g} s" in text
