"""
Copies of an event that is durable already: answered 200 and not published again.

WeCom sends an event again when it saw no answer, and now and then for no reason. A copy is only ever left out once the
first one is durable, so a failed attempt never turns the retry into a "duplicate". The memory is this process's own and
short: whatever slips through is harmless (docs/decisions/0003-duplicates.md).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from ingress.spool.queue import Intake
from shared.domain.events import Lane
from shared.domain.ids import EventId
from shared.queue.message import Message

REMEMBERED: Final = 50_000
"""Events remembered, about 10 MB; WeCom's own retries come within seconds."""


class Once:
    """Publishes each event once, as far as this process remembers."""

    def __init__(self, queue: Intake, *, remembered: int = REMEMBERED) -> None:
        self._queue = queue
        self._remembered = remembered
        self._durable: OrderedDict[EventId, None] = OrderedDict()
        self._publishing: dict[EventId, asyncio.Event] = {}

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> bool:
        """
        Return once the event is durable in all *lanes*: True if this call made it so, False if a copy had before.

        Raises:
            QueueUnavailable: It is not durable.
        """
        key = message.event_id
        while key in self._publishing:
            await self._publishing[key].wait()
        if key in self._durable:
            return False
        ended = self._publishing[key] = asyncio.Event()
        try:
            await self._queue.publish(message, lanes)
            self._remember(key)
        finally:
            del self._publishing[key]
            ended.set()
        return True

    def _remember(self, key: EventId) -> None:
        self._durable[key] = None
        if len(self._durable) > self._remembered:
            self._durable.popitem(last=False)
