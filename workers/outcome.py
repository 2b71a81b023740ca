"""How a delivery that did not fail ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.domain.events import MarkWritten
from shared.queue.message import Failure


class Part(StrEnum):
    """How one part of a mark ended."""

    WRITTEN = "written"
    RIGHT = "right"
    """There was nothing to write."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    ``result`` is ``marked``, ``welcomed`` or ``skipped``, of a second look ``kept`` or ``repeated``, of a customer who
    went ``lost`` or ``transferred``; ``reason`` says why, ``channel`` whose customer it is.

    ``parts`` says of a mark what became of ``remark`` and ``tags``. ``trouble`` is what a person should look at, though
    the work is done. ``look`` is what is to be looked at once more, ``digest`` tells the remark that was written.
    ``came_at`` and ``state`` are what the relation says of when and whence the customer came, if it was read.
    """

    result: str
    reason: str = ""
    channel: str = ""
    parts: Mapping[str, Part] = field(default_factory=dict)
    trouble: Failure | None = None
    look: MarkWritten | None = None
    digest: str = ""
    came_at: int = 0
    state: str | None = None
