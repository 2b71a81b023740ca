"""What a handler may use. Built once in the composition root."""

import asyncio
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from shared.clock import Clock
from shared.domain.channels.model import Channels
from shared.domain.events import Lane
from shared.domain.ids import ExternalUserId, StaffUserId
from shared.wecom.client import WeCom
from workers.tags import Tags


class RelationLocks:
    """
    One lock for each relation in hand, so that two events about it do not both read "unset" and both write.

    It covers one process. Across processes a second writer writes the same value again, which is harmless.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def of(self, staff: StaffUserId, customer: ExternalUserId) -> asyncio.Lock:
        """Return the lock of the relation; keep a reference while it is needed."""
        key = (staff.casefold(), str(customer))
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """
    What handlers act with.

    Attributes:
        wecom: The API client, bound to the lane the work came from.
        channels: The channels as configured.
        tags: Corp tags by name.
    """

    wecom: WeCom
    channels: Channels
    clock: Clock
    tags: Tags
    relations: RelationLocks = field(default_factory=RelationLocks)

    def on(self, lane: Lane) -> "Services":
        """Return the same, calling WeCom in *lane*'s share of the quota."""
        return replace(self, wecom=self.wecom.on(lane))
