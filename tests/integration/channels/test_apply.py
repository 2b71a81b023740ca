"""Applying plans through the worst: calls carried out late, cancellations at any point, two operators at once."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.domain.channels.file import load_channels
from shared.domain.channels.lock import SETTLED, LockedWays
from shared.domain.channels.model import Channels
from shared.domain.channels.plans import Observed, Plan, StepKind, make_plan
from shared.domain.errors import ConfigurationError, QueueUnavailable, TransientError
from shared.domain.ids import CorpId
from shared.quota.port import Limits
from shared.state.ways import CLAIM
from shared.wecom.client import WeCom, open_wecom
from simulator import Fault, Simulator, SimulatorConfig, run_simulator
from tests.doubles.notices import MemoryNotices
from tests.doubles.quota import MemoryQuota
from tests.doubles.ways import MemoryWays
from tests.rigs.interruptions import campaign, channels_file
from workers.jobs import apply as apply_module
from workers.jobs.apply import Applied, Apply, Contested, Unkept
from workers.jobs.way_reader import WayReader
from workers.patience import Patience

ADD = "externalcontact/add_contact_way"


async def at_once(_: float) -> None:
    """Wait no time at all."""
    await asyncio.sleep(0)


class Operator:
    """One operator with a state of their own, on the simulator's clock."""

    def __init__(self, simulator: Simulator, wecom: WeCom, ways: MemoryWays, notices: MemoryNotices) -> None:
        self.simulator = simulator
        self.ways = ways
        self.notices = notices
        self.written = lambda: None
        self.away_after: int | None = None
        self.stop = asyncio.Event()
        self.news: list[str] = []
        self._wecom = wecom

    def reader(self) -> WayReader:
        return WayReader(self._wecom, sleep=at_once)

    async def plan(self, channels: Channels, *, prune: bool = False) -> Plan:
        lock = await self.ways.read()
        observed = await self.reader().observe(channels, lock, now=self.simulator.clock.time())
        return make_plan(channels, lock, observed, prune=prune)

    async def carry_out(self, plan: Plan) -> Applied:
        apply = Apply(
            self._wecom,
            self.reader(),
            lock=await self.ways.read(),
            write=self._write,
            clock=self.simulator.clock,
            stop=self.stop,
            notify=self.news.append,
            pace=0.0,
        )
        return await apply.run(plan)

    async def apply(self, channels: Channels, *, prune: bool = False) -> Applied:
        return await self.carry_out(await self.plan(channels, prune=prune))

    async def _write(self, before: LockedWays, after: LockedWays) -> None:
        await asyncio.sleep(0)
        if self.away_after is not None:
            self.away_after -= 1
            if self.away_after < 0:
                raise QueueUnavailable("the state is away")
        await self.ways.write("", before, after)
        self.written()

    async def is_right(self, channels: Channels) -> bool:
        """Tell whether there is one way for each channel, and the lock has it and nothing else."""
        lock = await self.ways.read()
        ways = {way.fields["state"]: config_id for config_id, way in self.simulator.corp.ways.items()}
        locked = {way.state: way.config_id for way in lock.channels.values()}
        return len(self.simulator.corp.ways) == len(channels.all) and locked == ways and not lock.retired


@pytest.fixture
async def simulator():
    simulator = Simulator(SimulatorConfig.quiet())
    async with run_simulator(simulator):
        yield simulator


@pytest.fixture
async def operator(simulator):
    async with opened(simulator) as operator:
        yield operator


@asynccontextmanager
async def opened(simulator: Simulator, *, timeout: float = 5.0) -> AsyncIterator[Operator]:
    corp = CorpId(simulator.corp.corp_id)
    async with open_wecom(
        base_url=simulator.scenario.world.url,
        corp=corp,
        corp_secret=simulator.app.secret,
        quota=MemoryQuota(Limits(), simulator.clock),
        timeout=timeout,
    ) as wecom:
        notices = MemoryNotices()
        yield Operator(simulator, wecom, MemoryWays(corp, notices), notices)


