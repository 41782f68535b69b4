"""The room of a run: its bound holds over all its epochs together."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from harness.app.proxy import LiveRun
from harness.app.retention import kept_runs
from harness.app.room import make_room, room_of_epoch, size_of
from harness.settings.load import Loaded
from harness.settings.schema import EpochSettings, Settings, StoreSettings
from tests.app.support import Heard, builds, report_in
from tests.app.test_proxy import live, run, served, traffic

MB = 1_000_000


def settings(epochs: EpochSettings | None = None, whole: float | None = 3.0 * MB) -> Settings:
    return Settings(store=StoreSettings(max_disk=whole), epochs=epochs or EpochSettings())


def test_a_run_of_one_epoch_has_all_the_room_and_one_of_several_shares_it() -> None:
    assert room_of_epoch(settings(), first=True) == 3.0 * MB
    for epochs in (EpochSettings(period_s=3600.0), EpochSettings(build_header="X-Build"), EpochSettings(version_path="/version")):
        assert room_of_epoch(settings(epochs), first=True) == 1.0 * MB
    assert room_of_epoch(settings(), first=False) == 1.0 * MB
    assert room_of_epoch(settings(whole=None), first=False) == float("inf")


def folder(path: Path, size: int) -> Path:
    path.mkdir(parents=True)
    (path / "bets").write_bytes(os.urandom(size))
    return path


@pytest.mark.parametrize(
    ("first", "removed"), [(0, 0), (500_000, 1), (800_000, 1), (900_000, 2), (1_200_000, 2), (1_900_000, 3), (2_900_000, 3)]
)
def test_the_oldest_epochs_make_room_for_the_next(first: int, removed: int, tmp_path: Path) -> None:
    whole = folder(tmp_path / "run", first)
    ended = [folder(whole / "epochs" / f"run.{number}", 500_000) for number in (2, 3, 4)]
    room = make_room(settings(), whole, ended)
    assert [each.exists() for each in ended] == [number >= removed for number in range(3)]
    assert size_of(whole) + room <= 3.0 * MB
    assert room == 1.0 * MB or removed == 3


def test_without_a_bound_nothing_goes(tmp_path: Path) -> None:
    ended = folder(tmp_path / "epochs" / "run.2", 10)
    assert make_room(settings(whole=None), tmp_path, [ended]) == float("inf")
    assert ended.exists()


@pytest.mark.parametrize("header", [None, "X-Build"])
def test_store_max_disk_holds_for_a_live_run_with_all_its_epochs(header: str | None, tmp_path: Path) -> None:
    """Six epochs, each with half a megabyte of requests that no compression makes smaller, in one megabyte."""
    out, ui = tmp_path / "run", Heard()

    async def noise(_: web.Request) -> web.Response:
        return web.Response(body=os.urandom(20_000))

    async def body() -> None:
        async with builds(noise, stable=noise) as urls, traffic() as ask:
            plain = live(out, urls, sections={"epochs": EpochSettings(build_header=header)})
            store = msgspec.structs.replace(plain.settings.store, max_disk=1.0 * MB, keep="all")
            live_run = LiveRun(Loaded(msgspec.structs.replace(plain.settings, store=store), {}), ui)
            async with served(live_run) as end:
                for epoch in range(6):
                    for number in range(16):
                        assert (await ask(f"http://{live_run.address}/items/{number}"))[0] == 200
                    while live_run.state().requests < 16:
                        await asyncio.sleep(0.02)
                        live_run._note(await live_run._results.snapshot())  # brings the count up to date
                    if epoch < 5:
                        await live_run.new_epoch(None)
                await end()

    run(body)
    files = [path for path in out.rglob("*.msgpack*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) <= 1.0 * MB
    last = out / "epochs" / "run.6"
    assert report_in(last).totals.compared == 16
    assert any("beyond the bound" in blind.what for blind in report_in(last).blind)
    (kept,) = kept_runs(tmp_path)
    assert kept.size == size_of(out) >= sum(path.stat().st_size for path in files), "retention counts the folders of epochs too"
