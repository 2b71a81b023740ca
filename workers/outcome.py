"""How a delivery that did not fail ended."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``result`` is ``marked``, ``welcomed`` or ``skipped``; ``reason`` says why, ``channel`` whose customer it is."""

    result: str
    reason: str = ""
    channel: str = ""