def numbered(count: int) -> Channels:
    return load_channels(channels_file(count))


async def test_ways_that_come_after_everybody_gave_up_are_found(simulator):
    """
    Calls carried out long after their caller gave up make ways twice; a later run deletes all but one of each.

    Every add takes longer than the caller waits: each attempt makes a way that is not there yet when looked for.
    """
    channels = numbered(4)
    simulator.configure(latency={ADD: 0.9}, latency_scale=1.0, default_latency=0.0)
    async with opened(simulator, timeout=0.3) as operator:
        first = await operator.apply(channels)
        await until_quiet(simulator)
        assert len(simulator.corp.ways) > 4, "nothing was made twice, so nothing is proved"
        simulator.configure(latency_scale=0.0)
        for _ in range(3):
            last = await operator.apply(channels)
            simulator.clock.advance(SETTLED)
        assert last.complete
        assert await operator.is_right(channels), (first, await operator.ways.read())
        assert (await operator.ways.read()).intents == {}


async def until_quiet(simulator: Simulator) -> None:
    async with asyncio.timeout(5):
        while simulator.limits.in_flight[ADD]:
            await asyncio.sleep(0.01)


async def test_an_apply_cancelled_at_random_points_makes_each_way_once(simulator, operator):
    """However often it is cut off, and with answers lost in between: in the end there is one way for each channel."""
    chance = random.Random(7)
    channels = numbered(60)
    for fault in (Fault.RESET_AFTER, Fault.RESET):
        simulator.fail(fault, ADD, rate=0.1)
    cut = 0
    while len(simulator.corp.ways) < 55:
        # Cut off after so many steps of the lock, which is anywhere: before, in and after a call.
        to_do = chance.randint(1, 25)
        task_done = await cut_off(operator, channels, to_do)
        cut += not task_done
    assert cut >= 5
    assert (await operator.apply(channels)).complete
    assert await operator.is_right(channels)


async def cut_off(operator: Operator, channels: Channels, to_do: int) -> bool:
    """Apply *channels* until the lock has been written *steps* times; tell whether it was done by then."""
    left = to_do

    def count() -> None:
        nonlocal left
        left -= 1
        if left <= 0 and not task.done():
            task.cancel()

    operator.written = count
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(operator.apply(channels))
        return not task.cancelled()
    finally:
        operator.written = lambda: None


async def test_two_operators_with_states_of_their_own_do_not_delete_each_others_ways(simulator):
    """When more ways came than we can have made, none is taken and none deleted, and the step fails saying so."""
    channels = numbered(1)
    async with opened(simulator) as operator:
        plan = await operator.plan(channels)
        for _ in range(2):
            simulator.add_contact_way("qd_c0", ["lin.qiao"])
        for way in simulator.corp.ways.values():
            way.fields["remark"] = "渠道0"
        simulator.fail(Fault.RESET, ADD, count=1)
        outcome = await operator.carry_out(plan)
        (failure,) = outcome.failed
        assert isinstance(failure.error, Contested)
        assert len(simulator.corp.ways) == 2
        assert list((await operator.ways.read()).ways()) == []


async def test_a_limit_that_was_hit_makes_nothing_twice_and_is_waited_for(simulator, operator):
    """45033 and a refused token did nothing, so the call is simply made again."""
    for code in (45033, 42001, 42001):
        simulator.fail(Fault.ERRCODE, ADD, code=code, count=1)
    channels = numbered(2)
    assert (await operator.apply(channels)).complete
    assert await operator.is_right(channels)
    assert simulator.journal.codes["externalcontact/list_contact_way"][0] == 1, "nothing was looked for"


async def test_a_wecom_that_stays_away_ends_the_run_with_the_rest_undone(simulator, operator):
    """After some tries the run ends; nothing is lost, and the next one does it all."""
    rule = simulator.fail(Fault.STATUS, ADD, rate=1.0)
    channels = numbered(9)
    outcome = await operator.apply(channels)
    assert outcome.done == ()
    assert len(outcome.failed) == 3, "those that were in hand"
    assert all(isinstance(failure.error, TransientError) for failure in outcome.failed)
    assert len(outcome.left) == 6
    rule.rate = 0.0
    assert (await operator.apply(channels)).complete
    assert await operator.is_right(channels)


