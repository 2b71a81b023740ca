"""A worker in a process of its own that makes calls under a quota, to be killed: writes one line for each call."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from shared.clock import SystemClock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.postgres import Postgres
from shared.quota.port import Limits, Quota
from shared.sqlite.database import Database
from shared.state.postgres.quota import PostgresQuota
from shared.state.sqlite.processes import Machine
from shared.state.sqlite.quota import SqliteQuota

GET = "externalcontact/get"

LIMITS = Limits(per_minute=100, per_hour=1000, in_flight=4, minute=1.0, hour=30.0)


@asynccontextmanager
async def opened(where: str, prefix: str) -> AsyncIterator[Quota]:
    """Open the quota at *where*: a URL or a file."""
    if where.startswith("postgres"):
        async with Postgres(where) as database, PostgresQuota(database, prefix, LIMITS) as quota:
            yield quota
    else:
        async with (
            Database(Path(where)) as database,
            SqliteQuota(database, LIMITS, SystemClock(), neighbours=Machine(lease=2.0)) as quota,
        ):
            yield quota


def tell(what: str) -> None:
    """Write one line, all of it or nothing."""
    os.write(sys.stdout.fileno(), f"{what} {time.monotonic()}\n".encode())


async def call_for_ever(quota: Quota, seconds: float) -> None:
    """Call, and say when each call arrived and when it ended."""
    while True:
        try:
            async with quota.permit(GET, Lane.LIVE):
                tell("arrived")
                await asyncio.sleep(seconds)
                tell("ended")
        except QueueUnavailable:
            await asyncio.sleep(0.05)


async def main() -> None:
    where, prefix, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    async with opened(where, prefix) as quota, asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(call_for_ever(quota, seconds))


if __name__ == "__main__":
    asyncio.run(main())
