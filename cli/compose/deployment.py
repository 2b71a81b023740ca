"""What all processes of one deployment share: the queue, the corp's quota, and who does what."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry

from cli.times import CLOCK
from ingress.spool import Intake, spooled
from shared.queue.claims import Claims, SoleClaims
from shared.queue.port import EventQueue
from shared.queue.sqlite.adapter import SqliteQueue
from shared.quota.port import FileInUse, Limits, no_file
from shared.quota.sqlite.counters import SqliteQuota
from shared.quota.sqlite.notices import SqliteNotices
from shared.quota.valve import Valve
from shared.settings import Settings
from shared.sqlite import Database

if TYPE_CHECKING:
    from shared.queue.rabbitmq.adapter import RabbitQueue

CROWD_SECONDS: Final = 5.0
"""Seconds of work that may wait in the live lane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What all processes of one deployment share: the queue, and the corp's quota."""

    queue: EventQueue
    quota: Valve


@asynccontextmanager
async def open_queue(settings: Settings) -> AsyncIterator[EventQueue]:
    """Yield the queue that the settings name, for those who call no API."""
    if settings.queue_file is not None:
        async with Database(settings.queue_file) as database, _embedded(settings, database) as embedded:
            yield embedded
    else:
        async with _over_rabbitmq(settings) as queue:
            yield queue


@asynccontextmanager
async def open_spool(settings: Settings, queue: EventQueue, registry: CollectorRegistry) -> AsyncIterator[Intake]:
    """Yield where the ingress puts events: *queue*, with the spool before it when there is a broker to lose."""
    if settings.queue_file is not None or settings.spool is None:
        yield queue
        return
    async with (
        Database(settings.spool) as database,
        SqliteQueue(database, CLOCK, crowd=None) as store,
        spooled(queue, store, registry) as intake,
    ):
        yield intake


@asynccontextmanager
async def open_deployment(
    settings: Settings, *, onlooker: bool = False, file: FileInUse = no_file
) -> AsyncIterator[Deployment]:
    """
    Yield the queue and the quota that the settings name: both in one SQLite file, or both in RabbitMQ.

    An *onlooker* asks for what is used of the quota and uses none of it. *file* is what others are told of the channels
    file that this process goes by.
    """
    allowed = limits(settings)
    if settings.queue_file is not None:
        async with (
            Database(settings.queue_file) as database,
            _embedded(settings, database) as embedded,
            SqliteQuota(database, allowed, CLOCK, onlooker=onlooker, file=file) as counters,
        ):
            yield Deployment(queue=embedded, quota=Valve(counters, SqliteNotices(database), allowed, CLOCK))
    else:
        from shared.quota.rabbitmq import RabbitQuota  # noqa: PLC0415 - an embedded deployment needs none of AMQP

        async with (
            _over_rabbitmq(settings) as queue,
            RabbitQuota(
                _broker(settings),
                settings.corp_id,
                allowed,
                CLOCK,
                prefix=settings.queue_prefix,
                onlooker=onlooker,
                file=file,
            ) as quota,
        ):
            yield Deployment(queue=queue, quota=Valve(quota, quota.notices, allowed, CLOCK))


def _embedded(settings: Settings, database: Database) -> SqliteQueue:
    return SqliteQueue(database, CLOCK, crowd=_crowd(settings))


def _over_rabbitmq(settings: Settings) -> "RabbitQueue":
    from shared.queue.rabbitmq.adapter import RabbitQueue  # noqa: PLC0415 - as above

    return RabbitQueue(_broker(settings), CLOCK, prefix=settings.queue_prefix, crowd=_crowd(settings))


def _crowd(settings: Settings) -> int:
    """Return how many customers the quota marks in as long as one who has just come may wait."""
    return max(1, round(CROWD_SECONDS * settings.quota_per_minute / settings.quota_minute_seconds))


def _broker(settings: Settings) -> str:
    return settings.queue_url.get_secret_value()


def limits(settings: Settings) -> Limits:
    """Return what the corp may use of each API."""
    return Limits(
        per_minute=settings.quota_per_minute,
        per_hour=settings.quota_per_hour,
        in_flight=settings.quota_in_flight,
        minute=settings.quota_minute_seconds,
        hour=settings.quota_hour_seconds,
    )


@asynccontextmanager
async def open_claims(settings: Settings) -> AsyncIterator[Claims]:
    """Yield what tells the deployment's processes apart."""
    if settings.queue_file is not None:
        yield SoleClaims()
    else:
        from shared.queue.rabbitmq.claims import RabbitClaims  # noqa: PLC0415 - as above

        async with RabbitClaims(_broker(settings), prefix=settings.queue_prefix) as claims:
            yield claims
