"""
Points of an event's life at which the fault campaign lets the process die; anywhere else they do nothing.

A process that is started with ``QUDAO_TEST_DIE_AT=mark.read:3`` kills itself when it passes that point the third time.
Where the points are is in ``tests/faults/points.py``.
"""

import os
import signal
from dataclasses import dataclass
from functools import cache
from typing import Final

DIE_AT: Final = "QUDAO_TEST_DIE_AT"


@dataclass(slots=True)
class _Death:
    """Where the process dies, and how often it may pass there until then."""

    point: str
    passages: int


def passing(point: str) -> None:
    """Say that *point* is passed: the process ends here, as by ``kill -9``, if that is what it was started for."""
    death = _appointed()
    if death is not None and death.point == point:
        death.passages -= 1
        if death.passages <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


@cache
def _appointed() -> _Death | None:
    point, _, passages = os.environ.get(DIE_AT, "").partition(":")
    return _Death(point, int(passages or 1)) if point else None
