"""What every `qudao channels` command begins with: settings, channels, their ways, and a WeCom to ask."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from rich.progress import Progress

from cli.compose.deployment import open_deployment
from cli.compose.files import read_channels
from cli.compose.services import open_api
from cli.failures import UNSAFE, fail
from cli.progress import printer
from shared.domain.channels.lock import LockedWays
from shared.domain.channels.model import Channels
from shared.domain.errors import ConfigurationError, ConfigurationNeeded, StaffBlocked
from shared.domain.events import Lane
from shared.logs import configure_logging
from shared.settings import Need, Settings, load_settings
from shared.state.leases import leased
from shared.state.port import SharedState
from shared.state.ways import CLAIM
from shared.wecom.client import WeCom
from workers.jobs.apply import Write
from workers.jobs.staff_check import able_staff
from workers.jobs.way_reader import WayReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What lies on the desk before WeCom is asked."""

    settings: Settings
    channels: Channels


def open_desk() -> Desk:
    """
    Return settings and channels.

    Raises:
        ConfigurationError: All problems of one or the other.
    """
    settings = load_settings(Need.API)
    configure_logging("error", settings.log_format)  # what the quota warns of is told in words
    return Desk(settings=settings, channels=read_channels(settings.channels, settings.time_zone))


@asynccontextmanager
async def writing(state: SharedState, before: LockedWays) -> AsyncIterator[Write]:
    """
    Yield what keeps ways in place of others, while nobody else may; exit with 3 when they are not *before* any longer.

    Raises:
        ConfigurationError: Somebody else is writing them.
    """
    taken = "another `qudao channels` is changing the contact ways just now; run it again when that one has ended"
    async with leased(state.notices, CLAIM, taken=taken) as owner:
        if await state.ways.read() != before:
            fail(UNSAFE, "the contact ways were changed since they were looked at; run it again")
        yield partial(state.ways.write, owner)


async def ask_who_is_able(wecom: WeCom, progress: Progress) -> frozenset[str]:
    """
    Return the members with the customer-contact function, casefolded.

    Raises:
        ConfigurationError: WeCom wants a person to act first; so it is asked before anything else.
    """
    try:
        return await able_staff(wecom, notify=printer(progress))
    except StaffBlocked:
        raise
    except ConfigurationNeeded as error:
        raise ConfigurationError([str(error)]) from error


@asynccontextmanager
async def open_bulk_api(settings: Settings) -> AsyncIterator[tuple[WeCom, SharedState]]:
    """Yield a client whose calls count as bulk work, and the state."""
    async with open_deployment(settings) as deployment, open_api(settings, deployment, Lane.BULK) as wecom:
        yield wecom, deployment.state


def way_reader(wecom: WeCom, desk: Desk, progress: Progress) -> WayReader:
    """Return a reader that shows its progress."""
    task = progress.add_task("reading contact ways", total=None, visible=False)
    return WayReader(
        wecom,
        at_once=desk.settings.quota_in_flight,
        notify=printer(progress),
        advance=lambda done, total: progress.update(task, completed=done, total=total, visible=True),
    )
