"""The composition root: builds the services from the settings. The one place that knows every adapter."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from ingress.spool import Intake, spooled
from shared.clock import Clock, SystemClock
from shared.domain.channels.file import load_channels
from shared.domain.channels.model import Channels
from shared.domain.errors import ConfigurationError
from shared.domain.events import Lane
from shared.queue.claims import Claims, SoleClaims
from shared.queue.port import EventQueue
from shared.queue.rabbitmq.adapter import RabbitQueue
from shared.queue.rabbitmq.claims import RabbitClaims
from shared.queue.sqlite.adapter import SqliteQueue
from shared.quota.port import Limits
from shared.quota.rabbitmq import RabbitQuota
from shared.quota.sqlite.counters import SqliteQuota
from shared.quota.sqlite.notices import SqliteNotices
from shared.quota.valve import Valve
from shared.settings import Settings
from shared.sqlite import Database
from shared.wecom.client import WeCom, open_wecom
from shared.wecom.crypto import Keyring
from workers.consumer import Worker
from workers.delivery_log import DeliveryLog
from workers.dispatch import endpoints_of, handlers_with
from workers.jobs.schedule import Schedule
from workers.jobs.survey import Surveyor
from workers.services import Services
from workers.tags import Tags

log = structlog.get_logger()

CROWD_SECONDS: Final = 5.0
"""Seconds of work that may wait in the live lane."""

CLOCK: Clock = SystemClock()


def read_channels(path: Path) -> Channels:
    """
    Return the channels in the file *path*.

    Raises:
        ConfigurationError: It is missing, unreadable or wrong; lists every problem with its line.
    """
    try:
        return load_channels(path.read_text(encoding="utf-8"), source=str(path))
    except FileNotFoundError as error:
        raise ConfigurationError(
            [f"{path}: there is no such file; describe your channels in it, or set QUDAO_CHANNELS"]
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: cannot be read as UTF-8 text ({type(error).__name__})"]) from error


def callback_keys(settings: Settings) -> Keyring:
    """
    Return the keys that callbacks are accepted with: the current ones, then the previous while they are rotated.
    """
    return Keyring(
        tokens=_given(settings.callback_token, settings.callback_token_previous),
        aes_keys=_given(settings.callback_aes_key, settings.callback_aes_key_previous),
        receive_id=settings.corp_id,
    )


def _given(*secrets: SecretStr) -> tuple[str, ...]:
    return tuple(secret.get_secret_value() for secret in secrets if secret.get_secret_value())


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
async def open_deployment(settings: Settings, *, onlooker: bool = False) -> AsyncIterator[Deployment]:
    """
    Yield the queue and the quota that the settings name: both in one SQLite file, or both in RabbitMQ.

    An *onlooker* asks for what is used of the quota and uses none of it.
    """
    allowed = limits(settings)
    if settings.queue_file is not None:
        async with (
            Database(settings.queue_file) as database,
            _embedded(settings, database) as embedded,
            SqliteQuota(database, allowed, CLOCK, onlooker=onlooker) as counters,
        ):
            yield Deployment(queue=embedded, quota=Valve(counters, SqliteNotices(database), allowed, CLOCK))
    else:
        async with (
            _over_rabbitmq(settings) as queue,
            RabbitQuota(
                _broker(settings),
                settings.corp_id,
                allowed,
                CLOCK,
                prefix=settings.queue_prefix,
                onlooker=onlooker,
            ) as quota,
        ):
            yield Deployment(queue=queue, quota=Valve(quota, quota.notices, allowed, CLOCK))


def _embedded(settings: Settings, database: Database) -> SqliteQueue:
    return SqliteQueue(database, CLOCK, crowd=_crowd(settings))


def _over_rabbitmq(settings: Settings) -> RabbitQueue:
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
async def open_api(settings: Settings, deployment: Deployment, lane: Lane) -> AsyncIterator[WeCom]:
    """Yield a WeCom client whose calls count as *lane*'s."""
    async with open_wecom(
        base_url=settings.api_url,
        corp=settings.corp_id,
        corp_secret=settings.corp_secret.get_secret_value(),
        quota=deployment.quota,
        lane=lane,
        in_flight=settings.quota_in_flight,
        timeout=settings.api_timeout,
    ) as wecom:
        yield wecom


@asynccontextmanager
async def open_worker(
    settings: Settings, deployment: Deployment, channels: Channels, registry: CollectorRegistry
) -> AsyncIterator[Worker]:
    """Yield a worker, ready to run."""
    async with open_api(settings, deployment, Lane.LIVE) as wecom:
        services = Services(wecom=wecom, channels=channels, clock=CLOCK, tags=Tags())
        yield Worker(
            queue=deployment.queue,
            handlers=handlers_with(services),
            wait_open=lambda lane: deployment.quota.wait_open(endpoints_of(lane, channels)),
            clock=CLOCK,
            reporter=DeliveryLog(registry, CLOCK),
            grace=settings.stop_grace,
        )


@asynccontextmanager
async def open_surveyor(settings: Settings, deployment: Deployment, channels: Channels) -> AsyncIterator[Surveyor]:
    """Yield what reads relations, in the bulk lane's share of the quota, and queues them."""
    async with open_api(settings, deployment, Lane.BULK) as wecom:
        yield Surveyor(
            corp=settings.corp_id,
            wecom=wecom,
            queue=deployment.queue,
            channels=channels,
            clock=CLOCK,
            tags=Tags(),
        )


@asynccontextmanager
async def open_schedule(
    settings: Settings, deployment: Deployment, channels: Channels, registry: CollectorRegistry
) -> AsyncIterator[Schedule | None]:
    """Yield what reconciles every so often in one of the deployment's workers; None when that is turned off."""
    if not settings.reconcile_every:
        yield None
        return
    async with open_claims(settings) as claims:
        yield Schedule(
            open_surveyor=lambda: open_surveyor(settings, deployment, channels),
            claims=claims,
            every=settings.reconcile_every,
            clock=CLOCK,
            registry=registry,
        )


@asynccontextmanager
async def open_claims(settings: Settings) -> AsyncIterator[Claims]:
    """Yield what tells the deployment's processes apart."""
    if settings.queue_file is not None:
        yield SoleClaims()
    else:
        async with RabbitClaims(_broker(settings), prefix=settings.queue_prefix) as claims:
            yield claims


@asynccontextmanager
async def stopped_by_signal() -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGTERM and SIGINT set; a second SIGINT interrupts at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(name: str) -> None:
        log.info("stop.requested", signal=name)
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