async def test_nothing_is_deleted_when_something_else_failed(simulator, operator):
    """An old way goes only after its successor is there."""
    await operator.apply(numbered(2))
    text = channels_file(2).replace('name = "渠道1"', 'name = "渠道1"\nstate = "new"\nstaff = ["chen.wei"]')
    simulator.put_member("chen.wei", activated=False)
    plan = await operator.plan(load_channels(text), prune=True)
    assert plan.count(StepKind.DELETE) == 1
    outcome = await operator.carry_out(plan)
    assert [failure.suspects for failure in outcome.failed] == [("chen.wei",)]
    assert [step.kind for step in outcome.left] == [StepKind.DELETE]
    assert Counter(w.fields["state"] for w in simulator.corp.ways.values()) == {"qd_c0": 1, "qd_c1": 1}


async def test_a_deletion_that_wecom_refuses_is_not_taken_for_done(simulator, operator):
    """A way is forgotten only once it is gone."""
    await operator.apply(numbered(2))
    simulator.fail(Fault.ERRCODE, "externalcontact/del_contact_way", code=40058, count=1)
    plan = await operator.plan(numbered(1), prune=True)
    outcome = await operator.carry_out(plan)
    assert len(outcome.failed) == 1
    assert len(list((await operator.ways.read()).ways())) == 2
    assert (await operator.apply(numbered(1), prune=True)).complete
    assert await operator.is_right(numbered(1))


async def test_a_refused_change_is_looked_at_again(simulator, operator):
    """After a change that failed the lock does not claim to know how the way looks."""
    await operator.apply(numbered(1))
    simulator.fail(Fault.ERRCODE, "externalcontact/update_contact_way", code=40058, count=1)
    text = channels_file(1).replace('"渠道0"', '"渠道零"')
    assert len((await operator.apply(load_channels(text))).failed) == 1
    assert not next((await operator.ways.read()).ways()).sure
    assert (await operator.apply(load_channels(text))).complete
    assert [w.fields["remark"] for w in simulator.corp.ways.values()] == ["渠道零"]


async def test_whoever_lost_the_claim_stops_at_once(simulator, operator):
    """No way is made that could not be written down before."""
    plan = make_plan(numbered(3), await operator.ways.read(), Observed())
    await operator.notices.claim(CLAIM, 60.0, "another")
    with pytest.raises(ConfigurationError, match="taken over"):
        await operator.carry_out(plan)
    assert simulator.corp.ways == {}


async def test_a_state_that_goes_away_ends_the_run_and_the_next_one_knows_what_was_made(
    simulator, operator, monkeypatch
):
    """A way that was made while nothing could be written down is found by the intent that was."""
    monkeypatch.setattr(apply_module, "WITH_QUEUE", Patience(on=(QueueUnavailable,), pauses=(0.0, 0.0)))
    operator.away_after = 2
    outcome = await operator.apply(numbered(1))
    assert [type(failure.error) for failure in outcome.failed] == [Unkept]
    assert len(simulator.corp.ways) == 1
    operator.away_after = None
    assert (await operator.apply(numbered(1))).complete
    assert await operator.is_right(numbered(1))


async def test_a_process_killed_again_and_again_makes_each_way_once(tmp_path):
    """`qudao channels apply`, killed with -9 and interrupted at random points while answers are lost; scaled down."""
    report = await campaign(tmp_path, channels=16, interruptions=2, seed=3)
    assert report.interrupted == 2
    assert report.lost_answers > 0
    assert report.ways == Counter({f"qd_c{number}": 1 for number in range(16)})
    assert {way["state"]: way["config_id"] for way in report.lock["channels"].values()} == report.ids
    assert report.lock["retired"] == []
