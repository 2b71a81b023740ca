"""What the benchmarks over RabbitMQ share: a broker, a backlog, and how figures are printed."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane, RelationFound
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId
from shared.queue.message import message_for
from shared.queue.rabbitmq.adapter import RabbitQueue
from simulator import Simulator
from simulator.corp import Follow
from tests.e2e.processes import children
from tests.rabbitmq.brokers import provide, running_url

STATE = "qd_shop"

UNLIMITED = {"corp_per_minute": 10**9, "corp_per_hour": 10**9, "in_flight": 10**6}
"""A simulator that refuses no call for its number."""

LIFTED = {"QUDAO_QUOTA_PER_MINUTE": str(10**8), "QUDAO_QUOTA_PER_HOUR": str(10**8)}
"""And a Qudao that waits for none."""

_GROUPS = Path("/sys/fs/cgroup")
_PERIOD = 10_000
"""Microseconds in which a share of a core is counted."""

Way = Callable[[], Awaitable[dict[str, float]]]
"""Measures once, and returns its figures."""


@contextmanager
def broker_from(url: str | None) -> Iterator[str]:
    """Yield *url*, or that of a broker that runs while the context is open."""
    if url:
        yield url
    else:
        provide()
        with running_url() as started:
            yield started


def own_prefix() -> str:
    """Return a prefix for queues that no other run uses."""
    return f"bench{os.getpid()}"


async def publish_backlog(
    url: str, prefix: str, simulator: Simulator, events: int, lane: Lane, *, age: float = 0.0
) -> None:
    """Queue one event, accepted *age* seconds ago, for each of *events* relations that wait to be marked."""
    async with RabbitQueue(url, prefix=prefix) as queue:
        waiting = iter(simulator.populate(events, state=STATE))

        async def publish(relations: Iterator[Follow]) -> None:
            for relation in relations:
                work = RelationFound(
                    corp=CorpId(simulator.corp.corp_id),
                    staff=StaffUserId(relation.member.userid),
                    customer=ExternalUserId(relation.customer.external_userid),
                    created_at=relation.createtime,
                    state=STATE,
                )
                message = message_for(work, now=time.time() - age)
                while True:
                    try:
                        await queue.publish(message, [lane])
                    except QueueUnavailable:
                        await asyncio.sleep(0.5)  # the broker is busy; it may have it twice then
                    else:
                        break

        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(publish(waiting))


async def scan_for_ever(simulator: Simulator, rate: float, *states: str) -> None:
    """Let customers scan the codes of *states* in turn, *rate* of them a second; none at 0."""
    begun = time.monotonic()
    for number, state in enumerate(cycle(states) if rate else (), 1):
        await simulator.scan(state=state)
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))


def resident_mb(pid: int) -> float:
    """Return the memory that process *pid* has now, in millions of bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGESIZE") / 1e6, 1)


def script_env(url: str, queue: str, **more: str) -> dict[str, str]:
    """Return the environment of a script that Qudao is compared with."""
    root = str(Path(__file__).parents[2])
    return {"PATH": os.environ["PATH"], "PYTHONPATH": root, "QUEUE_URL": url, "QUEUE": queue, **more}


async def in_turn(benchmark: str, rounds: int, ways: Mapping[str, Way]) -> dict[str, dict[str, float]]:
    """Measure all *ways* in turn, round by round, and say so on the way; return the medians of each."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            found[name].append(await way())
            print(f"{benchmark}, round {number + 1}: {name}: {found[name][-1]}", file=sys.stderr, flush=True)
    return medians(found)


def against_first(figures: Mapping[str, Mapping[str, float]], key: str, ratio: str) -> dict[str, dict[str, float]]:
    """Return *figures* with how each *key* stands against the first one's, as *ratio*."""
    first = next(iter(figures.values()))[key]
    return {name: {**row, ratio: round(row[key] / first, 2)} for name, row in figures.items()}


def medians(found: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the middle of each figure over the rounds, of each of what was measured."""
    return {name: {key: median(row[key] for row in rows) for key in rows[0]} for name, rows in found.items()}


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that process *pid* and its children have used."""
    clock = ~pid << 3 | 2  # as clock_getcpuclockid(3) makes it; /proc counts in hundredths of a second
    return time.clock_gettime(clock) + sum(cpu_of(child) for child in children(pid))


@contextmanager
def confined(pid: int, share: float) -> Iterator[None]:
    """Give the process *pid* no more than *share* of a core, by a control group of its own (Linux, as root)."""
    old = (_GROUPS / "cpu").is_dir()  # version 1
    group = (_GROUPS / "cpu" if old else _GROUPS) / f"qudao-bench-{pid}"
    group.mkdir()
    try:
        quota = round(share * _PERIOD)
        if old:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD}")
        (group / "cgroup.procs").write_text(str(pid))
        yield
        with suppress(ProcessLookupError):  # it has ended
            (group.parent / "cgroup.procs").write_text(str(pid))
    finally:
        group.rmdir()


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return the middle, the 99th percentile and the longest of *seconds*, in seconds."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    at = {"p50": 0.50, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) for name, share in at.items()}


def print_result(document: dict[str, Any]) -> None:
    """Print the figures as one JSON document."""
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
