"""What happens to the spool, counted and told: a line for many events, since an outage has thousands."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.queue.port import Depth
from shared.summaries import Summaries

log = structlog.get_logger()

SAY_SECONDS: Final = 10.0
"""Between two lines about events that go into the spool, and between two about what comes out of it."""


class SpoolLog:
    """The spool's counters in *registry*, and its log lines."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._spooled = Counter("qudao_spooled", "Events that went to the spool", registry=registry)
        self._waiting = Gauge("qudao_spool_waiting", "Entries that wait in the spool, one a lane", registry=registry)
        self._usable = Gauge("qudao_spool_usable", "1 while the spool's file can take events", registry=registry)
        self._depths: dict[Path, int] = {}
        self._summaries = Summaries(SAY_SECONDS)
        self._problem = ""

    def took(self, reason: str) -> None:
        """Count an event that the broker could not take for *reason*."""
        self._spooled.inc()
        self._summaries.note(
            "took", lambda times: log.warning("spool.took", events=times, reason=reason, waiting=self._total())
        )

    def gave(self, entries: int) -> None:
        """Count *entries* that are in the broker now."""
        self._summaries.note(
            "gave", lambda times: log.info("spool.gave", entries=times, waiting=self._total()), times=entries
        )

    def waits(self, path: Path, depths: Sequence[Depth]) -> None:
        """Note what waits in the file at *path*; called every so often, it says what is due."""
        self._depths[path] = sum(depth.messages for depth in depths)
        self._waiting.set(self._total())
        self._summaries.flush()

    def opened(self, path: Path) -> None:
        """Tell that there is a file for what the broker cannot take."""
        self._problem = ""
        self._usable.set(1)
        log.info("spool.opened", file=str(path))

    def unusable(self, problem: str) -> None:
        """Tell that there is none, once for each *problem*."""
        self._usable.set(0)
        if problem != self._problem:
            self._problem = problem
            log.error("spool.unusable", reason=problem)

    def set_aside(self, path: Path, reason: str) -> None:
        """Tell that the file at *path* stays as it is."""
        log.error("spool.set_aside", file=str(path), reason=reason, remedy="see docs/how-to/on-call.md")

    def _total(self) -> int:
        return sum(self._depths.values())
