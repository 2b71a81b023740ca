"""What processes that share a SQLite file tell each other about APIs that are held back: a table that each reads."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from apsw import Connection

from shared.quota.holds import HoldChange
from shared.quota.notices import Listener
from shared.quota.port import HoldKind
from shared.sqlite.database import Database


class SqliteNotices:
    """:class:`~shared.quota.notices.Notices` in a SQLite file. Survives every process."""

    def __init__(self, database: Database, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._monotonic = monotonic
        self._listener: Listener = lambda _: None
        self._read = 0

    def listen(self, listener: Listener) -> None:
        """Call *listener* with what others told, at the next refresh."""
        self._listener = listener

    async def refresh(self) -> None:
        """Read what is new in the table."""

        def work(connection: Connection) -> list[Any]:
            return connection.execute(
                "SELECT number, kind, endpoint, staff, version, until, closed, long, errcode, reason"
                " FROM quota_hold WHERE number > ? ORDER BY number",
                (self._read,),
            ).fetchall()

        rows = await self._database.read(work)
        if rows:
            self._read = rows[-1][0]
            now = self._monotonic()
            self._listener([_change(row[1:], now) for row in rows])

    async def tell(self, changes: Sequence[HoldChange]) -> None:
        """Write *changes* where every process reads them before its next call."""

        def work(connection: Connection) -> None:
            now = self._monotonic()
            for change in changes:
                _tell(connection, change, now)

        await self._database.write(work)

    async def claim(self, name: str, seconds: float, owner: str = "") -> bool:
        """Return True to one process within *seconds*, and again to its *owner*."""

        def work(connection: Connection) -> bool:
            now = self._monotonic()
            connection.execute("DELETE FROM quota_claim WHERE until <= ?", (now,))
            connection.execute(
                "INSERT INTO quota_claim VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until"
                " WHERE owner <> '' AND owner = excluded.owner",
                (name, now + seconds, owner),
            )
            return connection.changes() == 1

        return await self._database.write(work)

    async def release(self, name: str, owner: str) -> None:
        """Let others claim *name* if *owner* has it."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM quota_claim WHERE name = ? AND owner = ?", (name, owner))
        )


def _tell(connection: Connection, change: HoldChange, now: float) -> None:
    """Keep *change* under a new number, unless something newer is kept."""
    where = (change.kind, change.endpoint, change.staff)
    known: Any = connection.execute(
        "SELECT version FROM quota_hold WHERE kind = ? AND endpoint = ? AND staff = ?", where
    ).get
    if known is not None and known > change.version:
        return
    connection.execute("DELETE FROM quota_hold WHERE kind = ? AND endpoint = ? AND staff = ?", where)
    state = (change.version, now + change.seconds, change.closed, change.long, change.errcode, change.reason)
    connection.execute(
        "INSERT INTO quota_hold (kind, endpoint, staff, version, until, closed, long, errcode, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*where, *state),
    )


def _change(row: Sequence[Any], now: float) -> HoldChange:
    kind, endpoint, staff, version, until, closed, long, errcode, reason = row
    return HoldChange(
        kind=HoldKind(kind),
        endpoint=endpoint,
        staff=staff,
        version=version,
        seconds=max(0.0, until - now),
        closed=bool(closed),
        long=bool(long),
        errcode=errcode,
        reason=reason,
    )
