"""Places that a process holds by its lease."""

import asyncio
from collections.abc import Collection

from shared.domain.events import Lane
from shared.quota.slots import Answer, Lease, Reservations, Slot
from shared.quota.turns import Turns
from tests.simulation.virtual import run_virtual

API = "externalcontact/remark"


def now() -> float:
    return asyncio.get_running_loop().time()


class Counter:
    """Grants whatever is asked for, after a while."""

    def __init__(self) -> None:
        self.rows = 0

    async def exchange(self, endpoint: str, held: Collection[int], turns: Turns[Slot]) -> tuple[Answer, float]:
        del endpoint, held
        asked = now()
        await asyncio.sleep(0.01)
        lanes = turns.first(3)
        self.rows += len(lanes)
        granted = [(lane, self.rows - number) for number, lane in enumerate(lanes)]
        return Answer(granted=granted, room_at=None, shared=False), asked


def test_no_call_begins_with_a_place_from_before_the_process_was_stopped() -> None:
    """Others may have it by now, also when the first thing that the process does is to be heard of again."""

    async def work() -> list[tuple[bool, bool]]:
        lease = Lease(2.0, now)
        seen = []
        async with Reservations(Counter().exchange, lease, poll=1.0) as reservations:
            old = await reservations.acquire(API, Lane.LIVE)
            seen.append((old.stale, lease.expired))
            await asyncio.sleep(1.9)
            seen.append((old.stale, lease.expired))
            await asyncio.sleep(10.0)
            seen.append((old.stale, lease.expired))
            new = await reservations.acquire("externalcontact/get", Lane.LIVE)
            seen += [(old.stale, lease.expired), (new.stale, lease.expired)]
            old.release()
            new.release()
        return seen

    fine, gone = (False, False), (True, True)
    assert run_virtual(work()) == [fine, fine, gone, (True, False), fine]


def test_a_place_is_held_for_as_long_as_the_process_is_heard_of() -> None:
    """However long a call is prepared."""

    async def work() -> list[bool]:
        lease = Lease(2.0, now)
        stale = []
        async with Reservations(Counter().exchange, lease, poll=1.0) as reservations:
            grant = await reservations.acquire(API, Lane.LIVE)
            for _ in range(20):
                await asyncio.sleep(1.0)
                lease.renew(now())
                stale.append(grant.stale)
            grant.release()
        return stale

    assert not any(run_virtual(work()))
