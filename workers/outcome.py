"""How a delivery that did not fail ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

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
    ``result`` is ``marked``, ``welcomed`` or ``skipped``; ``reason`` says why, ``channel`` whose customer it is.

    ``parts`` says of a mark what became of ``remark`` and ``tags``. ``trouble`` is what a person should look at, though
    the work is done.
    """

    result: str
    reason: str = ""
    channel: str = ""
    parts: Mapping[str, Part] = field(default_factory=dict)
    trouble: Failure | None = None
