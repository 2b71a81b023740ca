"""A PostgreSQL that is restarted, killed, frozen, or ends its sessions."""

import asyncio
import signal
from random import Random

import asyncpg

from tests.faults.deployment import Deployment, Layout
from tests.faults.kind import Kind
from tests.postgres.servers import Server

TERMINATE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'qudao' AND pid <> pg_backend_pid()"
)


async def store_restarted(deployment: Deployment, random: Random) -> str:
    """Stop the server, in order or at once, and start it again."""
    store, how = _of(deployment), random.choice((signal.SIGINT, signal.SIGQUIT))
    await asyncio.to_thread(store.stop, how)
    await _away(random)
    await asyncio.to_thread(store.start)
    return how.name


async def store_killed(deployment: Deployment, random: Random) -> str:
    """kill -9 the server and all its processes, and start it again."""
    store = _of(deployment)
    store.send(signal.SIGKILL)
    await asyncio.to_thread(store.stop, signal.SIGKILL)
    await _away(random)
    await asyncio.to_thread(store.start)
    return "killed"


async def store_frozen(deployment: Deployment, random: Random) -> str:
    """Let the server stand still with its connections open."""
    store, seconds = _of(deployment), random.choice((0.5, 2.0, 6.0, 15.0))
    store.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        store.send(signal.SIGCONT)
    return f"for {seconds} s"


async def sessions_ended(deployment: Deployment, random: Random) -> str:
    """Let the server end every session, a few times."""
    ended = 0
    for _ in range(random.randint(1, 4)):
        connection = await asyncpg.connect(_of(deployment).url)
        try:
            ended += await connection.fetchval(TERMINATE)
        finally:
            await connection.close()
        await asyncio.sleep(random.uniform(0.0, 0.5))
    return f"{ended} sessions"


def _of(deployment: Deployment) -> Server:
    assert deployment.store is not None, "there is a PostgreSQL"
    return deployment.store


async def _away(random: Random) -> None:
    await asyncio.sleep(random.choice((0.0, 0.0, 1.0, 6.0)))


KINDS = tuple(
    Kind(strike, (Layout.SERVERS,), at_once=8)
    for strike in (store_restarted, store_killed, store_frozen, sessions_ended)
)
