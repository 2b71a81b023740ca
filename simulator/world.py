"""What all corps of one simulator share: the time, the people, and what WeCom counts by the caller's address."""

import asyncio
from collections import defaultdict, deque
from itertools import count

from simulator.clock import ScenarioClock
from simulator.corp import Corp, Customer
from simulator.limits import SlidingWindow


class World:
    """The WeCom around the corps. Everything a corp has for itself is in its ``Scenario``."""

    def __init__(self) -> None:
        self.clock = ScenarioClock()
        self.corps: list[Corp] = []
        self.calls = count(1)  # numbers every call of every corp, so that no two have one trace id
        self.windows: dict[tuple[str, str, str], SlidingWindow] = {}
        self.wrong_secrets: defaultdict[str, deque[float]] = defaultdict(deque)
        self.banned_until: dict[str, float] = {}
        self.stopping = asyncio.Event()
        self.url = ""  # where all this is served, once it is

    def enter(self, corp: Corp) -> None:
        """
        Add *corp*.

        Raises:
            ValueError: There is one with its id.
        """
        if any(corp.corp_id == other.corp_id for other in self.corps):
            raise ValueError(f"there is a corp {corp.corp_id} already")
        self.corps.append(corp)

    def customer(self, external_userid: str) -> Customer | None:
        """Return whom any corp knows by this id."""
        found = (corp.customers.get(external_userid) for corp in self.corps)
        return next((customer for customer in found if customer is not None), None)
