"""Contact ways in memory: for tests."""

from collections.abc import Mapping

from shared.domain.channels.lock import LockedWays
from shared.domain.errors import ConfigurationError
from shared.domain.ids import ContactWayId, CorpId
from shared.state.ways import CLAIM, TAKEN_OVER, RowKey, WayRow, difference, locked_ways
from tests.doubles.notices import MemoryNotices


class MemoryWays:
    """A :class:`~shared.state.ways.WayStore` of one process."""

    def __init__(self, corp: CorpId, notices: MemoryNotices) -> None:
        self._corp = corp
        self._notices = notices
        self._rows: dict[RowKey, WayRow] = {}
        self._others: dict[ContactWayId, str] = {}

    async def read(self) -> LockedWays:
        return locked_ways(self._corp, self._rows.values())

    async def write(self, owner: str, before: LockedWays, after: LockedWays) -> None:
        if self._notices.owner(CLAIM) != owner:
            raise ConfigurationError([TAKEN_OVER])
        written, removed = difference(before, after)
        for key in removed:
            self._rows.pop(key, None)
        self._rows |= {(row.kind, row.id): row for row in written}

    async def others(self) -> dict[ContactWayId, str]:
        return dict(self._others)

    async def keep_others(self, states: Mapping[ContactWayId, str]) -> None:
        self._others = dict(states)
