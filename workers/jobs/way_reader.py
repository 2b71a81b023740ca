"""Looks at the contact ways that WeCom has. Ways made by API are listed by id alone, so each costs a call to read."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from shared.domain.channels.lock import SLACK, Intent, LockedWays
from shared.domain.channels.model import Channels
from shared.domain.channels.plans import Observed, lacks_a_way, refresh, resolve
from shared.domain.channels.ways import Way
from shared.domain.errors import PermanentError
from shared.domain.ids import ContactWayId
from shared.wecom.client import WeCom
from workers.patience import Notify, Sleep, patiently

LISTED_SINCE: Final = 1_625_846_400
"""2021-07-10 in China: WeCom lists no way that is older."""

Advance = Callable[[int, int], None]
"""Told how many ways were read, and of how many."""


def _tell_nobody(*_: object) -> None:
    return


class WayReader:
    """Reads ways, each once, three at a time unless told otherwise."""

    def __init__(
        self,
        wecom: WeCom,
        *,
        at_once: int = 3,
        notify: Notify = _tell_nobody,
        sleep: Sleep = asyncio.sleep,
        advance: Advance = _tell_nobody,
    ) -> None:
        self._wecom = wecom
        self._at_once = at_once
        self._notify = notify
        self._sleep = sleep
        self._advance = advance
        self._ways: dict[ContactWayId, Way] = {}
        self._missing: set[ContactWayId] = set()

    async def observe(
        self,
        channels: Channels,
        lock: LockedWays,
        *,
        now: float,
        others: Mapping[ContactWayId, str] = MappingProxyType({}),
        everything: bool = False,
        anew: bool = False,
    ) -> Observed:
        """
        Return what a plan needs to know, by as few calls as possible.

        The ways of *lock* are taken as it says, and the states of others' as *others* says, unless *anew*. Others' ways
        are asked for only when a channel has none yet, or *everything* is.

        Raises:
            WeComError: It cannot be told.
        """
        listed = await self._listed(LISTED_SINCE)
        recent: frozenset[ContactWayId] = frozenset()
        if lock.intents:
            recent = await self._listed(_since(lock.intents.values()))
        ours = lock.ids()
        doubtful = {way.config_id for way in lock.ways() if anew or not way.sure}
        await self._read(doubtful | (ours - listed) | (recent - ours))
        observed = self._observed(lock, recent, now)
        known = {config_id: others[config_id] for config_id in others.keys() & listed - ours}
        if everything or lacks_a_way(channels, refresh(resolve(lock, observed), observed)):
            if everything or anew:
                known = {}
            unknown = listed - ours - known.keys()
            await self._read(unknown)
            known |= {config_id: self._ways[config_id].state for config_id in unknown & self._ways.keys()}
            known |= dict.fromkeys(unknown & self._missing, "")
        return replace(self._observed(lock, recent, now), others=known)

    async def made_by(self, intent: Intent, lock: Callable[[], LockedWays]) -> list[Way]:
        """Return the ways that came since *intent* began, look like it, and are not in what *lock* returns then."""
        recent = await self._listed(_since([intent]))
        await self._read(recent - lock().ids())
        unknown = recent - lock().ids()
        return [way for way in (self._ways.get(config_id) for config_id in unknown) if way and intent.looks_like(way)]

    async def exists(self, config_id: ContactWayId) -> bool:
        """Tell whether there is a way *config_id* now."""
        self._ways.pop(config_id, None)
        self._missing.discard(config_id)
        await self._read({config_id})
        return config_id in self._ways

    def _observed(self, lock: LockedWays, recent: frozenset[ContactWayId], now: float) -> Observed:
        gone = lock.ids() & self._missing
        return Observed(ways=dict(self._ways), gone=gone, recent=recent, now=now)

    async def _listed(self, since: int) -> frozenset[ContactWayId]:
        async def ids() -> frozenset[ContactWayId]:
            return frozenset(
                [config_id async for page in self._wecom.list_contact_way(start_time=since) for config_id in page]
            )

        return await patiently(ids, notify=self._notify, sleep=self._sleep)

    async def _read(self, wanted: Iterable[ContactWayId]) -> None:
        pending = deque(sorted(set(wanted) - self._ways.keys() - self._missing))
        total = len(pending)

        async def work() -> None:
            while pending:
                await self._read_one(pending.popleft())
                self._advance(total - len(pending), total)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._at_once, total)):
                group.create_task(work())

    async def _read_one(self, config_id: ContactWayId) -> None:
        try:
            way = await patiently(
                lambda: self._wecom.get_contact_way(config_id), notify=self._notify, sleep=self._sleep
            )
        except PermanentError:
            self._missing.add(config_id)  # deleted, or another app's: nothing of ours in either case
        else:
            self._ways[config_id] = way


def _since(intents: Iterable[Intent]) -> int:
    return int(min(intent.started_at for intent in intents) - SLACK)
