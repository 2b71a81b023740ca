"""The schedule: one worker reconciles, a turn that fails is made up for, and a backlog comes first."""

import asyncio
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from shared.clock import SystemClock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.queue.message import message_for
from tests.unit.workers.jobs.test_survey import CORP, Rig, relation
from workers.jobs.schedule import BACKLOG, Schedule
from workers.jobs.survey import work_for

CLOCK = SystemClock()


class Claimed:
    """Claims that somebody else holds, or that cannot be asked for."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def __call__(self, name: str, seconds: float) -> bool:
        if self._error:
            raise self._error
        return False


async def sole(name: str, seconds: float) -> bool:
    """Claim for the only process there is."""
    return True


class Bench:
    def __init__(self, *relations, claim=None, every=3600.0) -> None:
        self.rig = Rig(*relations)
        self.registry = CollectorRegistry()
        self.opened = 0
        self.fault: Exception | None = None
        self.schedule = Schedule(
            open_surveyor=self._open,
            claim=claim or sole,
            every=every,
            clock=CLOCK,
            registry=self.registry,
        )

    @asynccontextmanager
    async def _open(self):
        self.opened += 1
        if self.fault:
            raise self.fault
        yield self.rig.surveyor

    def turns(self, result: str) -> float:
        return self.value("qudao_reconciliations_total", result=result)

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def lost(count: int):
    return [relation(number, created_at=int(CLOCK.time()) - 3600) for number in range(count)]


async def test_a_turn_queues_what_was_lost_and_counts_it():
    """A turn queues the lost and is counted, with when it last went well."""
    bench = Bench(*lost(3))
    await bench.schedule.take_turn()
    assert await bench.rig.waiting() == 3
    assert bench.turns("done") == 1
    assert bench.value("qudao_reconcile_found_total", finding="unmarked") == 3
    assert bench.value("qudao_reconcile_queued_total") == 3
    assert abs(bench.value("qudao_reconcile_last_success_seconds") - CLOCK.time()) < 60


async def test_another_worker_reconciles():
    """A worker without the claim opens nothing and calls nobody."""
    bench = Bench(*lost(3), claim=Claimed())
    await bench.schedule.take_turn()
    assert (bench.turns("elsewhere"), bench.opened) == (1, 0)


async def test_a_backlog_comes_first():
    """While many messages wait nothing is read: most of what would be found is on its way."""
    bench = Bench(*lost(3))
    for number in range(BACKLOG):
        await bench.rig.queue.publish(message_for(work_for(CORP, relation(number)), now=0), [Lane.LIVE])
    await bench.schedule.take_turn()
    assert bench.turns("postponed") == 1
    assert bench.rig.wecom.calls == []


async def test_a_turn_that_fails_is_counted_and_made_up_for():
    """Whether the failure has a name or not, the next turn finds what this one did not."""
    for fault in (QueueUnavailable("away"), KeyError("a bug")):
        bench = Bench(*lost(2))
        bench.fault = fault
        await bench.schedule.take_turn()
        assert bench.turns("failed") == 1
        bench.fault = None
        await bench.schedule.take_turn()
        assert (bench.turns("done"), await bench.rig.waiting()) == (1, 2)


async def test_claims_that_cannot_be_asked_for_fail_the_turn():
    """When the broker is away no worker reconciles."""
    bench = Bench(*lost(2), claim=Claimed(QueueUnavailable("away")))
    await bench.schedule.take_turn()
    assert (bench.turns("failed"), bench.opened) == (1, 0)


async def test_turns_come_regularly_until_cancelled():
    """The schedule takes turn after turn and ends when it is cancelled."""
    bench = Bench(every=0.001)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        running = group.create_task(bench.schedule.run())
        while bench.turns("done") < 3:
            await asyncio.sleep(0)
        running.cancel()
    assert running.cancelled()
