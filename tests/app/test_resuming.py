"""Going on with a killed run: what it takes to be the same run, where its requests went, and that evidence is what it was."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.app import checkpoint as checkpoint_module
from harness.app import proxy as module
from harness.app.checkpoint import CHECKPOINT_FILE, Checkpoint, read_checkpoint
from harness.app.history import read_history
from harness.app.proxy import LiveRun
from harness.app.resuming import find, went_where
from harness.app.stored import judge_again
from harness.bus.slots import Slots
from harness.core.canon import Rule, RuleAction
from harness.core.errors import SetupError, UsageError
from harness.core.labels import ShedReason, VerdictState
from harness.core.values import Totals
from harness.evidence.bets import decode_bets
from harness.report.model import Report
from harness.settings.load import Loaded
from harness.settings.schema import EpochSettings
from harness.store import BETS_FILE, Flushed, StoredRun, lock_folder
from tests.app.support import Heard, builds, shop
from tests.app.test_checkpoint import a_point
from tests.app.test_proxy import live, run, served, traffic, until

NOW_S = 1_900_000_000.0


def again(loaded: Loaded, out: Path, **options: Any) -> Loaded:
    """The same settings for another folder, to be resumed."""
    settings = loaded.settings
    proxy = msgspec.structs.replace(settings.proxy, resume=True, **options)
    return Loaded(msgspec.structs.replace(settings, proxy=proxy, store=msgspec.structs.replace(settings.store, run_dir=str(out))), {})


def snapshot_of(out: Path, to: Path) -> Path:
    """The folder as a kill at this moment leaves it, without its lock. It has the same name, as it is the same run."""
    to.mkdir()
    shutil.copytree(out, to / out.name)
    return to / out.name


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "STORE_FLUSH_SECONDS", 0.02)
    monkeypatch.setattr(checkpoint_module, "CHECKPOINT_SECONDS", 0.04)
    monkeypatch.setattr(module, "SNAPSHOT_SECONDS", 0.02)


def stored(folder: Path) -> int:
    return sum(1 for _ in StoredRun.open(folder).bets())


def written(folder: Path, requests: int) -> Callable[[], bool]:
    """Whether a checkpoint knows of so many requests, and their bets are on disk."""

    def ask() -> bool:
        point = read_checkpoint(folder)
        return point is not None and point.own.compared >= requests and point.flushed.bets > 0

    return ask


def test_evidence_counts_and_history_go_on_and_the_verdict_is_that_of_judging_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    out, ui = tmp_path / "run", Heard()
    found: list[tuple[Report, Path]] = []

    async def body() -> None:
        async with builds(shop(price=11)) as urls, traffic() as ask:
            loaded = live(out, urls, sections={"rules": (Rule(action=RuleAction.IGNORE, path="$.no_such_place"),)})
            first = LiveRun(loaded, Heard())
            async with served(first) as end:
                for number in range(20):
                    await ask(f"http://{first.address}/items/{number}")
                await until(lambda: first.state().requests == 20)
                await until(written(out, 20))
                copy = snapshot_of(out, tmp_path / "killed")
                point = read_checkpoint(copy)
                assert point is not None
                counts = Path(point.counts)
                for file in counts.glob("counts-*"):  # as a worker that outlives its supervisor does
                    shutil.copyfile(file, copy / file.name)
                (copy / CHECKPOINT_FILE).write_bytes(msgspec.json.encode(msgspec.structs.replace(point, counts="")))
                await end()
            second = LiveRun(again(loaded, copy), ui)
            async with served(second) as end:
                await until(lambda: second.state().verdict is not None)
                assert second.state().requests == 20
                assert second.state().run == "run"
                for number in range(30):
                    await ask(f"http://{second.address}/items/{number}")
                await until(lambda: second.state().requests == 50)
                found.append((await end(), copy))

    run(body)
    report, copy = found[0]
    assert "resumed epoch 1 with 20 stored trials: 0 requests lost" in " ".join(ui.warnings)
    assert (report.totals.requests, report.totals.compared, report.totals.shed) == (50, 50, {})
    assert report.verdict is VerdictState.FAIL
    finding = next(one for one in report.findings if one.path == "$.price")
    assert finding.diverged == 50
    keys = {bet.key for frame in StoredRun.open(copy).bets() for bet in decode_bets(frame).bets}
    assert len(keys) == 30, "an answer that was seen before the kill counts as the same: the key of the hashes is"
    assert finding.seen is not None
    assert judge_again(copy)[0] == report
    assert read_history(copy)[0].resumed == 1
    assert len({one.trial.id for one in StoredRun.open(copy).trials()}) == StoredRun.open(copy).record.trials, "names never come again"
    assert not list(copy.glob("counts-*"))


def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, closed: int = 0, **sections: Any) -> tuple[Path, Loaded]:
    """A run that was killed after ten requests to each epoch, of which `closed` were over."""
    quick(monkeypatch)
    out = tmp_path / "was" / "run"
    out.parent.mkdir()
    left: list[tuple[Path, Loaded]] = []

    async def body() -> None:
        async with builds(shop()) as urls, traffic() as ask:
            loaded = live(out, urls, sections=sections)
            live_run = LiveRun(loaded, Heard())
            async with served(live_run) as end:
                for epoch in range(closed + 1):
                    if epoch:
                        await live_run.new_epoch(f"b-{epoch}")
                    for number in range(10):
                        await ask(f"http://{live_run.address}/items/{number}")
                    await until(lambda: live_run.state().requests == 10)
                await until(written(out, 10 * (closed + 1)))
                left.append((snapshot_of(out, tmp_path / "killed"), loaded))
                await end()

    run(body)
    return left[0]


def test_what_is_asked_for_and_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, loaded = killed(tmp_path, monkeypatch)
    assert find(loaded, NOW_S) is None, "nobody asked for it"
    assert find(again(loaded, tmp_path / "empty"), NOW_S) is None, "there is nothing yet: a run begins"
    with pytest.raises(UsageError, match="which run"):
        find(Loaded(msgspec.structs.replace(again(loaded, folder).settings, store=type(loaded.settings.store)()), {}), NOW_S)
    lock = lock_folder(folder)
    with pytest.raises(SetupError, match="another process"):
        find(again(loaded, folder), NOW_S)
    assert lock is not None
    os.close(lock)
    left = find(again(loaded, folder), NOW_S)
    assert left is not None
    assert (left.totals.compared, left.facts.at) == (10, "2030-03-17T17:46:40Z")
    left.release()


def test_another_run_is_refused_and_the_lock_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, loaded = killed(tmp_path, monkeypatch)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    mine = again(loaded, folder)
    for changed, name in (
        ({"rules": (Rule(action=RuleAction.IGNORE, path="$.a"),)}, "rules"),
        ({"policy": "strict"}, "policy"),
        ({"labels": {"author-kind": "ai"}}, "labels"),
        ({"build": "b-2"}, "build"),
        ({"epochs": EpochSettings(build_header="X-Build")}, "epochs"),
    ):
        with pytest.raises(SetupError, match=f"begun with another {name}"):
            find(Loaded(msgspec.structs.replace(mine.settings, **changed), {}), NOW_S)
    point = read_checkpoint(folder)
    assert point is not None
    checkpoint = folder / CHECKPOINT_FILE

    def with_point(**changes: Any) -> None:
        checkpoint.write_bytes(msgspec.json.encode(msgspec.structs.replace(point, **changes)))

    with_point(version="0.0.0")
    with pytest.raises(SetupError, match=r"version of shadowdiff \(0\.0\.0\)"):
        find(mine, NOW_S)
    with_point(flushed=Flushed(bets=1_000_000))
    with pytest.raises(SetupError, match="damaged"):
        find(mine, NOW_S)
    checkpoint.unlink()
    with pytest.raises(SetupError, match="not written where it stood"):
        find(mine, NOW_S)
    with_point()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "a refusal changes nothing"
    left = find(mine, NOW_S)
    assert left is not None
    left.release()


def test_bets_of_another_kind_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, loaded = killed(tmp_path, monkeypatch)
    from harness.frames import FrameWriter, old_file  # noqa: PLC0415 - for this one test
    from harness.store import MAGIC, measured  # noqa: PLC0415 - likewise

    whole = measured(folder, Flushed(), lambda _: None).bets
    writer = FrameWriter(old_file(folder / BETS_FILE, whole.bytes), MAGIC[BETS_FILE], prefix_only=True, whole=whole)
    writer.append(b"\x01nonsense")
    writer.close()
    with pytest.raises(SetupError, match="bets cannot be read"):
        find(again(loaded, folder), NOW_S)


def test_a_closed_epoch_is_not_opened_again_and_one_that_had_just_begun_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, loaded = killed(tmp_path, monkeypatch, closed=1)
    point = read_checkpoint(folder)
    assert point is not None
    assert (point.epoch, point.build) == (2, "b-1")
    (folder / CHECKPOINT_FILE).write_bytes(msgspec.json.encode(msgspec.structs.replace(point, epoch=1)))
    with pytest.raises(SetupError, match="epoch 1 was closed"):
        find(again(loaded, folder), NOW_S)
    assert (folder / "epochs" / "run.2").is_dir(), "nothing is taken away before it is sure that the run goes on"
    (folder / CHECKPOINT_FILE).write_bytes(msgspec.json.encode(point))
    begun = folder / "epochs" / "run.3"
    begun.mkdir()
    left = find(again(loaded, folder), NOW_S)
    assert left is not None
    assert left.current == folder / "epochs" / "run.2"
    assert left.totals.compared == 10
    assert not begun.exists()
    left.release()


def slots(folder: Path, requests: int) -> None:
    folder.mkdir(mode=0o700)
    counts = Slots.create(folder / "counts-0")
    counts.tally.entered(requests)


def test_what_workers_counted_to_their_end_counts_and_is_tidied_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, loaded = killed(tmp_path, monkeypatch)
    point = read_checkpoint(folder)
    assert point is not None
    place = tmp_path / "counted"
    slots(place, 17)
    (folder / CHECKPOINT_FILE).write_bytes(msgspec.json.encode(msgspec.structs.replace(point, counts=str(place))))
    left = find(again(loaded, folder), NOW_S)
    assert left is not None
    assert (left.lost, left.totals.shed, left.totals.requests) == (7, {ShedReason.KILLED: 7}, 17)
    left.tidy()
    assert not place.exists()
    open_to_all = tmp_path / "strange"
    slots(open_to_all, 99)
    open_to_all.chmod(0o777)
    (folder / CHECKPOINT_FILE).write_bytes(msgspec.json.encode(msgspec.structs.replace(point, counts=str(open_to_all))))
    left.release()
    left = find(again(loaded, folder), NOW_S)
    assert left is not None
    assert left.totals.requests == 10, "a folder that others may write to is not believed"
    left.tidy()
    left.release()
    assert open_to_all.exists()


COUNTS = st.dictionaries(st.sampled_from(["write", "sampled_out"]), st.integers(0, 30))


@given(
    before=st.integers(0, 40),
    compared=st.integers(0, 40),
    kept=st.integers(0, 50),
    skipped=COUNTS,
    under_way=st.integers(0, 20),
    gone=st.booleans(),
)
def test_each_request_has_one_outcome_and_what_has_none_is_killed(
    *, before: int, compared: int, kept: int, skipped: dict[str, int], under_way: int, gone: bool
) -> None:
    """`kept` may be more than the checkpoint knew of, or less: the tail was not flushed."""
    base = Totals(requests=before, compared=before)
    own = Totals(compared=before + compared)
    workers = Totals(requests=before + compared + sum(skipped.values()) + under_way, skipped=skipped)
    both = msgspec.structs.replace(workers, compared=own.compared)
    point: Checkpoint = a_point(base=base, own=own, totals=both)
    totals, lost = went_where(point, None if gone else workers, kept)
    assert totals.compared == kept
    assert totals.requests == kept + lost + sum(skipped.values())
    assert lost == max(0, compared + under_way - kept)
    assert totals.shed == ({ShedReason.KILLED: lost} if lost else {})
    assert totals.diverged <= kept


def test_a_resumed_run_whose_port_is_taken_can_be_resumed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KILLED_GRACE_SECONDS", 0.0)
    folder, loaded = killed(tmp_path, monkeypatch)

    async def body() -> None:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        live_run = LiveRun(again(loaded, folder, listen=f"127.0.0.1:{port}"), Heard())
        with pytest.raises(SetupError, match="cannot listen"):
            async with served(live_run):
                pass
        server.close()
        await server.wait_closed()

    run(body)
    left = find(again(loaded, folder), NOW_S)
    assert left is not None
    assert (left.totals.compared, left.resumes) == (10, 1)
    left.release()


def test_stored_trials_that_turn_out_unreadable_end_the_judging_and_nothing_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The beginning of each trial's bets is looked at before clients are served, the rest when it is folded again."""
    folder, loaded = killed(tmp_path, monkeypatch)
    from harness.frames import FrameWriter, old_file  # noqa: PLC0415 - for this one test
    from harness.store import MAGIC, measured  # noqa: PLC0415 - likewise

    whole = measured(folder, Flushed(), lambda _: None).bets
    writer = FrameWriter(old_file(folder / BETS_FILE, whole.bytes), MAGIC[BETS_FILE], prefix_only=True, whole=whole)
    writer.append(msgspec.msgpack.encode([10, "t", "GET /", "two_arm", "secondary", 0, True, False, False, False]))
    writer.close()
    ui = Heard()

    async def body() -> None:
        live_run = LiveRun(again(loaded, folder), ui)
        async with served(live_run) as end:
            await until(lambda: live_run.state().verdict is not None)
            state = live_run.state()
            assert state.verdict is not None
            assert state.verdict.state is VerdictState.INCONCLUSIVE
            with pytest.raises(SetupError, match="bets cannot be read"):
                await end()

    run(body)
    assert any("nothing is judged any more" in said for said in ui.warnings)
