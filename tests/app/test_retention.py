"""Limits of the store: runs that have ended are removed, the oldest first; nothing else ever is."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.app.gate import run_gate
from harness.app.retention import kept_runs, tidy
from harness.settings.load import Loaded, load_settings
from harness.settings.problems import ConfigError
from harness.settings.schema import Settings, StoreSettings, TargetSettings, TargetsSettings
from harness.store import FORMAT_VERSION, RUN_FILE, RunRecord, RunStore
from tests.app.support import Heard, builds, capture, items, report_in, shop

NOW_S = 2_000_000_000.0
SIZE = 100_000


def run(base: Path, name: str, *, age_s: float = 0.0, **fields: object) -> Path:
    """A run that ended so long ago, of 100 KB."""
    path = base / name
    path.mkdir(parents=True)
    record = RunRecord(id=name, finished=True)
    (path / RUN_FILE).write_bytes(msgspec.json.encode({**msgspec.to_builtins(record), **fields}))
    (path / "bets.msgpack").write_bytes(b"x" * SIZE)
    (path / "tapes").mkdir()
    (path / "tapes" / "one").write_bytes(b"y")
    os.utime(path / RUN_FILE, (NOW_S - age_s, NOW_S - age_s))
    return path


def names(base: Path) -> set[str]:
    return {path.name for path in base.iterdir()}


def test_store_keep_runs_keeps_the_newest(tmp_path: Path) -> None:
    for age in range(6):
        run(tmp_path, f"run-{age}", age_s=age * 10.0)
    done = tidy(StoreSettings(dir=str(tmp_path), keep_runs=3), tmp_path / "run-0", NOW_S)
    assert done.names == ("run-5", "run-4", "run-3"), "the oldest first"
    assert done.size >= 3 * SIZE
    assert names(tmp_path) == {"run-0", "run-1", "run-2"}


def test_store_max_disk_counts_what_runs_take(tmp_path: Path) -> None:
    for age in range(30):
        run(tmp_path, f"run-{age:02}", age_s=age * 10.0)
    total = sum(each.size for each in kept_runs(tmp_path))
    tidy(StoreSettings(dir=str(tmp_path), max_disk=1_000_000.0), tmp_path / "run-00", NOW_S)
    left = kept_runs(tmp_path)
    assert sum(each.size for each in left) <= 1_000_000 < sum(each.size for each in left) + total / 30
    assert {each.path.name for each in left} == {f"run-{age:02}" for age in range(len(left))}


def test_store_max_age_counts_from_a_runs_end(tmp_path: Path) -> None:
    run(tmp_path, "old", age_s=3601.0)
    run(tmp_path, "young", age_s=3599.0)
    tidy(StoreSettings(dir=str(tmp_path), max_age=3600.0), tmp_path / "none", NOW_S)
    assert names(tmp_path) == {"young"}


def test_the_current_run_is_never_removed(tmp_path: Path) -> None:
    run(tmp_path, "current", age_s=99.0)
    run(tmp_path, "other")
    tidy(StoreSettings(dir=str(tmp_path), keep_runs=1, max_age=1.0), tmp_path / "current", NOW_S)
    assert names(tmp_path) == {"current"}


def no_run(base: Path) -> None:
    (base / "x").mkdir()
    (base / "x" / "run.txt").write_text("mine")


def damaged(base: Path) -> None:
    (run(base, "x") / RUN_FILE).write_bytes(b"{")


def linked_folder(base: Path) -> None:
    run(base.parent / "elsewhere", "x", age_s=1e6)
    (base / "x").symlink_to(base.parent / "elsewhere" / "x")


def linked_record(base: Path) -> None:
    file = run(base, "x", age_s=1e6) / RUN_FILE
    file.rename(base.parent / "record")
    file.symlink_to(base.parent / "record")


NOT_RUNS: list[Callable[[Path], object]] = [
    no_run,
    damaged,
    linked_folder,
    linked_record,
    lambda base: (base / "x").write_text("a file"),
    lambda base: run(base, "x", age_s=1e6, format_version=FORMAT_VERSION + 1),
    lambda base: run(base, "x", age_s=1e6, format_version="1"),
    lambda base: run(base, "x", age_s=1e6, id="of another name"),
    lambda base: run(base, "x", age_s=1e6, finished=False),
]


@pytest.mark.parametrize("make", NOT_RUNS)
def test_what_is_no_run_beyond_doubt_stays(make: Callable[[Path], object], tmp_path: Path) -> None:
    base = tmp_path / "runs"
    base.mkdir()
    make(base)
    (base / "audit.jsonl").write_text("kept")
    run(base, "new")
    done = tidy(StoreSettings(dir=str(base), keep_runs=1, max_age=1.0), base / "new", NOW_S)
    assert done.names == ()
    assert names(base) == {"x", "new", "audit.jsonl"}


def test_links_within_a_run_are_not_followed(tmp_path: Path) -> None:
    base, precious = tmp_path / "runs", tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    old = run(base, "old", age_s=100.0)
    (old / "to-folder").symlink_to(precious)
    (old / "tapes" / "to-folder").symlink_to(precious)
    (old / "to-file").symlink_to(precious / "file")
    assert tidy(StoreSettings(dir=str(base), max_age=1.0), base / "none", NOW_S).names == ("old",)
    assert (precious / "file").read_text() == "kept"


UNDER_WAY = """
import sys
from pathlib import Path
from harness.store import RunRecord, RunStore
store = RunStore.create(Path(sys.argv[1]), RunRecord(id="living"), redact=lambda trial: trial)
print("made", flush=True)
sys.stdin.read()
"""


def test_a_run_under_way_stays_and_one_whose_process_was_killed_does_not(tmp_path: Path) -> None:
    limits = StoreSettings(dir=str(tmp_path), max_age=1.0)
    with subprocess.Popen([sys.executable, "-c", UNDER_WAY, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"made\n"
        os.utime(tmp_path / "living" / RUN_FILE, (1.0, 1.0))
        assert tidy(limits, tmp_path / "none", NOW_S).names == ()
        process.kill()
    assert tidy(limits, tmp_path / "none", NOW_S).names == ("living",)
    assert names(tmp_path) == set()


def test_what_cannot_be_removed_is_said_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age in (1, 2):
        run(tmp_path, f"run-{age}", age_s=age * 100.0)
    rmdir = Path.rmdir

    def refuse(path: Path) -> None:
        if path.name == "run-2":
            raise PermissionError(1, "Operation not permitted")
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", refuse)
    done = tidy(StoreSettings(dir=str(tmp_path), max_age=1.0), tmp_path / "none", NOW_S)
    assert done.names == ("run-1",)
    assert "Operation not permitted" in done.failed[0]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    runs=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=6),
    keep=st.none() | st.integers(1, 6),
    age=st.none() | st.integers(1, 100),
    size=st.none() | st.integers(10, 12),
)
def test_after_tidying_the_limits_hold_or_only_what_must_stay_is_left(
    runs: list[tuple[int, bool]], keep: int | None, age: int | None, size: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("runs")
    for index, (old, finished) in enumerate(runs):
        run(base, f"r{index}", age_s=old * 10.0, finished=finished)
    before = {each.path.name: each for each in kept_runs(base)}
    limits = StoreSettings(
        dir=str(base), keep_runs=keep, max_age=None if age is None else float(age), max_disk=None if size is None else size * SIZE / 1.0
    )
    done = tidy(limits, base / "r0", NOW_S)
    left = kept_runs(base)
    free = [each for each in left if each.finished and each.path.name != "r0"]
    assert set(done.names) | {each.path.name for each in left} == set(before)
    assert all(before[name].finished and name != "r0" for name in done.names)
    if free:
        assert keep is None or len(left) <= keep
        assert age is None or all(NOW_S - each.ended_s <= age for each in free)
        assert size is None or sum(each.size for each in left) <= size * SIZE


def test_a_gate_tidies_when_it_begins_and_when_it_ends_and_says_so_in_a_line(tmp_path: Path) -> None:
    base = tmp_path / "runs"
    for number in range(3):
        run(base, f"run-{number}", age_s=-1000.0 + number)
    os.utime(base / "run-0" / RUN_FILE, (1.0, 1.0))
    file = capture(tmp_path / "shop.gor", items(30))
    ui = Heard()

    async def body() -> int:
        async with asyncio.timeout(100), builds(shop()) as urls:
            targets = TargetsSettings(**{role.value: TargetSettings(url=url) for role, url in urls.items()})
            chosen = Settings(targets=targets, store=StoreSettings(dir=str(base), keep_runs=2))
            return await run_gate(Loaded(chosen, {}), [file], ui, verdict=True)

    assert asyncio.run(body()) in {0, 3}
    assert ui.folder is not None
    assert len(names(base) - {"audit.jsonl"}) == 2
    assert ui.folder.name in names(base)
    (said,) = [text for text in ui.infos if text.startswith("removed")]
    assert said.startswith(f"removed 2 old runs of {base} (0.")
    assert "run-0" in said


def test_a_run_sheds_what_is_beyond_its_share_and_counts_it(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path, RunRecord(id="run"), redact=lambda trial: trial, bytes_max=20_000)
    for _ in range(100):
        store.append_bets(b"x" * 500)
    store.close()
    record = store.record
    assert record.bets + record.bets_lost == 100
    assert 0 < record.bets < 20
    assert (store.path / "bets.msgpack").stat().st_size <= 10_000
    assert store.blind() == [("bets that could not be written: this run cannot be judged again in full", record.bets_lost)]


def test_limits_are_off_unless_they_are_given_and_checked_when_they_are(tmp_path: Path) -> None:
    store = StoreSettings()
    assert (store.keep_runs, store.max_disk, store.max_age) == (None, None, None)
    environ = {"SHADOWDIFF_STORE_MAX_DISK": "2 GB", "SHADOWDIFF_STORE_MAX_AGE": "14d", "SHADOWDIFF_STORE_KEEP_RUNS": "20"}
    loaded = load_settings(environ=environ, folder=tmp_path).settings.store
    assert (loaded.keep_runs, loaded.max_disk, loaded.max_age) == (20, 2e9, 14 * 86_400.0)
    for name, text in (("MAX_DISK", "many"), ("MAX_DISK", "1KB"), ("KEEP_RUNS", "0"), ("MAX_AGE", "0")):
        with pytest.raises(ConfigError, match=name.lower()):
            load_settings(environ={f"SHADOWDIFF_STORE_{name}": text}, folder=tmp_path)


def test_without_limits_nothing_is_removed(tmp_path: Path) -> None:
    base = tmp_path / "runs"
    run(base, "old", age_s=1e9)
    file = capture(tmp_path / "shop.gor", items(5))

    async def body() -> None:
        async with asyncio.timeout(100), builds(shop()) as urls:
            targets = TargetsSettings(**{role.value: TargetSettings(url=url) for role, url in urls.items()})
            await run_gate(Loaded(Settings(targets=targets, store=StoreSettings(dir=str(base))), {}), [file], Heard(), verdict=True)

    asyncio.run(body())
    assert "old" in names(base)
    assert report_in(next(path for path in base.iterdir() if path.is_dir() and path.name != "old"))
