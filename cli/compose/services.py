"""The services, and what else calls WeCom: built from the settings on top of a deployment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from cli.compose.deployment import Deployment
from cli.compose.files import LiveChannels
from cli.times import CLOCK
from shared.clock import SteadyClock
from shared.domain.channels.model import Channels
from shared.domain.events import Lane
from shared.quota.bounded import BoundedQuota
from shared.settings import Settings
from shared.tasks import beside
from shared.wecom.client import WeCom, open_wecom
from shared.wecom.crypto import Keyring
from workers.clocks import Clocks
from workers.consumer import Worker
from workers.delivery_log import DeliveryLog
from workers.dispatch import endpoints_of, handlers_with
from workers.jobs.expiry import expire
from workers.jobs.schedule import Schedule
from workers.jobs.survey import Surveyor
from workers.looks import Looks
from workers.media import Media
from workers.other_corps import OtherCorps
from workers.services import Services
from workers.tags import Tags

TOKEN_PATIENCE: Final = 10.0
"""
Seconds that work in hand waits for a token, rather than go round through the queue; a stop gives it more than that.
"""


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


@asynccontextmanager
async def open_api(
    settings: Settings, deployment: Deployment, lane: Lane, *, bounded: bool = False
) -> AsyncIterator[WeCom]:
    """Yield a WeCom client whose calls count as *lane*'s; they do not wait for the quota for long when *bounded*."""
    async with open_wecom(
        base_url=settings.api_url,
        corp=settings.corp_id,
        corp_secret=settings.corp_secret.get_secret_value(),
        quota=BoundedQuota(deployment.quota) if bounded else deployment.quota,
        lane=lane,
        in_flight=settings.quota_in_flight,
        timeout=settings.api_timeout,
        proxy=settings.api_proxy.get_secret_value(),
        token_patience=TOKEN_PATIENCE if bounded else 0.0,
        clock=deployment.clock,
    ) as wecom:
        yield wecom


@asynccontextmanager
async def open_worker(
    settings: Settings, deployment: Deployment, channels: LiveChannels, registry: CollectorRegistry
) -> AsyncIterator[Worker]:
    """Yield a worker, ready to run; it goes by the channels as they are when a delivery comes."""
    reporter = DeliveryLog(registry, CLOCK)
    clock = deployment.clock
    media = Media(SteadyClock(CLOCK), reporter.media)
    clocks = Clocks(registry, clock, CLOCK, deployment.state.tell_time)
    other_corps = OtherCorps(settings.corp_id)
    async with (
        open_api(settings, deployment, Lane.LIVE, bounded=True) as wecom,
        beside(media.keep(lambda: channels.current, wecom)),
        beside(expire(deployment.state.journal, settings.journal_days, CLOCK)),
        beside(other_corps.look_at_parking(deployment.queue)),
        beside(clocks.watch()),
    ):
        services = Services(
            corp=settings.corp_id,
            wecom=wecom,
            channels=channels.current,
            clock=clock,
            tags=Tags(),
            media=media,
            looks=Looks(clock),
            journal=deployment.state.journal,
            count_part=reporter.part,
        )

        async def wait_open(lane: Lane) -> None:
            if clock.skew is None:
                await wecom.prepare()  # or the first welcomes would be judged by a clock that nobody compared
            await deployment.quota.wait_open(endpoints_of(lane, channels.current))

        yield Worker(
            queue=deployment.queue,
            handlers=handlers_with(services, lambda: channels.current, other_corps),
            wait_open=wait_open,
            clock=clock,
            reporter=reporter,
            grace=settings.stop_grace,
            note=deployment.state.journal.note,
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
            clock=deployment.clock,
            tags=Tags(),
            journal=deployment.state.journal,
        )


def schedule_of(
    settings: Settings, deployment: Deployment, channels: LiveChannels, registry: CollectorRegistry
) -> Schedule | None:
    """Return what reconciles every so often in one of the deployment's workers; None when that is turned off."""
    if not settings.reconcile_every:
        return None
    return Schedule(
        open_surveyor=lambda: open_surveyor(settings, deployment, channels.current),
        claim=deployment.state.notices.claim,
        every=settings.reconcile_every,
        clock=CLOCK,
        registry=registry,
    )
