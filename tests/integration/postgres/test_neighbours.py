"""What else may be wrong with a PostgreSQL, or stand before it: told in one line with its remedy; nothing is lost."""

import asyncio
import shutil
import sys
import time
from bisect import bisect_left
from contextlib import suppress

import asyncpg
import pytest

from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.domain.ids import ExternalUserId
from shared.postgres import Postgres
from shared.quota.port import Limits
from shared.state.postgres.journal import PostgresJournal
from shared.state.postgres.quota import PostgresQuota
from simulator import Simulator, SimulatorConfig, run_simulator
from tests.children.quota import LIMITS
from tests.e2e.processes import run_to_end, settings, until
from tests.postgres.pooler import running_pooler
from tests.postgres.servers import Server, owner, running_standby
from tests.rigs.disks import fill, small_disk
from tests.rigs.journal import entry

HOUR = 3600.0
END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'qudao'"


@pytest.fixture
async def worker(tmp_path):
    """Run `qudao worker` with its state at a URL; return the exit code and what it said."""
    simulator = Simulator(SimulatorConfig.quiet())
    async with run_simulator(simulator) as wecom:

        async def run(url: str, command: str = "worker") -> tuple[int, str]:
            env = settings(simulator, wecom.url, tmp_path, QUDAO_STATE_URL=url)
            code, _, err = await run_to_end(command, folder=tmp_path, env=env)
            return code, err

        yield run


