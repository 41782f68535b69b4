"""What the collector says of a build that talks to a real Redis server through it."""

import asyncio
import hashlib
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from harness.core import limits
from harness.core.errors import SetupError, UsageError
from harness.core.labels import Role
from harness.effects.redis.collector import RedisCollector
from tests.effects.redis.conftest import PATIENCE_S, TRIAL, Failed, Play, Rig, collector_of, connected, packed, rig_of, until


def test_writes_are_effects_and_reads_are_not(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        client = await rig.client()
        assert await client.do("SET", "cart:1042", '{"items":[7]}', "EX", 60) == "OK"
        assert await client.do("GET", "cart:1042") == b'{"items":[7]}'
        assert await client.do("HSET", "user:8f14e45fceea167a5a36dedd4bea2543", "name", "Ann", "age", 7) == 2
        assert isinstance(await client.do("INCR", "cart:1042"), Failed)
        assert await client.do("DEL", "cart:1042", "cart:1043") == 1
        assert await client.do("PUBLISH", "orders:7", "made") == 0
        stream = await client.do("XADD", "log", "MAXLEN", "~", 1000, "*", "what", "x")
        assert b"-" in stream
        assert await client.do("EVAL", "return redis.call('SET', KEYS[1], ARGV[1])", 1, "k:1", "v") == "OK"
        script = hashlib.sha1(b"return redis.call('SET', KEYS[1], ARGV[1])").hexdigest()
        assert await rig.seen() == [
            ("SET cart:{int}", {"key": "cart:1042", "value": {"items": [7]}, "ex": 60}),
            ("HSET user:{hex}", {"key": "user:8f14e45fceea167a5a36dedd4bea2543", "fields": {"name": "Ann", "age": "7"}}),
            ("DEL cart:{int}", {"keys": ["cart:1042", "cart:1043"]}),
            ("PUBLISH orders:{int}", {"channel": "orders:7", "message": "made"}),
            ("XADD log", {"key": "log", "maxlen": 1000, "id": "*", "fields": {"what": "x"}}),
            (f"EVAL {script[:12]} k:{{int}}", {"script": script, "keys": ["k:1"], "args": ["v"]}),
        ]
        assert await client.do("FLUSHALL") == "OK"
        assert await rig.seen() == [("FLUSHALL *", {"args": []})]

    assert play(scene).lapses() == []


def test_effects_say_what_they_are(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        client = await rig.client()
        before = time.monotonic_ns()
        await client.do("SET", "a", 1)
        (seen,) = await rig.collector.drain()
        assert (seen.role, seen.trace, seen.effect.collector, seen.effect.writes) == (Role.STABLE, "", "redis", True)
        assert before <= seen.effect.at_ns <= time.monotonic_ns()

    play(scene)


def test_transactions_are_what_exec_did(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        client, other = await rig.client(), await rig.client()
        client.writer.write(
            b"".join([packed("MULTI"), packed("SET", "a", "x"), packed("INCR", "a"), packed("SET", "b", "y"), packed("EXEC")])
        )
        replies = [await client.reply() for _ in range(5)]
        assert replies[:4] == ["OK", "QUEUED", "QUEUED", "QUEUED"]
        assert [operation for operation, _ in await rig.seen()] == ["SET a", "SET b"]
        assert await client.do("WATCH", "a") == "OK"
        await other.do("SET", "a", "changed")
        await client.do("MULTI")
        await client.do("SET", "a", "never")
        assert await client.do("EXEC") is None
        await client.do("MULTI")
        await client.do("SET", "a", "never")
        await client.do("DISCARD")
        await client.do("MULTI")
        assert isinstance(await client.do("SET", "a"), Failed)
        assert isinstance(await client.do("EXEC"), Failed)
        assert [document["value"] for _, document in await rig.seen()] == ["changed"]

    assert play(scene).lapses() == []


def test_resp3_pushes_blocking_commands_and_switched_off_replies(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        client, other = await rig.client(), await rig.client()
        hello = await client.do("HELLO", 3)
        assert hello[b"proto"] == 3
        assert (await client.do("SUBSCRIBE", "news"))[0] == b"subscribe"
        await other.do("PUBLISH", "news", "x")
        assert await client.reply() == [b"message", b"news", b"x"]
        assert await client.do("SET", "a", 1) == "OK"
        client.send("BLPOP", "queue", 0)
        await client.writer.drain()
        assert await rig.collector.settle(TRIAL, time.monotonic_ns())
        await other.do("RPUSH", "queue", "job")
        assert await client.reply() == [b"queue", b"job"]
        assert await client.do("LPOP", "queue") is None
        client.send("CLIENT", "REPLY", "OFF")
        client.send("SET", "b", 1)
        client.send("CLIENT", "REPLY", "ON")
        assert await client.reply() == "OK"
        # What Redis tells first, the one that popped or the one that pushed, is its own affair.
        assert sorted(operation for operation, _ in await rig.seen()) == ["BLPOP queue", "PUBLISH news", "RPUSH queue", "SET a", "SET b"]

    assert play(scene).lapses() == []


def test_resp2_subscriptions(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        client, other = await rig.client(), await rig.client()
        client.send("SUBSCRIBE", "a", "b")
        assert [(await client.reply())[2] for _ in range(2)] == [1, 2]
        assert await other.do("PUBLISH", "a", "x") == 1
        assert await client.reply() == [b"message", b"a", b"x"]
        client.send("UNSUBSCRIBE")
        client.send("SET", "k", 1)
        assert [(await client.reply())[2] for _ in range(2)] == [1, 0]
        assert await client.reply() == "OK"
        assert await client.do("SET", "k", 2) == "OK"
        assert [operation for operation, _ in await rig.seen()] == ["PUBLISH a", "SET k", "SET k"]

    assert play(scene).lapses() == []


def test_inline_commands_and_a_long_pipeline(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        client = await rig.client()
        client.writer.write(b"SET 'a b' \"c\\n\"\r\n")
        assert await client.reply() == "OK"
        client.writer.write(b"".join(packed("SET", f"k:{index}", "v" * 100) for index in range(5000)))
        for _ in range(5000):
            assert await client.reply() == "OK"
        seen = await rig.seen()
        assert seen[0] == ("SET a b", {"key": "a b", "value": "c\n"})
        assert [document["key"] for _, document in seen[1:]] == [f"k:{index}" for index in range(5000)]
        assert {operation for operation, _ in seen[1:]} == {"SET k:{int}"}

    assert play(scene).lapses() == []


def test_a_large_value_passes_and_is_cut(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        client = await rig.client()
        value = bytes(range(256)) * 2**17
        assert await client.do("SET", "big", value) == "OK"
        assert await client.do("GET", "big") == value
        ((_, document),) = await rig.seen()
        assert document["value"].endswith(f"{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()}")
        assert len(document["value"]) < limits.EFFECT_DOCUMENT_BYTES_MAX

    assert play(scene).lapses() == []


def test_garbage_is_answered_by_the_server_and_ends_the_watching_of_that_connection_only(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        client, other = await rig.client(), await rig.client()
        client.writer.write(b"*1\r\n+nonsense\r\n")
        assert "Protocol error" in str(await client.reply())
        assert await client.reader.read() == b""
        await other.do("SET", "a", 1)
        assert [operation for operation, _ in await rig.seen()] == ["SET a"]

    (lapse,) = play(scene).collector.lapses()
    assert (lapse.role, lapse.blind) == (Role.STABLE, True)


def test_credentials_are_in_no_effect_and_no_lapse(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        client = await rig.client()
        await client.do("AUTH", "hunter2")
        await client.do("HELLO", 3, "AUTH", "me", "hunter2")
        await client.do("CONFIG", "SET", "masterauth", "hunter2")
        await client.do("ACL", "SETUSER", "someone", ">hunter2")
        await client.do("MIGRATE", "127.0.0.1", 1, "", 0, 10, "AUTH", "hunter2", "KEYS", "a")
        assert await rig.seen() == [("MIGRATE a", {"keys": ["a"]})]
        await client.do("CONFIG", "SET", "masterauth", "")
        await client.do("ACL", "DELUSER", "someone")

    assert "hunter2" not in str(play(scene).lapses())


def test_what_is_done_while_starting_and_stopping_is_not_told_of(redis_server: str, tmp_path: Path) -> None:
    async def main() -> None:
        collector = collector_of(tmp_path, {"upstream": redis_server})
        await collector.open([Role.STABLE])
        rig = Rig(collector)
        client = await rig.client()
        await client.do("SET", "a", 1)
        await collector.attach()
        await client.do("SET", "a", 2)
        await collector.detach()
        await client.do("SET", "a", 3)
        assert [document["value"] for _, document in await rig.seen()] == ["2"]
        await rig.close()

    asyncio.run(main())


def test_settle_waits_for_replies_and_gives_up_in_time(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        client, other = await rig.client(), await rig.client()
        await other.do("CLIENT", "PAUSE", 60_000, "WRITE")
        client.send("SET", "a", 1)
        await client.writer.drain()
        await until(lambda: any(one.tracker.waiting for one in rig.collector._clients))
        assert not await rig.collector.settle(TRIAL, time.monotonic_ns() + 20_000_000)
        assert [lapse.blind for lapse in rig.collector.lapses()] == [False]
        settled = asyncio.create_task(rig.collector.settle(TRIAL, time.monotonic_ns() + int(PATIENCE_S * 1e9)))
        await other.do("CLIENT", "UNPAUSE")
        assert await settled
        assert len(await rig.seen()) == 1

    play(scene)


def test_undrained_effects_are_bounded(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EFFECTS_UNDRAINED_MAX", 3)

    async def scene(rig: Rig) -> None:
        client = await rig.client()
        for _ in range(5):
            await client.do("INCR", "n")
        assert len(await rig.seen()) == 3

    assert [lapse.count for lapse in play(scene).collector.lapses()] == [2]


def test_targets_that_share_a_server_have_databases_of_their_own(redis_server: str, tmp_path: Path) -> None:
    async def main() -> None:
        databases = {"stable": 4, "secondary": 5, "candidate": 6}
        async with rig_of(tmp_path, *Role, upstream=redis_server, database_of=databases) as rig:
            for role in Role:
                client = await rig.client(role)
                await client.do("SET", "who", role)
                url = rig.collector.names(role)["redis_url"]
                assert url == f"redis://{rig.collector.names(role)['redis']}/{databases[role]}"
            direct = await rig.direct(redis_server)
            for role in Role:
                await direct.do("SELECT", databases[role])
                assert await direct.do("GET", "who") == str(role).encode()
            assert [document for _, document in await rig.seen()] == [{"key": "who", "value": str(role)} for role in Role]
            await client.do("SELECT", 0)
            await client.do("SET", "who", "me")
            assert await rig.seen() == [("SET who", {"key": "who", "value": "me", "database": 0})]
            assert ["not its own" in what for what in rig.lapses()] == [True]

    asyncio.run(main())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"upstream_of": {"candidate": "10.0.0.1:6379"}},
        {"database_of": {"stable": 0, "secondary": 1}},
        {"database_of": {"stable": 0, "secondary": 1, "candidate": 0}},
    ],
)
def test_targets_that_would_share_their_data_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match=r"would share the data of 127\.0\.0\.1:6379"):
            await collector_of(tmp_path, options).open(list(Role))

    asyncio.run(main())


def test_servers_of_their_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig_of(tmp_path, *Role, upstream="unix:/run/{role}.sock", upstream_of={"stable": "[::1]:6379"}) as rig:
            assert [str(rig.collector._upstreams[role]) for role in Role] == [
                "[::1]:6379",
                "unix:/run/secondary.sock",
                "unix:/run/candidate.sock",
            ]
            assert rig.collector.names(Role.STABLE)["redis_url"] == "redis://" + rig.collector.names(Role.STABLE)["redis"]

    asyncio.run(main())


def test_wrong_options_are_named_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        collector_of(tmp_path, {"upstream": "nowhere", "listen": {"stable": "unix:/x"}, "database_of": {"stable": -1}, "upstreams": 1})
    text = str(caught.value)
    for part in (
        "effects.redis.upstream: 'nowhere'",
        "effects.redis.listen: stable",
        "effects.redis.database_of",
        "effects.redis.upstreams: unknown key",
    ):
        assert part in text


def test_a_port_that_is_taken_is_an_error_of_setup(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig_of(tmp_path, upstream="127.0.0.1:1") as rig:
            taken = rig.collector.names(Role.STABLE)["redis"]
            other = collector_of(tmp_path, {"listen": {"stable": taken}})
            with pytest.raises(SetupError, match="cannot listen"):
                await other.open([Role.STABLE])
            await other.close()

    asyncio.run(main())


def test_closing_ends_connections_and_the_port_is_free_again(redis_server: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig_of(tmp_path, upstream=redis_server) as rig:
            client = await rig.client()
            await client.do("PING")
            address = rig.collector.names(Role.STABLE)["redis"]
            await rig.collector.close()
            assert await client.reader.read() == b""
            with pytest.raises(ConnectionRefusedError):
                await connected(address)

    asyncio.run(main())


def test_redis_cli_through_the_relay(play: Play) -> None:
    program = shutil.which("redis-cli")
    if program is None:
        pytest.skip("redis-cli is not installed: run sh tests/prepare.sh")

    async def scene(rig: Rig) -> None:
        host, _, port = rig.collector.names(Role.STABLE)["redis"].rpartition(":")
        command = [program, "-3", "-h", host, "-p", port, "SET", "from:cli", "1"]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=PATIENCE_S, check=True)
        assert done.stdout == b"OK\n"
        assert await rig.seen() == [("SET from:cli", {"key": "from:cli", "value": "1"})]

    assert play(scene).lapses() == []


def test_it_is_the_entry_point() -> None:
    assert (RedisCollector.name, RedisCollector.favours_stable) == ("redis", False)
