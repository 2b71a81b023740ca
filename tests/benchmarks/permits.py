"""
A worker that holds every place in flight is killed with -9, again and again: how soon are the places back?

    python -m tests.benchmarks.permits --kills 500 [--server postgresql://… | --sqlite]
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from shared.clock import SystemClock
from shared.domain.events import Lane
from shared.postgres import Postgres
from shared.quota.port import Counters, Limits
from shared.sqlite.database import Database
from shared.state.postgres.quota import PostgresQuota
from shared.state.sqlite.quota import SqliteQuota
from tests.benchmarks.rig import own_prefix, percentiles, print_result
from tests.postgres.servers import running_server

ENDPOINT = "externalcontact/remark"
PLACES = 3
HOLDING = b"holding\n"


@asynccontextmanager
async def counters(where: str, prefix: str, places: int = PLACES) -> AsyncIterator[Counters]:
    """Open the shared counters: in a broker, or in a file when *where* is a path."""
    limits = Limits(per_minute=10**6, per_hour=10**6, in_flight=places)
    async with AsyncExitStack() as stack:
        if where.startswith("postgres"):
            server = await stack.enter_async_context(Postgres(where))
            yield await stack.enter_async_context(PostgresQuota(server, prefix, limits))
        else:
            database = await stack.enter_async_context(Database(Path(where)))
            yield await stack.enter_async_context(SqliteQuota(database, limits, SystemClock()))


async def hold(where: str, prefix: str) -> None:
    """Take every place, say so, and never give one back."""
    async with counters(where, prefix) as quota:
        grants = [await quota.acquire(ENDPOINT, Lane.FAST) for _ in range(PLACES)]
        assert len(grants) == PLACES
        print(HOLDING.decode(), end="", flush=True)
        await asyncio.Event().wait()


async def measure(where: str, prefix: str, kills: int) -> dict[str, Any]:
    """Kill a holder *kills* times; return how long it took until all its places could be had."""
    seconds = []
    command = [sys.executable, "-m", "tests.benchmarks.permits", "--hold", where, "--prefix", prefix]
    async with counters(where, prefix) as quota:
        for number in range(kills):
            holder = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            assert holder.stdout is not None
            while (line := await holder.stdout.readline()) != HOLDING:
                assert line, "the holder did not start"
            holder.kill()
            killed = time.monotonic()
            async with asyncio.timeout(60):
                grants = [await quota.acquire(ENDPOINT, Lane.FAST) for _ in range(PLACES)]
            seconds.append(time.monotonic() - killed)
            for grant in grants:
                grant.release()
            await holder.wait()
            if number % 50 == 49:
                print(f"{number + 1} kills, longest {max(seconds):.2f} s", flush=True)
    return {"kills": kills, "places": PLACES, "seconds_until_all_are_back": percentiles(seconds)}


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--server", help="postgresql:// URL; without it a server is started")
    parser.add_argument("--sqlite", action="store_true", help="measure the embedded quota instead")
    parser.add_argument("--hold", help=argparse.SUPPRESS)
    parser.add_argument("--prefix", default=own_prefix(), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.hold:
        asyncio.run(hold(given.hold, given.prefix))
    elif given.sqlite:
        with tempfile.TemporaryDirectory() as folder:
            print_result(asyncio.run(measure(os.path.join(folder, "quota.db"), given.prefix, given.kills)))  # noqa: PTH118 - a path as text
    else:
        with ExitStack() as stack:
            url = given.server or stack.enter_context(running_server()).url
            print_result(asyncio.run(measure(url, given.prefix, given.kills)))


if __name__ == "__main__":
    main()
