"""`qudao status`: how much waits where and how old it is, what is used of the quota, and what is held back and why."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from cli.compose.deployment import open_deployment
from cli.compose.workers import time_at
from cli.failures import run_async
from cli.options import AsJson
from cli.output import duration, moment, print_json, print_table
from cli.times import CLOCK
from ingress.spool.file import depths_in
from ingress.spool.queue import spool_paths
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.domain.ids import CorpId
from shared.logs import configure_logging
from shared.queue.port import Depth, EventQueue
from shared.quota.port import Hold, Snapshot, Usage, WorkerSeen
from shared.settings import Settings, load_settings
from workers.clocks import ALARM_SECONDS, REMEDY
from workers.other_corps import MOST_LOOKED_AT, parked_by_corp
from workers.policy import SHARED_QUEUE_REMEDY

LOOK_SECONDS: Final = 5.0
"""Longest wait for somebody else who works on what is parked."""


def status(as_json: AsJson = False) -> None:
    """Show what waits in the queue, what is used of the quota, and which APIs are held back."""
    run_async(lambda: _status(as_json=as_json))


async def _status(*, as_json: bool) -> None:
    settings = load_settings()
    configure_logging("warning", settings.log_format)
    spooled, unread = await _spooled(settings)
    try:
        async with open_deployment(settings, onlooker=True) as deployment:
            depths = [*await deployment.queue.depths(ages=True), *spooled]
            snapshot = await deployment.quota.snapshot()
            now = await time_at(deployment.state)
            ahead = CLOCK.time() - now
            others = await _others(deployment.queue, settings.corp_id) if _parked(depths) and settings.corp_id else {}
    except QueueUnavailable:
        if spooled and not as_json:
            print_table(_queue(spooled))  # an outage is when this is looked for
        raise
    if as_json:
        print_json({**_document(depths, snapshot, others, unread), "clock_ahead_of_state_seconds": round(ahead, 1)})
        return
    console = Console()
    print_table(_queue(depths))
    print_table(_quota(snapshot.usage))
    print_table(_workers(snapshot.workers, now))
    if abs(ahead) >= ALARM_SECONDS:
        console.print(f"{_skew(ahead)} {REMEDY}", style="yellow", markup=False)
    for hold in snapshot.holds:
        console.print(_hold(hold, settings.time_zone), style="yellow", markup=False)
    if not snapshot.holds:
        console.print("No API is held back.")
    for problem in unread:
        console.print(f"What waits in the spool is not known. {problem}", style="yellow", markup=False)
    for line in _sharing(others, _parked(depths)):
        console.print(line, style="yellow", markup=False)


async def _spooled(settings: Settings) -> tuple[list[Depth], list[str]]:
    """Return what waits for each lane in the spool of this machine's ingresses, and why a file cannot be read."""
    found: dict[str, Depth] = {}
    problems = []
    for path in spool_paths(settings.spool) if settings.spool and settings.queue_file is None else ():
        try:
            depths = await depths_in(path, CLOCK.time()) if path.exists() else []
        except (QueueUnavailable, ConfigurationError) as error:
            problems.append(str(error))
            continue
        for depth in depths:
            before = found.get(depth.name, Depth(name=depth.name, messages=0, oldest_seconds=0.0))
            found[depth.name] = Depth(
                name=depth.name,
                messages=before.messages + depth.messages,
                oldest_seconds=max(before.oldest_seconds or 0.0, depth.oldest_seconds or 0.0),
            )
    return list(found.values()), problems


def _parked(depths: Sequence[Depth]) -> int:
    return sum(depth.messages for depth in depths if depth.name == "parked")


async def _others(queue: EventQueue, own: CorpId) -> Mapping[CorpId, int] | None:
    """Return how many of the parked messages are of each other corp; None while somebody else works on them."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            found = await parked_by_corp(queue)
    except TimeoutError:
        return None
    return {corp: count for corp, count in found.items() if corp != own}


def _sharing(others: Mapping[CorpId, int] | None, parked: int) -> Iterator[str]:
    if others is None:
        yield "Whose messages are parked was not looked at: somebody is working on them."
        return
    looked_at = f" of the {MOST_LOOKED_AT:,} messages looked at" if parked > MOST_LOOKED_AT else " messages"
    for corp, count in others.items():
        yield f"{corp}, another corp, has {count:,}{looked_at} parked here: two share a queue; {SHARED_QUEUE_REMEDY}."


def _document(
    depths: Sequence[Depth], snapshot: Snapshot, others: Mapping[CorpId, int] | None, unread: Sequence[str]
) -> dict[str, Any]:
    return {
        "queue": [
            {"name": depth.name, "messages": depth.messages, "oldest_seconds": depth.oldest_seconds} for depth in depths
        ],
        "quota": [
            {
                "endpoint": usage.endpoint,
                "minute": usage.minute,
                "minute_limit": usage.limits.per_minute,
                "hour": usage.hour,
                "hour_limit": usage.limits.per_hour,
                "in_flight": usage.in_flight,
                "in_flight_limit": usage.limits.in_flight,
            }
            for usage in snapshot.usage
        ],
        "held_back": [
            {
                "endpoint": hold.endpoint,
                "kind": hold.kind.value,
                "staff": hold.staff,
                "until": hold.until,
                "errcode": hold.errcode,
                "reason": hold.reason,
            }
            for hold in snapshot.holds
        ],
        "spool_unread": list(unread),
        "other_corps": None if others is None else [{"corp": corp, "parked": count} for corp, count in others.items()],
        "workers": [
            {"name": worker.name, "seen": worker.seen, "channels_file": worker.file} for worker in snapshot.workers
        ],
    }


def _queue(depths: Sequence[Depth]) -> Table:
    table = _table("Queue", "messages", "oldest")
    for depth in depths:
        if depth.messages or not depth.name.startswith("retry."):
            table.add_row(depth.name, f"{depth.messages:,}", duration(depth.oldest_seconds))
    return table


def _quota(usages: Sequence[Usage]) -> Table:
    table = _table("Quota used", "minute", "hour", "in flight")
    for usage in usages:
        limits = usage.limits
        table.add_row(
            usage.endpoint,
            f"{usage.minute:,} of {limits.per_minute:,}",
            f"{usage.hour:,} of {limits.per_hour:,}",
            f"{usage.in_flight} of {limits.in_flight}",
        )
    return table


def _skew(ahead: float) -> str:
    return f"This machine's clock is {duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the state's."


def _workers(workers: Sequence[WorkerSeen], now: float) -> Table:
    table = _table("Processes that call WeCom", "seen", "channels file")
    for worker in workers:
        table.add_row(worker.name, f"{duration(max(0.0, now - worker.seen))} ago", worker.file)
    return table


def _table(title: str, *numbers: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _hold(hold: Hold, zone: tzinfo) -> str:
    whom = f" for {hold.staff}" if hold.staff else ""
    code = f" (errcode {hold.errcode})" if hold.errcode is not None else ""
    return f"{hold.endpoint}{whom}: {hold.kind.value} until {moment(hold.until, zone)}{code}. {hold.reason}"
