"""What processes that share a PostgreSQL database tell each other about APIs that are held back."""

from collections.abc import Sequence
from typing import Any, Final

from shared.postgres import Postgres
from shared.quota.holds import HoldChange
from shared.quota.notices import Listener
from shared.quota.port import HoldKind
from shared.state.postgres.quota import PostgresQuota

_NEWS: Final = "SELECT *, greatest(0, until - qudao_now()) AS seconds FROM qudao_hold WHERE corp = $1 AND number > $2"
_TELL: Final = """
INSERT INTO qudao_hold (corp, kind, endpoint, staff, version, until, closed, long, errcode, reason)
VALUES ($1, $2, $3, $4, $5, qudao_now() + $6, $7, $8, $9, $10)
ON CONFLICT (corp, kind, endpoint, staff) DO UPDATE SET
    number = nextval('qudao_hold_number_seq'), version = excluded.version, until = excluded.until,
    closed = excluded.closed, long = excluded.long, errcode = excluded.errcode, reason = excluded.reason
WHERE qudao_hold.version <= excluded.version
"""
_CLAIM: Final = """
INSERT INTO qudao_claim VALUES ($1, $2, qudao_now() + $3, $4)
ON CONFLICT (corp, name) DO UPDATE SET until = excluded.until, owner = excluded.owner
    WHERE qudao_claim.until <= qudao_now() OR (qudao_claim.owner <> '' AND qudao_claim.owner = excluded.owner)
"""
_RELEASE: Final = "DELETE FROM qudao_claim WHERE corp = $1 AND name = $2 AND owner = $3"


class PostgresNotices:
    """:class:`~shared.quota.notices.Notices` in a PostgreSQL database. Survives every process."""

    def __init__(self, database: Postgres, quota: PostgresQuota, corp: str) -> None:
        """Ask *quota*, which hears of it with each grant, whether there is news."""
        self._database = database
        self._quota = quota
        self._corp = corp
        self._listener: Listener = lambda _: None
        self._read = 0
        self._unheard = True
        database.listen(self._hear)

    def listen(self, listener: Listener) -> None:
        """Call *listener* with what others told, at the next refresh."""
        self._listener = listener

    async def refresh(self) -> None:
        """Read what is new, if anything is."""
        if not self._unheard and self._database.heard.is_set() and self._quota.holds <= self._read:
            return
        self._unheard = False
        try:
            rows = await self._database.fetch(_NEWS, self._corp, self._read)
        except BaseException:
            self._unheard = True
            raise
        if rows:
            self._read = max(row["number"] for row in rows)
            self._listener([_change(row) for row in rows])

    async def tell(self, changes: Sequence[HoldChange]) -> None:
        """Write *changes* where every process reads them before its next call, and wake those who wait."""
        async with self._database.connection() as connection, connection.transaction():
            for change in changes:
                where = (self._corp, change.kind.value, change.endpoint, change.staff)
                state = (change.version, change.seconds, change.closed, change.long, change.errcode, change.reason)
                await connection.execute(_TELL, *where, *state)
            await connection.execute("SELECT pg_notify('qudao', $1)", f"{self._corp}|holds")

    async def claim(self, name: str, seconds: float, owner: str = "") -> bool:
        """Return True to one process within *seconds*, and again to its *owner*."""
        return await self._database.execute(_CLAIM, self._corp, name, seconds, owner) == "INSERT 0 1"

    async def release(self, name: str, owner: str) -> None:
        """Let others claim *name* if *owner* has it."""
        await self._database.execute(_RELEASE, self._corp, name, owner)

    def _hear(self, payload: str) -> None:
        if payload in ("", f"{self._corp}|holds"):
            self._unheard = True


def _change(row: Any) -> HoldChange:  # noqa: ANN401 - a record
    return HoldChange(
        kind=HoldKind(row["kind"]),
        endpoint=row["endpoint"],
        staff=row["staff"],
        version=row["version"],
        seconds=row["seconds"],
        closed=row["closed"],
        long=row["long"],
        errcode=row["errcode"],
        reason=row["reason"],
    )
