"""
Claims: which process of a deployment does what only one of them needs to do.

For work that a second process may repeat without harm: a claim saves effort, it guards nothing.
"""

from typing import Protocol


class Claims(Protocol):
    """Tells the processes of one deployment apart."""

    async def claim(self, name: str) -> bool:
        """
        Tell whether this process is the one that does *name*; it then stays that for as long as it is connected.

        Raises:
            QueueUnavailable: Nobody can tell now.
        """
        ...


class SoleClaims:
    """The claims of the only process there is: of those that share a queue file, one alone consumes."""

    async def claim(self, name: str) -> bool:
        """Tell that this process does everything."""
        del name
        return True
