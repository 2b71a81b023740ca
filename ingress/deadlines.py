"""
Answers for callbacks whose publish takes too long, while the publish goes on.

WeCom gets its 503 in time, but the publish is not cancelled: a cancelled one may or may not be durable, and
may leave the broker's channel unusable. So the handler keeps waiting, and somebody else sends its answer.
One task looks after all of them: a timer and a task per callback would cost more than the rest of accepting
it.
"""

import asyncio
from collections.abc import Callable
from itertools import takewhile
from typing import Final

from aiohttp import web

DEADLINE: Final = 2.5
"""Seconds from publish to answer; WeCom hangs up after five, counted from further back."""

LIMIT: Final = 10_000
"""Publishes on their way at which others are answered 503 at once."""

_TICKS: Final = 25


class Pending:
    """A publish on its way, and how its callback fared meanwhile."""

    __slots__ = ("due", "fail", "request", "sending")

    def __init__(self, request: web.Request, due: float, fail: Callable[[], web.Response]) -> None:
        self.request = request
        self.due = due
        self.fail = fail
        self.sending: asyncio.Task[web.Response] | None = None


class Deadlines:
    """Sends ``fail()`` as the answer of whatever is pending for *seconds*."""

    def __init__(self, seconds: float = DEADLINE, *, limit: int = LIMIT) -> None:
        self._tick = seconds / _TICKS
        self._seconds = seconds - self._tick
        self._limit = limit
        self._pending: dict[Pending, None] = {}
        self._late = 0

    def __len__(self) -> int:
        """Return how many publishes are on their way, late ones too."""
        return len(self._pending) + self._late

    @property
    def full(self) -> bool:
        """Tell whether so many are on their way that another one would only wait, and fill the memory."""
        return len(self) >= self._limit

    def start(self, request: web.Request, fail: Callable[[], web.Response]) -> Pending:
        """Begin to wait on behalf of *request*."""
        pending = Pending(request, asyncio.get_running_loop().time() + self._seconds, fail)
        self._pending[pending] = None
        return pending

    async def end(self, pending: Pending) -> web.Response | None:
        """End the wait; return the answer if one was sent already, for the handler to return it once more."""
        if pending.sending is None:
            del self._pending[pending]
            return None
        self._late -= 1
        return await pending.sending

    async def watch(self) -> None:
        """Answer what is due, until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(self._tick)
                now = loop.time()
                for pending in list(takewhile(lambda each: each.due <= now, self._pending)):  # noqa: B023 - used at once
                    del self._pending[pending]
                    self._late += 1
                    pending.sending = group.create_task(_send(pending.request, pending.fail()))


async def _send(request: web.Request, response: web.Response) -> web.Response:
    try:
        await response.prepare(request)
        await response.write_eof()
    except ConnectionError:
        pass  # nobody is left to be answered
    return response
