"""The kinds of faults there are, by name."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.faults.deployment import Deployment, Layout
from tests.faults.strikes import brokers, processes, wecom

Strike = Callable[[Deployment, Random], Awaitable[str]]
"""Strikes once; returns what was done at the moment when it is over."""


@contextmanager
def in_folder(folder: Path) -> Iterator[Path]:
    """Yield a place to work in below *folder*."""
    work = folder / "work"
    work.mkdir()
    yield work


@dataclass(frozen=True, kw_only=True)
class Kind:
    """
    A kind of fault.

    Attributes:
        layouts: The deployments that it can strike.
        at_once: Strikes in one round.
        proxied: Whether the network goes by a proxy.
        place: Makes the working folder.
    """

    name: str
    strike: Strike
    layouts: tuple[Layout, ...]
    at_once: int = 6
    proxied: bool = False
    place: Callable[[Path], AbstractContextManager[Path]] = in_folder


KINDS: Final = {
    name: Kind(name=name, strike=strike, layouts=layouts)
    for family in (processes, brokers, wecom)
    for name, (strike, layouts) in family.FAULTS.items()
}
