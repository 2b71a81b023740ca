"""What a kind of fault is."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults.deployment import Deployment, Layout

Strike = Callable[[Deployment, Random], Awaitable[str]]
"""Strikes once; returns what was done, at the moment when it is over."""


@contextmanager
def in_folder(folder: Path) -> Iterator[Path]:
    """Yield a place to work in below *folder*."""
    work = folder / "work"
    work.mkdir()
    yield work


@dataclass(frozen=True)
class Kind:
    """
    A kind of fault, called as what strikes.

    Attributes:
        layouts: The deployments that it can strike.
        at_once: Strikes in one round.
        proxied: Whether the network goes by a proxy.
        place: Makes the working folder.
        patience: Seconds after the last strike in which everybody accepted must be done: what is busy twice waits for
            a minute.
        drawn: Whether it is among those that a campaign chooses from.
    """

    strike: Strike
    layouts: tuple[Layout, ...]
    at_once: int = 5
    proxied: bool = False
    place: Callable[[Path], AbstractContextManager[Path]] = in_folder
    patience: float = 150.0
    drawn: bool = True

    @property
    def name(self) -> str:
        """Return what it is called."""
        return self.strike.__name__
