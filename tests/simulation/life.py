"""Whether a process runs, is stopped or is dead: what it does to the world passes here."""

import asyncio

from shared.domain.errors import QueueUnavailable


class Life:
    """Of one process."""

    def __init__(self) -> None:
        self.dead = False
        self._frozen: asyncio.Event | None = None

    def freeze(self) -> None:
        """Stop it as SIGSTOP does."""
        if self._frozen is None:
            self._frozen = asyncio.Event()

    def thaw(self) -> None:
        """Let it go on."""
        frozen, self._frozen = self._frozen, None
        if frozen is not None:
            frozen.set()

    def kill(self) -> None:
        """Let it do nothing more."""
        self.dead = True
        self.thaw()

    async def go_on(self) -> None:
        """
        Return once the process runs.

        Raises:
            QueueUnavailable: It was killed, so that nothing of it reaches anybody.
        """
        if self._frozen is not None:
            await self._frozen.wait()
        self.require()

    def require(self) -> None:
        """Raise QueueUnavailable when it was killed."""
        if self.dead:
            raise QueueUnavailable("this process was killed")
