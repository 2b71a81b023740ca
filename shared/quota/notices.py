"""
What workers tell each other about APIs that are held back, and who may do what only one may.

The port; its adapters are in the engines' rooms.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from shared.quota.holds import HoldChange

Listener = Callable[[Sequence[HoldChange]], None]

Claim = Callable[[str, float], Awaitable[bool]]
"""Given what is to be done: tells one process of the deployment within so many seconds that it does it."""


class Notices(Protocol):
    """Between all workers of the deployment."""

    def listen(self, listener: Listener) -> None:
        """Call *listener* with whatever others tell, and with what was told before and still holds."""
        ...

    async def refresh(self) -> None:
        """Return once the listener knows all that others have told."""
        ...

    async def tell(self, changes: Sequence[HoldChange]) -> None:
        """
        Tell all other workers, and those that join later.

        Raises:
            QueueUnavailable: Not all may have heard it.
        """
        ...

    async def claim(self, name: str, seconds: float, owner: str = "") -> bool:
        """
        Return True to one worker of the deployment within *seconds*, False to the others.

        An *owner* who has it may claim it again, for so many seconds from then on.

        Raises:
            QueueUnavailable: Nobody can tell.
        """
        ...

    async def release(self, name: str, owner: str) -> None:
        """Let others claim *name* if *owner* has it; QueueUnavailable if that cannot be said."""
        ...
