"""
How dear is a permit of the shared quota, and how many are there for a deployment?

    python -m tests.benchmarks.grants [--server postgresql://… | --sqlite] --processes 8 --callers 3 --seconds 10

Each process has callers that ask for a permit, hold it for no time, and ask again; or, with --rate, at that many a
second in all. CPU is that of one process, from the system's accounting. There are places in flight enough for all
unless --places says otherwise: with few of them it is their return that is waited for.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import Any

import orjson

from shared.domain.events import Lane
from tests.benchmarks.permits import ENDPOINT, counters
from tests.benchmarks.rig import own_prefix, percentiles, print_result
from tests.postgres.servers import running_server


async def ask(where: str, prefix: str, callers: int, seconds: float, rate: float, places: int) -> dict[str, Any]:
    """Ask for permits for *seconds*; return how long each took, and what it cost."""
    waits: list[float] = []

    async def call(number: int) -> None:
        end = time.monotonic() + seconds
        due = time.monotonic() + (number / rate if rate else 0.0)
        while time.monotonic() < end:
            if rate:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due += callers / rate
            asked = time.monotonic()
            grant = await quota.acquire(ENDPOINT, Lane.LIVE)
            waits.append(time.monotonic() - asked)
            grant.release()

    async with counters(where, prefix, places) as quota:
        begun = resource.getrusage(resource.RUSAGE_SELF)
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(call(number))
        ended = resource.getrusage(resource.RUSAGE_SELF)
    cpu = ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime
    return {"waits": waits, "cpu": cpu}


async def measure(where: str, given: argparse.Namespace) -> dict[str, Any]:
    """Run the processes and put together what they saw."""
    command = [
        *(sys.executable, "-m", "tests.benchmarks.grants", "--ask", where, "--prefix", given.prefix),
        *("--callers", str(given.callers), "--seconds", str(given.seconds)),
        *("--rate", str(given.rate / given.processes), "--places", str(given.places)),
    ]
    running = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(given.processes)]
    said = [orjson.loads((await process.communicate())[0].splitlines()[-1]) for process in running]
    waits = [wait for each in said for wait in each["waits"]]
    return {
        "processes": given.processes,
        "callers_each": given.callers,
        "grants_a_second": round(len(waits) / given.seconds),
        "cpu_ms_each": round(1000 * sum(each["cpu"] for each in said) / len(waits), 3),
        "seconds": percentiles(waits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="postgresql:// URL; without it a server is started")
    parser.add_argument("--sqlite", action="store_true", help="measure a SQLite file instead")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument(
        "--rate", type=float, default=0.0, help="permits a second of all processes; 0: as fast as it goes"
    )
    parser.add_argument("--places", type=int, default=100, help="calls in flight that are allowed")
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    parser.add_argument("--prefix", default=own_prefix(), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        said = asyncio.run(ask(given.ask, given.prefix, given.callers, given.seconds, given.rate, given.places))
        sys.stdout.write(orjson.dumps(said).decode() + "\n")
        return
    with ExitStack() as stack:
        if given.sqlite:
            where = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "quota.db")  # noqa: PTH118 - text
        else:
            where = given.server or stack.enter_context(running_server()).url
        print_result(asyncio.run(measure(where, given)))


if __name__ == "__main__":
    main()
