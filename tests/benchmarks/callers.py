"""Callers who send valid callbacks at a steady rate."""

import asyncio
import time
from collections import Counter
from itertools import count

import aiohttp

from tests.rigs.ingress import added

WELL = "200"


class Callers:
    """
    Send callbacks to a port of this machine, every other one on a connection of its own.

    Attributes:
        outcomes: How often they were answered what, or failed with what and on which kind of connection.
        seconds: How long each took.
    """

    def __init__(self, port: int, rate: float) -> None:
        self._url, self._rate = f"http://127.0.0.1:{port}", rate
        self._numbers = count()
        self.outcomes: Counter[str] = Counter()
        self.seconds: list[float] = []

    @property
    def failures(self) -> dict[str, int]:
        """Return the outcomes that are not well."""
        return {outcome: times for outcome, times in self.outcomes.items() if outcome != WELL}

    def reset(self) -> None:
        """Begin to count anew."""
        self.seconds, self.outcomes = [], Counter()

    async def run(self) -> None:
        """Send for ever."""
        begun = time.monotonic()
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as kept,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as fresh,
            asyncio.TaskGroup() as group,
        ):
            for number in self._numbers:
                await asyncio.sleep(max(0.0, begun + number / self._rate - time.monotonic()))
                kind = ("kept", "fresh")[number % 2]
                group.create_task(self._send(kept if kind == "kept" else fresh, kind, number))

    async def _send(self, session: aiohttp.ClientSession, kind: str, number: int) -> None:
        sent, started = added(number), time.perf_counter()
        try:
            async with session.post(self._url + sent.path, data=sent.body) as response:
                outcome = str(response.status)
        except (OSError, aiohttp.ClientError) as error:
            outcome = f"{kind}: {type(error).__name__}: {error}"
        self.outcomes[outcome] += 1
        self.seconds.append(time.perf_counter() - started)
