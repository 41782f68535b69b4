"""A pass that is watched: every arm is prepared and told of, effects go on the arms in recorded terms, nothing is left open."""

import asyncio
from collections.abc import Collection
from random import Random

import msgspec
import orjson
import pytest

from harness.app.parts import CountedIds, SystemClock
from harness.core.labels import EffectsSeen, Role
from harness.core.outcomes import Tally
from harness.core.values import Effect, Exchange, Request, Response, Trial, body_of
from replay.entry import CaptureEntry
from replay.runner import PassJob, PassResult, RunnerIO, run_pass
from replay.schedule import plan
from replay.sessions import group_sessions
from replay.watch import NOT_WATCHED, WatchedEffects

ARMS = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)
JSON = (("Content-Type", "application/json"),)


class Notebook:
    """Watches, and writes down what it is told."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.alone: list[bool] = []

    async def begin(self, request: Request, roles: Collection[Role], *, alone: bool) -> "Page":
        self.alone.append(alone)
        self.log.append(f"begin {request.target} {len(roles)}")
        return Page(self, request.target)


class Page:
    def __init__(self, notebook: Notebook, target: str) -> None:
        self._notebook = notebook
        self._target = target

    def prepared(self, role: Role, request: Request) -> Request:
        return msgspec.structs.replace(request, headers=(*request.headers, ("X-Arm", str(role))))

    def answered(self, role: Role) -> None:
        self._notebook.log.append(f"answered {role}")

    async def effects(self) -> WatchedEffects:
        self._notebook.log.append(f"effects {self._target}")
        found = {
            role: (Effect(collector="sqlite", operation="INSERT orders", document=orjson.dumps({"order_id": number_of(role)})),)
            for role in ARMS
        }
        return WatchedEffects(found, EffectsSeen.COMPLETE)

    def abandon(self) -> None:
        self._notebook.log.append(f"abandon {self._target}")


def number_of(role: Role) -> int:
    return 500_000 + ARMS.index(role)


def requests(*targets: str) -> list[CaptureEntry]:
    recorded = Response(201, JSON, body_of(b'{"order_id": 400000, "sum": 3}'))
    return [
        CaptureEntry(index=index, file="a.har", request=Request("POST", target, (), body_of(b"{}"), "shop.test"), recorded=recorded)
        for index, target in enumerate(targets)
    ]


async def sent(entries: list[CaptureEntry], notebook: Notebook, trials: list[Trial], *, fails: bool = False) -> PassResult:
    async def send(role: Role, request: Request) -> Exchange:
        assert dict(request.headers)["X-Arm"] == role
        if fails:
            raise OSError("no more descriptors")
        body = orjson.dumps({"order_id": number_of(role), "sum": 3})
        return Exchange(request=request, response=Response(201, JSON, body_of(body)))

    async def emit(trial: Trial) -> None:
        trials.append(trial)

    return await run_pass(
        PassJob(sessions=plan(group_sessions(entries), None), roles=ARMS, allow_writes=True, concurrency=1),
        RunnerIO(
            send=send,
            emit=emit,
            clock=SystemClock(),
            rng=Random(1),
            ids=CountedIds(),
            tally=Tally(),
            endpoint_of=lambda request: request.target,
            entity_of=lambda request: request.target,
            stop=asyncio.Event(),
            watch=notebook,
        ),
    )


def test_each_trial_is_watched_from_its_start_to_its_effects() -> None:
    notebook, trials = Notebook(), list[Trial]()
    asyncio.run(sent(requests("/orders", "/orders?b"), notebook, trials))
    assert notebook.alone == [True, True]
    assert [sorted(notebook.log[start : start + 5]) for start in (0, 5)] == [
        sorted([f"begin {target} 3", "answered stable", "answered secondary", "answered candidate", f"effects {target}"])
        for target in ("/orders", "/orders?b")
    ]
    assert [trial.effects_seen for trial in trials] == [EffectsSeen.COMPLETE] * 2


def test_effects_are_given_in_recorded_terms_as_answers_are() -> None:
    trials: list[Trial] = []
    asyncio.run(sent(requests("/orders"), Notebook(), trials))
    (trial,) = trials
    documents = {arm.role: orjson.loads(arm.effects[0].document) for arm in trial.arms()}
    assert documents == {role: {"order_id": 400_000} for role in ARMS}


def test_a_trial_that_does_not_come_to_its_end_is_given_up() -> None:
    notebook = Notebook()
    with pytest.raises(OSError, match="descriptors"):
        asyncio.run(sent(requests("/orders"), notebook, [], fails=True))
    assert notebook.log == ["begin /orders 3", "abandon /orders"]


def test_nothing_is_said_of_what_was_not_watched() -> None:
    assert NOT_WATCHED == ({}, EffectsSeen.NONE)