async def sql(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def one_call(quota: PostgresQuota) -> None:
    async with asyncio.timeout(10), quota.permit("externalcontact/get", Lane.LIVE):
        pass


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_pooler_that_shares_sessions_is_refused(worker, postgres_server: Server, pgbouncer: str, mode: str):
    """Calls would work there, and nobody would hear of what the others notify: it says to name the server itself."""
    with running_pooler(pgbouncer, postgres_server, mode) as url:
        code, said = await worker(url)
    assert (code, "a pooler" in said, "name the server itself" in said) == (2, True, True)


async def test_a_pooler_that_keeps_sessions_serves(postgres_server: Server, pgbouncer: str):
    """What is notified is heard, and calls are granted."""
    with running_pooler(pgbouncer, postgres_server, "session") as url:
        async with Postgres(url) as database, PostgresQuota(database, "ww1", LIMITS) as quota:
            async with asyncio.timeout(10):
                await database.heard.wait()
            await one_call(quota)


async def test_a_server_that_only_reads_is_refused(worker, postgres_server: Server):
    """The standby alone was named: it says so, and to name the primary."""
    with running_standby(postgres_server) as standby:
        code, said = await worker(standby.url)
    assert (code, "no server that is named can be written to" in said, "name the primary" in said) == (2, True, True)


async def test_a_host_that_does_not_exist_is_told(worker):
    """A typing error in the name is a matter of the settings."""
    code, said = await worker("postgresql://qudao:x@no-such-host.invalid/qudao")
    assert (code, "no such host" in said) == (2, True)


async def test_a_user_who_may_not_make_tables_is_told_what_to_give(worker, postgres_server: Server):
    """And once somebody else has made them, rights on these are enough."""
    await sql(
        postgres_server.url,
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "CREATE ROLE modest LOGIN PASSWORD 'modest'",
    )
    modest = f"postgresql://modest:modest@{postgres_server.address}/postgres"
    code, said = await worker(modest)
    assert (code, "give it CREATE on the schema" in said) == (2, True)
    assert (await worker(postgres_server.url, "status"))[0] == 0
    code, said = await worker(modest)
    assert (code, "all on the tables" in said) == (2, True)
    await sql(
        postgres_server.url,
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO modest",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO modest",
    )
    async with Postgres(modest) as database, PostgresQuota(database, "ww1", LIMITS) as quota:
        await one_call(quota)


async def test_processes_that_start_on_an_empty_database_together_all_run(worker, postgres_server: Server):
    """The tables are made once, by one of them."""
    async with asyncio.TaskGroup() as group:
        started = [group.create_task(worker(postgres_server.url, "status")) for _ in range(4)]
    assert [task.result()[0] for task in started] == [0, 0, 0, 0], [task.result()[1] for task in started]


async def test_a_password_that_changes_meanwhile_stops_nobody(postgres_server: Server):
    """Calls wait, and go on by themselves when it is mended; only a start is refused for it."""
    role = "ALTER ROLE qudao PASSWORD '{}'"
    async with Postgres(postgres_server.url) as database, PostgresQuota(database, "ww1", LIMITS) as quota:
        boss = await asyncpg.connect(postgres_server.url)
        await boss.execute(role.format("changed"))
        await boss.execute(END_ALL)
        await tells(database, "the password is refused")
        await boss.execute(role.format(postgres_server.password))
        await boss.close()
        async with asyncio.timeout(10):
            while True:
                with suppress(QueueUnavailable):
                    await one_call(quota)
                    break


async def tells(database: Postgres, reason: str) -> None:
    """Wait until whoever asks is told *reason*: what breaks first, the connections, has another."""
    async with asyncio.timeout(10):
        while True:
            try:
                await database.fetch("SELECT 1")
            except QueueUnavailable as error:
                if reason in str(error):
                    return
            await asyncio.sleep(0.05)


async def test_all_connections_ended_while_calls_run_are_back_within_two_seconds(postgres_server: Server):
    """`pg_terminate_backend` on every one, while a dozen calls are under way."""
    made: list[float] = []
    limits = Limits(per_minute=5000, per_hour=100_000, in_flight=4, minute=60.0, hour=600.0)

    async def call_for_ever(quota: PostgresQuota) -> None:
        while True:
            with suppress(QueueUnavailable):
                async with quota.permit("externalcontact/get", Lane.LIVE):
                    made.append(time.monotonic())
                    await asyncio.sleep(0.005)

    boss = await asyncpg.connect(postgres_server.url)
    async with (
        Postgres(postgres_server.url) as database,
        PostgresQuota(database, "ww1", limits) as quota,
        asyncio.TaskGroup() as group,
    ):
        running = [group.create_task(call_for_ever(quota)) for _ in range(12)]
        for _ in range(5):
            before = len(made)
            await until(lambda before=before: len(made) >= before + 20)
            await boss.execute(END_ALL)
            ended, before = time.monotonic(), len(made)
            await until(lambda before=before: len(made) >= before + 20)
            assert made[before] - ended < 2.0
        for task in running:
            task.cancel()
    await boss.close()


async def test_a_full_disk_is_named_and_loses_nothing(postgres_server: Server):
    """What cannot be written down is told by its cause; when there is room again, it is written without a restart."""
    with small_disk("4m") as disk:
        shutil.chown(disk, owner() or None, None)
        await sql(
            postgres_server.url,
            f"CREATE TABLESPACE small LOCATION '{disk}'",
            "ALTER ROLE qudao SET default_tablespace = small",
        )
        async with Postgres(postgres_server.url) as database:
            journal = PostgresJournal(database, "ww1")
            await journal.prepare()
            filler = fill(disk)
            noted = await note_until_it_fails(journal)
            filler.unlink()
            await journal.note(entry(noted))
            assert len(await journal.story(ExternalUserId("wmNana"))) == noted + 1


async def note_until_it_fails(journal: PostgresJournal) -> int:
    """Return how many entries found room."""
    for number in range(5000):
        try:
            await journal.note(entry(number))
        except QueueUnavailable as error:
            assert "its disk is full" in str(error)  # noqa: PT017 - the number matters, too
            return number
    raise AssertionError("the disk is not full")


async def test_a_worker_whose_clock_is_an_hour_off_counts_like_the_others(postgres_url: str, prefix: str):
    """Whose clock is behind or ahead neither overruns the limit nor is left out: all times are the database's."""
    arrived: dict[float, list[float]] = {}
    async with asyncio.TaskGroup() as group:
        for off in (-HOUR, 0.0, HOUR):
            group.create_task(calls_of(off, postgres_url, prefix, arrived.setdefault(off, [])))
    together = sorted(at for times in arrived.values() for at in times)
    most = max(bisect_left(together, start + LIMITS.minute) - index for index, start in enumerate(together))
    assert most <= LIMITS.minute_for(Lane.LIVE)
    assert min(map(len, arrived.values())) > len(together) / 10, {off: len(times) for off, times in arrived.items()}


async def calls_of(off: float, url: str, prefix: str, arrived: list[float]) -> None:
    """Let a worker whose clocks are *off* by so many seconds call for a few seconds; what it writes is put right."""
    wrong = (
        "import runpy, sys, time\n"
        "off = float(sys.argv.pop(1))\n"
        "for name in ('time', 'monotonic'):\n"
        "    setattr(time, name, lambda right=getattr(time, name): right() + off)\n"
        "runpy.run_module('tests.children.quota', run_name='__main__')\n"
    )
    command = (sys.executable, "-c", wrong, str(off), url, prefix, "0.01")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    with suppress(TimeoutError):
        async with asyncio.timeout(6.0):
            async for line in process.stdout:
                what, at = line.split()
                if what == b"arrived":
                    arrived.append(float(at) - off)
    process.kill()
    await process.wait()
