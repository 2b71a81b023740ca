"""What every `qudao channels` command begins with: settings, channels, lock, and a WeCom to ask."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from rich.progress import Progress

from cli.compose.deployment import open_deployment
from cli.compose.files import read_channels
from cli.compose.services import open_api
from cli.progress import printer
from shared.domain.channels.lock import LockedWays
from shared.domain.channels.model import Channels
from shared.domain.errors import ConfigurationError, ConfigurationNeeded, StaffBlocked
from shared.domain.events import Lane
from shared.logs import configure_logging
from shared.settings import Need, Settings, load_settings
from shared.wecom.client import WeCom
from workers.jobs.lock_file import LockFile, lock_path
from workers.jobs.others_file import OthersFile, others_path
from workers.jobs.staff_check import able_staff
from workers.jobs.way_reader import WayReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What lies on the desk before WeCom is asked."""

    settings: Settings
    channels: Channels
    file: LockFile
    lock: LockedWays
    others: OthersFile


def open_desk() -> Desk:
    """
    Return settings, channels and lock.

    Raises:
        ConfigurationError: All problems of the two files at once.
    """
    settings = load_settings(Need.API)
    configure_logging("error", settings.log_format)  # what the quota warns of is told in words
    file = LockFile(path=lock_path(settings.channels), corp=settings.corp_id)
    problems: list[str] = []
    channels, lock = Channels(), LockedWays(corp_id=settings.corp_id)
    try:
        channels = read_channels(settings.channels, settings.time_zone)
    except ConfigurationError as error:
        problems += error.problems
    try:
        lock = file.read()
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    others = OthersFile(path=others_path(settings.channels), corp=settings.corp_id)
    return Desk(settings=settings, channels=channels, file=file, lock=lock, others=others)


@contextmanager
def held_desk() -> Iterator[Desk]:
    """Yield what :func:`open_desk` returns, with the lock held: nobody else changes it meanwhile."""
    desk = open_desk()
    with desk.file.held():
        yield replace(desk, lock=desk.file.read())


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
async def open_bulk_api(settings: Settings) -> AsyncIterator[WeCom]:
    """Yield a client whose calls count as bulk work."""
    async with open_deployment(settings) as deployment, open_api(settings, deployment, Lane.BULK) as wecom:
        yield wecom


def way_reader(wecom: WeCom, desk: Desk, progress: Progress) -> WayReader:
    """Return a reader that shows its progress."""
    task = progress.add_task("reading contact ways", total=None, visible=False)
    return WayReader(
        wecom,
        at_once=desk.settings.quota_in_flight,
        notify=printer(progress),
        advance=lambda done, total: progress.update(task, completed=done, total=total, visible=True),
    )
