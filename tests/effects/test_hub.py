"""The hub over collectors of the tests' own: order, attribution, waits, and what a broken collector costs (a lapse)."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from harness.app.parts import SystemClock
from harness.core.errors import SetupError, ShadowdiffError
from harness.core.labels import EffectsSeen, Role
from harness.core.values import Effect
from harness.effects import hub as hub_module
from harness.effects.api import Collector, Lapse, Observed, OpenTrial, TableState
from harness.effects.hub import Hub

ARMS = (Role.STABLE, Role.SECONDARY, Role.CANDIDATE)


class Scripted(Collector):
    """Says what it was told to have seen, and writes down what it is asked."""

    def __init__(self, name: str = "scripted", *, favours: bool = False, patient: bool = False) -> None:
        self.name = name
        self.version = 3
        self.favours_stable = favours
        self.log: list[str] = []
        self.waiting: list[Observed] = []
        self._patient = patient

    async def open(self, roles: Collection[Role]) -> None:
        self.log.append(f"open {len(roles)}")

    def names(self, role: Role) -> Mapping[str, str]:
        return {self.name: f"{self.name}-{role}"}

    def env(self, role: Role) -> Mapping[str, str]:
        return {self.name.upper(): str(role)}

    async def prepare(self, role: Role) -> None:
        self.log.append(f"prepare {role}")

    async def attach(self) -> None:
        self.log.append("attach")

    def begin(self, trial: OpenTrial) -> None:
        self.log.append(f"begin {trial.trace}")

    def answered(self, trial: OpenTrial, role: Role) -> None:
        self.log.append(f"answered {trial.trace} {role}")

    async def settle(self, trial: OpenTrial, deadline_ns: int) -> bool:
        self.log.append(f"settle {trial.trace}")
        return not self._patient

    async def drain(self) -> list[Observed]:
        found, self.waiting = self.waiting, []
        return found

    def end(self, trial: OpenTrial) -> None:
        self.log.append(f"end {trial.trace}")

    async def final_state(self, role: Role) -> tuple[TableState, ...]:
        rows = 2 if role is Role.CANDIDATE else 1
        return (TableState(table="orders", rows=rows, digests={}),)

    async def detach(self) -> None:
        self.log.append("detach")

    async def close(self) -> None:
        self.log.append("close")

    def lapses(self) -> tuple[Lapse, ...]:
        return (Lapse("something was missed", 2, Role.STABLE),)


class Broken(Collector):
    """Raises at everything after it was attached."""

    name = "broken"

    def begin(self, trial: OpenTrial) -> None:
        raise ValueError(trial.trace)

    async def settle(self, trial: OpenTrial, deadline_ns: int) -> bool:
        raise KeyError(deadline_ns)

    async def drain(self) -> list[Observed]:
        raise ShadowdiffError("the database is gone")

    def end(self, trial: OpenTrial) -> None:
        raise ValueError(trial.trace)

    async def final_state(self, role: Role) -> tuple[TableState, ...]:
        await asyncio.sleep(3600)
        return ()


def trial(name: str) -> OpenTrial:
    return OpenTrial(trace=name, roles=ARMS, request="r")


def effect(operation: str = "SET a") -> Effect:
    return Effect(collector="scripted", operation=operation)


def hub(*collectors: Collector) -> Hub:
    return Hub(collectors, clock=SystemClock(), wait_s=1.0, hide=lambda row: row)


def test_one_trial_from_the_opening_to_the_facts() -> None:
    async def main() -> None:
        collector = Scripted()
        one = hub(collector)
        await one.open(ARMS)
        assert one.names(Role.STABLE) == {"scripted": "scripted-stable"}
        assert one.env(Role.CANDIDATE) == {"SCRIPTED": "candidate"}
        await one.prepare()
        collector.waiting = [Observed(role=Role.STABLE, effect=effect("of the start"))]
        await one.attach()

        collector.waiting = [Observed(role=Role.STABLE, effect=effect("of the background"))]
        await one.begin(trial("t"), alone=True)
        collector.waiting = [Observed(role=Role.CANDIDATE, effect=effect())]
        one.answered(trial("t"), Role.CANDIDATE)
        found = await one.seen(trial("t"))

        assert found.effects == {Role.STABLE: (), Role.SECONDARY: (), Role.CANDIDATE: (effect(),)}
        assert found.state is EffectsSeen.COMPLETE
        await one.end_pass()
        await one.close()
        assert collector.log == [
            "open 3",
            "prepare stable",
            "prepare secondary",
            "prepare candidate",
            "attach",
            "begin t",
            "answered t candidate",
            "settle t",
            "end t",
            "detach",
            "close",
        ]
        facts = one.facts()
        (watched,) = facts.watched
        assert (watched.collector, watched.version) == ("scripted", "3")
        assert watched.seen == {"stable": 0, "secondary": 0, "candidate": 1}
        assert watched.unattributed == {"stable": 1}, "what was done between trials is nobody's; what the start did is not counted"
        assert [(lapse.what, lapse.count, lapse.role) for lapse in watched.lapses] == [("something was missed", 2, "stable")]
        assert (facts.complete, facts.timed_out, facts.tables_compared) == (1, 0, 1)
        assert [(table.table, table.values["candidate"], table.noisy) for table in facts.tables] == [("orders", "2", False)]

    asyncio.run(main())


def test_a_collector_that_still_waits_makes_a_trial_timed_out() -> None:
    async def main() -> None:
        one = hub(Scripted(), Scripted("slow", patient=True))
        await one.open(ARMS)
        await one.attach()
        await one.begin(trial("t"), alone=True)
        assert (await one.seen(trial("t"))).state is EffectsSeen.TIMED_OUT
        assert (one.facts().complete, one.facts().timed_out) == (0, 1)

    asyncio.run(main())


def test_a_collector_that_raises_or_hangs_is_a_lapse_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(hub_module, "FINAL_STATE_SECONDS_MAX", 0.05)
        sound = Scripted()
        one = hub(Broken(), sound)
        await one.open(ARMS)
        await one.attach()
        await one.begin(trial("t"), alone=True)
        sound.waiting = [Observed(role=Role.STABLE, effect=effect())]
        found = await one.seen(trial("t"))
        assert found.effects[Role.STABLE] == (effect(),)
        assert found.state is EffectsSeen.TIMED_OUT, "a collector that cannot say has not seen all"
        await one.end_pass()
        await one.close()
        said = {lapse.what: lapse.count for lapse in one.facts().watched[0].lapses}
        assert said == {
            "`begin` failed: ValueError": 1,
            "`settle` failed: KeyError": 1,
            "`end` failed: ValueError": 1,
            "the database is gone": 4,
            "`final_state` took longer than 0.05 s": 3,
        }

    asyncio.run(main())


def test_trials_side_by_side_get_what_names_them_only() -> None:
    async def main() -> None:
        collector = Scripted()
        one = hub(collector)
        await one.open(ARMS)
        await one.attach()
        await one.begin(trial("a"), alone=True)
        await one.begin(trial("b"), alone=False)
        collector.waiting = [
            Observed(role=Role.STABLE, effect=effect("named"), trace="b"),
            Observed(role=Role.STABLE, effect=effect("nameless")),
        ]
        assert (await one.seen(trial("a"))).effects[Role.STABLE] == ()
        assert (await one.seen(trial("b"))).effects[Role.STABLE] == (effect("named"),)
        assert [item.operation for item in one.facts().unattributed] == ["nameless"]

    asyncio.run(main())


def test_an_abandoned_trial_is_forgotten() -> None:
    async def main() -> None:
        collector = Scripted()
        one = hub(collector)
        await one.open(ARMS)
        await one.attach()
        await one.begin(trial("a"), alone=True)
        one.abandon(trial("a"))
        collector.waiting = [Observed(role=Role.STABLE, effect=effect(), trace="a")]
        await one.look()
        assert collector.log[-1] == "end a"
        assert one.facts().watched[0].late == {"stable": 1}

    asyncio.run(main())


def test_an_opening_that_fails_closes_what_was_open() -> None:
    class Closed(Collector):
        name = "closed"

        async def open(self, roles: Collection[Role]) -> None:
            raise SetupError("the port is taken", fix="take another")

    async def main() -> None:
        first = Scripted()
        with pytest.raises(SetupError, match="the port is taken"):
            await hub(first, Closed()).open(ARMS)
        assert first.log == ["open 3", "close"]

    asyncio.run(main())


def test_every_collector_is_told_where_all_of_them_listen() -> None:
    class Listening(Scripted):
        def __init__(self, name: str, **texts: str) -> None:
            super().__init__(name)
            self.texts = texts
            self.spared: set[tuple[str, int]] = set()

        def names(self, role: Role) -> Mapping[str, str]:
            return self.texts

        def spare(self, addresses: Collection[tuple[str, int]]) -> None:
            self.spared = set(addresses)

    one = Listening("one", egress="http://127.0.0.1:9001", ca="/tmp/ca.pem")
    other = Listening("other", redis="127.0.0.1:9002", redis_url="redis://127.0.0.1:9002/1", odd="http://[", text="nothing:at all")
    asyncio.run(hub(one, other).open(ARMS))
    assert one.spared == other.spared == {("127.0.0.1", 9001), ("127.0.0.1", 9002)}


@pytest.mark.parametrize("what", ["open", "prepare", "attach"])
def test_a_collector_that_hangs_at_the_start_is_an_error_with_its_name(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "BEGIN_SECONDS_MAX", 0.05)

    async def for_ever(*_: object) -> None:
        await asyncio.sleep(3600)

    async def main() -> None:
        stuck = Scripted("stuck")
        setattr(stuck, what, for_ever)
        one = hub(stuck)
        await one.open(ARMS)
        await one.prepare()
        await one.attach()

    with pytest.raises(SetupError, match=f"`stuck` hangs: `{what}` took longer"):
        asyncio.run(main())


def test_whether_stable_is_favoured() -> None:
    assert not hub(Scripted()).favours_stable
    assert hub(Scripted(), Scripted("other", favours=True)).favours_stable


def test_a_trial_in_which_a_collector_failed_is_not_complete() -> None:
    class Deaf(Scripted):
        failing = ""

        def begin(self, trial: OpenTrial) -> None:
            if self.failing == "begin":
                raise ValueError(trial.trace)

        async def drain(self) -> list[Observed]:
            if self.failing == "drain":
                raise ShadowdiffError("the database is gone")
            return [3] if self.failing == "kind" else []  # type: ignore[list-item]  # what no collector should give

    async def main() -> None:
        deaf = Deaf()
        one = hub(deaf, Scripted("sound"))
        await one.open(ARMS)
        await one.attach()
        for failing in ("begin", "drain", "kind"):
            deaf.failing = failing
            await one.begin(trial(failing), alone=True)
            assert (await one.seen(trial(failing))).state is EffectsSeen.TIMED_OUT, failing
        deaf.failing = ""
        await one.begin(trial("again"), alone=True)
        assert (await one.seen(trial("again"))).state is EffectsSeen.COMPLETE

    asyncio.run(main())


def test_a_collector_that_hangs_again_and_again_is_not_waited_for_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(Scripted):
        asked = 0
        hangs = True

        async def drain(self) -> list[Observed]:
            self.asked += 1
            if self.hangs:
                await asyncio.sleep(3600)
            return []

    async def main() -> None:
        monkeypatch.setattr(hub_module, "DRAIN_SECONDS_MAX", 0.02)
        collector = Hanging()
        one = hub(collector)
        await one.open(ARMS)
        for _ in range(hub_module.HANGS_MAX - 1):
            await one.look()
        collector.hangs = False
        await one.look()
        collector.hangs = True
        for _ in range(hub_module.HANGS_MAX + 5):
            await one.look()
        assert collector.asked == 2 * hub_module.HANGS_MAX, "once it had answered it was trusted again"
        said = {lapse.what: lapse.count for lapse in one.facts().watched[0].lapses}
        assert said["`drain` was not tried again"] == 5

    asyncio.run(main())


def test_lapses_that_cannot_be_had_are_a_lapse() -> None:
    class Mute(Scripted):
        def lapses(self) -> tuple[Lapse, ...]:
            raise KeyError("lapses")

    one = hub(Mute())
    one.facts()
    (lapse,) = one.facts().watched[0].lapses
    assert (lapse.what, lapse.count, lapse.blind) == ("`lapses` failed: KeyError", 1, True)


@pytest.mark.parametrize("how", ["raises", "says so"])
@pytest.mark.parametrize("role", [Role.SECONDARY, Role.CANDIDATE])
def test_a_table_that_could_not_be_looked_at_is_not_taken_for_absent(role: Role, how: str) -> None:
    class Shy(Scripted):
        missed = 0

        async def final_state(self, asked: Role) -> tuple[TableState, ...]:
            orders, stock = (TableState(table=name, rows=1, digests={}) for name in ("orders", "stock"))
            if asked is not role:
                return (orders, stock)
            self.missed += 1
            if how == "raises":
                raise ShadowdiffError("the database is gone")
            return (stock,)

        def lapses(self) -> tuple[Lapse, ...]:
            return (Lapse("orders could not be read", self.missed, blind=False),) if self.missed else ()

    async def main() -> None:
        one = hub(Shy())
        await one.open(ARMS)
        await one.end_pass()
        assert one.facts().tables == ()
        assert one.facts().tables_compared == (0 if how == "raises" else 1)

    asyncio.run(main())


def test_what_comes_of_a_judged_trial_while_builds_start_anew_is_counted_as_late() -> None:
    async def main() -> None:
        collector = Scripted()
        one = hub(collector)
        await one.open(ARMS)
        await one.attach()
        await one.begin(trial("t"), alone=True)
        await one.seen(trial("t"))
        await one.end_pass()
        collector.waiting = [
            Observed(role=Role.STABLE, effect=effect("of the last batch"), trace="t"),
            Observed(role=Role.STABLE, effect=effect("of the start")),
            Observed(role=Role.STABLE, effect=effect("of the start"), trace="of its own"),
        ]
        await one.attach()
        assert [item.operation for item in one.facts().unattributed] == ["of the last batch"]
        assert one.facts().watched[0].late == {"stable": 1}

    asyncio.run(main())


def test_a_trial_that_is_cancelled_while_its_effects_are_waited_for_is_over() -> None:
    class Waiting(Scripted):
        def __init__(self) -> None:
            super().__init__()
            self.asked = asyncio.Event()

        async def settle(self, trial: OpenTrial, deadline_ns: int) -> bool:
            self.asked.set()
            await asyncio.sleep(3600)
            return True

    async def main() -> None:
        collector = Waiting()
        one = hub(collector)
        await one.open(ARMS)
        await one.begin(trial("t"), alone=True)
        task = asyncio.create_task(one.seen(trial("t")))
        await collector.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert collector.log[-1] == "end t"
        collector.waiting = [Observed(role=Role.STABLE, effect=effect(), trace="t")]
        await one.look()
        assert one.facts().watched[0].late == {"stable": 1}

    asyncio.run(main())


def test_each_collector_that_was_opened_is_closed_once_and_no_other() -> None:
    class Closed(Scripted):
        async def open(self, roles: Collection[Role]) -> None:
            raise SetupError("the port is taken", fix="take another")

    async def main() -> None:
        first, second, third = Scripted("first"), Closed("second"), Scripted("third")
        one = hub(first, second, third)
        with pytest.raises(SetupError):
            await one.open(ARMS)
        await one.close()
        assert (first.log, second.log, third.log) == (["open 3", "close"], ["close"], [])

    asyncio.run(main())


def test_a_cancellation_while_one_is_closed_does_not_leave_the_others_open() -> None:
    class Slow(Scripted):
        def __init__(self) -> None:
            super().__init__("slow")
            self.closing = asyncio.Event()

        async def close(self) -> None:
            self.closing.set()
            await asyncio.sleep(3600)

    async def main() -> None:
        slow, other = Slow(), Scripted()
        one = hub(slow, other)
        await one.open(ARMS)
        task = asyncio.create_task(one.close())
        await slow.closing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert other.log[-1] == "close"

    asyncio.run(main())


def test_generated_keys_are_told_by_where_they_were_made_and_that_is_counted() -> None:
    def row(number: int) -> Effect:
        return Effect(collector="scripted", operation="INSERT orders", document=b'{"row":{"id":%d,"sku":"lamp"}}' % number, keys=("id",))

    async def one_trial(one: Hub, collector: Scripted, name: str, rows: Mapping[Role, list[int]]) -> list[tuple[bytes, ...]]:
        await one.begin(trial(name), alone=True)
        collector.waiting = [Observed(role=role, effect=row(number)) for role, numbers in rows.items() for number in numbers]
        found = await one.seen(trial(name))
        return [tuple(effect.document for effect in found.effects[role]) for role in ARMS]

    async def main() -> None:
        collector = Scripted()
        one = hub(collector, Scripted("other"))
        await one.open(ARMS)
        await one.attach()
        first = await one_trial(one, collector, "a", {Role.STABLE: [1], Role.SECONDARY: [1], Role.CANDIDATE: [1, 2]})
        assert first[0] == first[1] == (b'{"row":{"id":1,"sku":"lamp"}}',)
        assert first[2][1] == b'{"row":{"id":"orders#1.2","sku":"lamp"}}'
        second = await one_trial(one, collector, "b", {Role.STABLE: [2], Role.SECONDARY: [2], Role.CANDIDATE: [3]})
        assert second[0] == second[1] == second[2] == (b'{"row":{"id":"orders#2.1","sku":"lamp"}}',)
        said = [
            [(lapse.what, lapse.count, lapse.blind) for lapse in watched.lapses if "keys" in lapse.what] for watched in one.facts().watched
        ]
        assert said == [[("generated keys were compared by where they were made, not by number", 2, False)], []]
        await one.attach()
        again = await one_trial(one, collector, "c", {Role.STABLE: [1], Role.SECONDARY: [1], Role.CANDIDATE: [1, 2]})
        assert again == first, "a fresh state begins anew"

    asyncio.run(main())


def test_an_interrupted_pass_has_no_states_to_compare() -> None:
    async def main() -> None:
        collector = Scripted()
        one = hub(collector)
        await one.open(ARMS)
        collector.waiting = [Observed(role=Role.STABLE, effect=effect())]
        await one.end_pass(whole=False)
        assert one.facts().tables_compared == 0
        assert one.facts().watched[0].unattributed == {"stable": 1}
        assert collector.log[-1] == "detach"

    asyncio.run(main())


def test_what_others_saw_is_told_though_one_fails_and_nobody_takes_it_for_all() -> None:
    class Deaf(Scripted):
        failing = True

        async def drain(self) -> list[Observed]:
            if self.failing:
                raise ShadowdiffError("the database is gone")
            return await super().drain()

    async def main() -> None:
        deaf, sound = Deaf("deaf"), Scripted()
        one = hub(deaf, sound)
        await one.open(ARMS)
        sound.waiting = [Observed(role=Role.STABLE, effect=effect(), trace="t")]
        assert await one.drained(60.0) == ([Observed(role=Role.STABLE, effect=effect(), trace="t")], 0, True)
        deaf.failing = False
        whole = await one.drained(60.0)
        assert (whole.observed, whole.failed) == ([], False)
        assert whole.told_ns > 0
        deaf.failing = True
        assert await one.drained(60.0) == ([], whole.told_ns, True)
        assert [(lapse.what, lapse.count) for lapse in one.facts().watched[0].lapses][-1] == ("the database is gone", 2)

    asyncio.run(main())


def test_who_hangs_holds_up_nobody_and_what_it_saw_is_told_when_it_answers() -> None:
    class Slow(Scripted):
        def __init__(self) -> None:
            super().__init__("slow")
            self.free = asyncio.Event()

        async def drain(self) -> list[Observed]:
            await self.free.wait()
            return await super().drain()

    async def main() -> None:
        slow, sound = Slow(), Scripted()
        one = hub(slow, sound)
        await one.open(ARMS)
        slow.waiting = [Observed(role=Role.STABLE, effect=effect("late"), trace="t")]
        for operation in ("a", "b"):
            sound.waiting = [Observed(role=Role.STABLE, effect=effect(operation), trace="t")]
            found = await one.drained(0.2 if operation == "a" else 60.0)
            assert [seen.effect.operation for seen in found.observed] == [operation]
            assert (found.told_ns, found.failed) == (0, False), "the one that hangs has told nothing"
        asyncio.get_running_loop().call_later(0.05, slow.free.set)
        found = await one.drained(60.0, stragglers=True)
        assert [seen.effect.operation for seen in found.observed] == ["late"]
        assert found.told_ns > 0
        slow.free.clear()
        await one.drained(0.01)
        await one.close()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.wait(left, timeout=60.0)
        assert all(task.cancelled() for task in left)

    asyncio.run(main())


def test_what_is_no_observation_costs_the_others_nothing() -> None:
    class Strange(Scripted):
        async def drain(self) -> list[Observed]:
            return [3]  # type: ignore[list-item]  # what no collector should give

    async def main() -> None:
        sound = Scripted()
        one = hub(Strange("strange"), sound)
        await one.open(ARMS)
        sound.waiting = [Observed(role=Role.STABLE, effect=effect())]
        found = await one.drained(60.0)
        assert (len(found.observed), found.told_ns, found.failed) == (1, 0, True)
        assert one.facts().watched[0].lapses[-1].what == "`drain` gave out what is no observation"

    asyncio.run(main())


@pytest.mark.parametrize("what", ["open", "prepare", "attach"])
def test_a_collector_that_fails_at_the_start_is_an_error_with_its_name(what: str) -> None:
    async def fails(*_: object) -> None:
        raise KeyError("no such slot")

    async def main() -> None:
        broken = Scripted("broken")
        setattr(broken, what, fails)
        one = hub(broken)
        await one.open(ARMS)
        await one.prepare()
        await one.attach()

    with pytest.raises(SetupError, match=f"`broken` failed: `{what}` raised KeyError"):
        asyncio.run(main())


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
def test_an_attach_that_does_not_come_to_its_end_lets_go_of_what_is_the_builds(how: str) -> None:
    class Unready(Scripted):
        def __init__(self) -> None:
            super().__init__("unready")
            self.asked = asyncio.Event()

        async def attach(self) -> None:
            if how == "fails":
                raise SetupError("the database is gone", fix="start it")
            self.asked.set()
            await asyncio.sleep(3600)

    async def main() -> None:
        first, second = Scripted(), Unready()
        one = hub(first, second)
        await one.open(ARMS)
        attaching = asyncio.create_task(one.attach())
        if how == "is cancelled":
            await second.asked.wait()
            attaching.cancel()
        with pytest.raises(SetupError if how == "fails" else asyncio.CancelledError):
            await attaching
        assert first.log[-1] == second.log[-1] == "detach"

    asyncio.run(main())
