"""The state of a deployment, whichever database it is in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from shared.quota.notices import Notices
from shared.quota.port import Counters
from shared.state.copying import StateTables
from shared.state.journal import CustomerJournal
from shared.state.ways import WayStore


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedState:
    """
    What all processes of one deployment share beside messages.

    Attributes:
        name: What tells it from the state of any other deployment.
        counters: Where calls are counted.
        notices: What is held back, and who does what only one may.
        journal: What was done to whom.
        ways: The contact ways of the channels.
        tables: All of it, to be copied.
        tell_time: Returns Unix seconds by the state's own clock; None where that is this machine's.
    """

    name: str
    counters: Counters
    notices: Notices
    journal: CustomerJournal
    ways: WayStore
    tables: StateTables
    tell_time: Callable[[], Awaitable[float]] | None = None
