"""
A model of the broker: windows that count exactly, places that go round, latency, restarts, and workers that vanish.

It stands where ``shared.quota.rabbitmq`` stands, under the very acquirer that runs in production.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from random import Random

from shared.domain.errors import QueueUnavailable
from shared.quota.acquirer import Window, capacity, lifetime, places
from shared.quota.port import SETTLE_SECONDS, Limits


class BrokerModel:
    """The broker of one deployment."""

    def __init__(self, limits: Limits, random: Random) -> None:
        self.limits = limits
        self.random = random
        self.up = True
        self.asked = 0
        self._slots: defaultdict[tuple[str, Window], deque[float]] = defaultdict(deque)
        self._free: defaultdict[str, int] = defaultdict(lambda: places(limits))
        self._waiting: defaultdict[str, list[Waiter]] = defaultdict(list)
        self.links: dict[Link, None] = {}

    def stop(self) -> None:
        """Go down: every link is cut, and the places that were held are free again. The windows are on the disk."""
        self.up = False
        for link in list(self.links):
            link.cut()

    def start(self) -> None:
        self.up = True

    def occupy(self, endpoint: str, window: Window) -> bool:
        self.asked += 1
        slots, now = self._slots[endpoint, window], _now()
        while slots and slots[0] <= now:
            slots.popleft()
        if len(slots) >= capacity(self.limits, window):
            return False
        slots.append(now + lifetime(self.limits, window))
        return True

    def occupied(self, endpoint: str, window: Window) -> int:
        return len(self._slots[endpoint, window])

    def wait(self, waiter: "Waiter") -> None:
        self._waiting[waiter.endpoint].append(waiter)
        self._serve(waiter.endpoint)

    def give_back(self, endpoint: str) -> None:
        self._free[endpoint] += 1
        self._serve(endpoint)

    def forget(self, link: "Link") -> None:
        """Drop those who wait over *link*."""
        for waiting in self._waiting.values():
            waiting[:] = [waiter for waiter in waiting if waiter.link is not link]

    def _serve(self, endpoint: str) -> None:
        waiting = self._waiting[endpoint]
        while self._free[endpoint] and waiting:
            waiter = next((one for one in waiting if one.urgent), waiting[0])
            waiting.remove(waiter)
            self._free[endpoint] -= 1
            waiter.link.deliver(waiter)


class Waiter:
    """A consumer that waits for one place."""

    def __init__(self, link: "Link", endpoint: str, *, urgent: bool) -> None:
        self.link = link
        self.endpoint = endpoint
        self.urgent = urgent
        self.arrived: asyncio.Future[HeldPlace] = _loop().create_future()


class Link:
    """One worker's connection, with its latency. What acquirers use as their broker."""

    def __init__(self, broker: BrokerModel) -> None:
        self._broker = broker
        self._held: dict[HeldPlace, None] = {}
        self._waiters: dict[Waiter, None] = {}
        self.open = broker.up
        self.frozen: asyncio.Event | None = None
        self._ended = False
        if broker.up:
            broker.links[self] = None
        else:
            _loop().call_later(0.5, self._come_back)

    async def place(self, endpoint: str, *, urgent: bool) -> "HeldPlace":
        await self._travel()
        waiter = Waiter(self, endpoint, urgent=urgent)
        self._waiters[waiter] = None
        self._broker.wait(waiter)
        try:
            place = await waiter.arrived
        finally:
            self._waiters.pop(waiter, None)
        await self._pause()
        return place

    async def occupy(self, endpoint: str, window: Window) -> bool:
        await self._travel()
        occupied = self._broker.occupy(endpoint, window)
        await self._travel()
        return occupied

    def deliver(self, waiter: Waiter) -> None:
        """Hand a place over; the broker holds it for this link from now on."""
        place = HeldPlace(self, waiter.endpoint)
        self._held[place] = None
        _loop().call_later(self._latency(), _resolve, waiter.arrived, place)

    def give_back(self, place: "HeldPlace") -> None:
        if place in self._held:
            del self._held[place]
            _loop().call_later(self._latency(), self._broker.give_back, place.endpoint)

    def cut(self, *, for_ever: bool = False) -> None:
        """The connection is gone: the broker takes the places back, whoever waits is told; it comes back in a while."""
        if for_ever:
            self._ended = True
        if not self.open:
            return
        self.open = False
        self._broker.links.pop(self, None)
        self._broker.forget(self)
        held, self._held = self._held, {}
        for waiter in list(self._waiters):
            if not waiter.arrived.done():
                waiter.arrived.set_exception(QueueUnavailable("the link was cut"))
        for place in held:  # in truth another worker takes it and lets it settle
            _loop().call_later(SETTLE_SECONDS, self._broker.give_back, place.endpoint)
            place.lose()
        _loop().call_later(self._broker.random.uniform(0.3, 1.0), self._come_back)

    def _come_back(self) -> None:
        """Connect again, like any client, some time after the broker is up."""
        if self._ended:
            return
        if self._broker.up and self.frozen is None:
            self.open = True
            self._broker.links[self] = None
        else:
            _loop().call_later(self._broker.random.uniform(0.3, 1.0), self._come_back)

    async def _travel(self) -> None:
        if not self.open:
            raise QueueUnavailable("the broker is away")
        await asyncio.sleep(self._latency())
        await self._pause()
        if not self.open:
            raise QueueUnavailable("the link was cut")

    async def _pause(self) -> None:
        """A stopped process does nothing with what has arrived until it goes on."""
        if self.frozen is not None:
            await self.frozen.wait()

    def _latency(self) -> float:
        return self._broker.random.choice((0.0005, 0.001, 0.002, 0.01))


class HeldPlace:
    def __init__(self, link: Link, endpoint: str) -> None:
        self.endpoint = endpoint
        self._link = link
        self._lost = False
        self._end: Callable[[], None] | None = None

    def release(self) -> None:
        self._link.give_back(self)

    def when_lost(self, end: Callable[[], None] | None) -> None:
        self._end = end
        if self._lost and end is not None:
            end()

    def lose(self) -> None:
        self._lost = True
        if self._end is not None:
            self._end()


def _resolve(arrived: "asyncio.Future[HeldPlace]", place: HeldPlace) -> None:
    if not arrived.done():
        arrived.set_result(place)
    else:
        place.release()


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _now() -> float:
    return _loop().time()
