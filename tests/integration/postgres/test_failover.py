"""A PostgreSQL that dies and the standby that takes its place: nobody restarts Qudao, and the counts go on."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress

import asyncpg
import pytest

from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.postgres import Postgres
from shared.quota.port import Limits, Quota
from shared.state.postgres.quota import PostgresQuota
from tests.e2e.processes import until
from tests.postgres.servers import Server, running_standby
from tests.rigs.marks import marking

GET = "externalcontact/get"
LIMITS = Limits(per_minute=600, per_hour=10_000, in_flight=4, minute=300.0, hour=600.0, minute_reserve=0)
"""So many calls and no more in all the time that a test takes."""

BACK_WITHIN = 10.0
SOON = 60.0

OLD_PRIMARY_GONE = [signal.SIGKILL, signal.SIGQUIT, signal.SIGSTOP]
"""Killed, ended at once, and gone without a word, as a machine without power is."""


@pytest.fixture
async def standby(postgres_server: Server) -> AsyncIterator[Server]:
    """A server that follows `postgres_server` and has all of it."""
    with running_standby(postgres_server) as follower:
        await follows(postgres_server)
        yield follower


def both(*servers: Server) -> str:
    """Return the URL that names them all."""
    first = servers[0]
    return first.url.replace(first.address, ",".join(server.address for server in servers))


async def sql(server: Server, *statements: str) -> None:
    connection = await asyncpg.connect(server.url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def follows(primary: Server, how: str = "async") -> None:
    """Wait until the standby of *primary* follows *how*."""
    connection = await asyncpg.connect(primary.url)
    async with asyncio.timeout(SOON):
        while await connection.fetchval("SELECT sync_state FROM pg_stat_replication") != how:
            await asyncio.sleep(0.05)
    await connection.close()


class Workers:
    """Three that call as fast as they may, each with connections of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.calls: list[float] = []
        self.blow = 0.0

    async def run(self) -> None:
        """Call until cancelled."""
        async with AsyncExitStack() as stack:
            quotas = []
            for _ in range(3):
                database = await stack.enter_async_context(Postgres(self._url))
                quotas.append(await stack.enter_async_context(PostgresQuota(database, "ww1", LIMITS)))
            async with asyncio.TaskGroup() as group:
                for quota in quotas * 2:
                    group.create_task(self._call_for_ever(quota))

    async def _call_for_ever(self, quota: Quota) -> None:
        while True:
            try:
                async with quota.permit(GET, Lane.LIVE):
                    self.calls.append(time.monotonic())
                    await asyncio.sleep(0.02)
            except QueueUnavailable:
                await asyncio.sleep(0.05)

    async def reach(self, calls: int) -> None:
        """Wait until so many have been made."""
        await until(lambda: len(self.calls) >= calls, seconds=SOON)

    async def use_up(self) -> None:
        """Wait until nothing is granted any more."""
        await until(lambda: time.monotonic() - self.calls[-1] > 3.0, seconds=SOON)


async def failed_over(url: str, moment: Callable[[], object]) -> tuple[Workers, float]:
    """Call, let *moment* happen on the way, call until the quota is used up; return the calls and how long none was."""
    workers = Workers(url)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(workers.run())
        await workers.reach(150)
        await asyncio.to_thread(moment)
        workers.blow = since = time.monotonic()
        before = len(workers.calls)
        await workers.reach(before + 30)
        gap = workers.calls[before] - since
        await workers.use_up()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    return workers, gap


@pytest.mark.parametrize("how", OLD_PRIMARY_GONE, ids=lambda how: how.name)
async def test_the_standby_takes_over(postgres_server: Server, standby: Server, how: signal.Signals) -> None:
    """Calls go on within ten seconds, and by the limit; what the standby had not heard of yet may be granted again."""

    def moment() -> None:
        postgres_server.send(how)
        standby.promote()

    workers, gap = await failed_over(both(postgres_server, standby), moment)
    print(f"{how.name}: {gap:.2f} s, {len(workers.calls)} of {LIMITS.minute_for(Lane.LIVE)} calls")
    assert gap < BACK_WITHIN
    granted_since = sum(at > workers.blow for at in workers.calls)
    assert granted_since <= LIMITS.minute_for(Lane.LIVE) + LIMITS.in_flight


async def test_a_synchronous_standby_loses_no_count(postgres_server: Server, standby: Server) -> None:
    """Each grant is at both before it is used: over the change of servers the limit is kept to the last call."""
    await sql(postgres_server, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
    await follows(postgres_server, "sync")

    def moment() -> None:
        postgres_server.send(signal.SIGKILL)
        standby.promote()

    workers, gap = await failed_over(both(postgres_server, standby), moment)
    print(f"synchronous: {gap:.2f} s, {len(workers.calls)} of {LIMITS.minute_for(Lane.LIVE)} calls")
    assert gap < BACK_WITHIN
    assert len(workers.calls) <= LIMITS.minute_for(Lane.LIVE)


async def test_nobody_stays_with_a_server_that_stops_writing(postgres_server: Server, standby: Server) -> None:
    """The old one lives on and answers, for reading alone: whoever has a connection to it leaves it."""
    read_only = ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")

    def moment() -> None:
        asyncio.run(sql(postgres_server, *read_only))
        standby.promote()

    workers, gap = await failed_over(both(postgres_server, standby), moment)
    assert gap < BACK_WITHIN
    granted_since = sum(at > workers.blow for at in workers.calls)
    assert granted_since <= LIMITS.minute_for(Lane.LIVE) + LIMITS.in_flight
    left = await asyncpg.connect(postgres_server.url)
    assert await left.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'qudao'") == 0
    await left.close()


async def test_a_failover_parks_nobody(tmp_path, postgres_server: Server, standby: Server) -> None:
    """Customers who come while there is no server that writes wait, and are marked within seconds of the promotion."""
    async with marking(tmp_path, {"QUDAO_STATE_URL": both(postgres_server, standby)}) as rig:
        await rig.scan("qd_unset", name="before")
        postgres_server.send(signal.SIGKILL)
        scan = await rig.simulator.scan(state="qd_unset", customer={"name": "Nana"})
        relation = rig.simulator.relation(scan.userid, scan.external_userid)
        await rig.process.logged("state.unavailable")
        await asyncio.to_thread(standby.promote)
        await until(lambda: relation.remark, seconds=BACK_WITHIN + 5)
        assert not any(line["event"] == "delivery.parked" for line in rig.process.lines)
