"""
The quota in PostgreSQL: counted by the one function of ``shared.state.postgres.tables``, on the database's clock.

Every grant is committed before it is used. A process that was silent for some seconds is taken for dead: its calls
rest, as those of the dead do, and are then counted as ended; one that was only slow is told that it lost its places.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final, Self

from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.domain.events import Lane
from shared.faults import passing
from shared.postgres import Postgres
from shared.quota.port import SETTLE_SECONDS, FileInUse, Limits, Snapshot, Usage, WorkerSeen, no_file
from shared.quota.slots import ASKING, HEAD_START, LOOK_AGAIN, Answer, Lease, Reservations, Slot
from shared.quota.turns import Turns
from shared.state.postgres.tables import STEPS
from shared.tasks import beside

SHOW_UP: Final = 0.5
"""Seconds between signs of life."""

LINGER: Final = 0.005
"""Seconds that the end of a call may wait when nobody here does: with the next call it is one round trip."""

LEASE: Final = 1.0
"""
Seconds of silence after which a process is taken for dead. Its calls rest for SETTLE_SECONDS more, and a sign of life
until then makes up for all.
"""

_EXCHANGE: Final = "SELECT * FROM qudao_exchange($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
_SHOW_UP: Final = """
INSERT INTO qudao_worker (corp, worker, seen, file, limits) VALUES ($1, $2, qudao_now(), $3, $4)
ON CONFLICT (corp, worker) DO UPDATE SET seen = excluded.seen, died = NULL, file = excluded.file,
    limits = excluded.limits
"""
_OTHER_LIMITS: Final = (
    "SELECT limits FROM qudao_worker WHERE corp = $1 AND limits NOT IN ($2, '') AND seen > qudao_now() - $3"
)
_USAGE: Final = """
SELECT endpoint,
    (SELECT count(*) FROM qudao_running r WHERE r.corp = $1 AND r.endpoint = a.endpoint)::integer AS running,
    coalesce(sum(calls) FILTER (WHERE span = 'minute' AND ended_by > qudao_now() - $2), 0)::integer AS minute,
    coalesce(sum(calls) FILTER (WHERE span = 'hour' AND ended_by > qudao_now() - $3), 0)::integer AS hour
FROM (SELECT endpoint, span, ended_by, calls FROM qudao_ended WHERE corp = $1
      UNION ALL SELECT DISTINCT endpoint, '', 0, 0 FROM qudao_running WHERE corp = $1) a
GROUP BY endpoint ORDER BY endpoint
"""
_WORKERS: Final = """
SELECT worker, seen, file FROM qudao_worker WHERE corp = $1 AND seen > qudao_now() - 5 ORDER BY worker
"""


class PostgresQuota:
    """A :class:`~shared.quota.port.Quota` in a PostgreSQL database, used by entering the context."""

    def __init__(
        self,
        database: Postgres,
        corp: str,
        limits: Limits,
        *,
        onlooker: bool = False,
        file: FileInUse = no_file,
    ) -> None:
        """
        Args:
            corp: The corp whose quota it is.
            onlooker: Do not count this process among those that use the quota: it only asks for a snapshot.
            file: What others are told of the channels file of this process.
        """
        self._database = database
        self._corp = corp
        self._limits = limits
        self._worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._onlooker = onlooker
        self._file = file
        self._lease = Lease(LEASE + SETTLE_SECONDS / 3, _now)
        self._reservations = Reservations(self._exchange, self._lease, poll=LOOK_AGAIN, linger=LINGER)
        self.acquire, self.permit = self._reservations.acquire, self._reservations.permit
        self.holds = 0
        """Number of the newest hold that is known to be there."""
        self._fixed = (
            [
                limit
                for lane in (Lane.FAST, Lane.LIVE, Lane.BULK)
                for limit in (limits.minute_for(lane), limits.hour_for(lane), limits.part_for(lane))
            ],
            limits.in_flight,
            limits.minute,
            limits.hour,
            limits.part,
            LEASE,
            SETTLE_SECONDS,
            ASKING,
        )

    async def __aenter__(self) -> Self:
        """
        Make the tables when missing.

        Raises:
            ConfigurationError: Another process of the deployment goes by other limits.
            QueueUnavailable: The database cannot be used.
        """
        await self._database.migrate("quota", STEPS)
        if not self._onlooker:
            await self._refuse_other_limits()
            await self._show_up()
        self._database.listen(self._hear)
        await self._reservations.__aenter__()
        self._showing = beside(self._show_up_for_ever())
        await self._showing.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: ANN401 - handed on
        """Settle what ended and leave. Calls that still run stay counted until this process is found gone."""
        try:
            async with asyncio.timeout(LOOK_AGAIN + 5.0):
                await self._reservations.__aexit__(None, None, None)
        finally:
            await self._showing.__aexit__(*error)
            await self._sign_off()

    async def store(self) -> str:
        """Return what tells this database from any other."""
        (row,) = await self._database.fetch("SELECT id FROM qudao_store")
        return str(row["id"])

    async def snapshot(self) -> Snapshot:
        """Return what is used now, by all processes of the deployment."""
        limits = self._limits
        rows = await self._database.fetch(_USAGE, self._corp, limits.minute, limits.hour)
        workers = await self._database.fetch(_WORKERS, self._corp)
        return Snapshot(
            usage=[
                Usage(
                    endpoint=row["endpoint"],
                    minute=row["minute"] + row["running"],
                    hour=row["hour"] + row["running"],
                    in_flight=row["running"],
                    limits=limits,
                )
                for row in rows
            ],
            workers=[WorkerSeen(name=row["worker"], seen=row["seen"], file=row["file"]) for row in workers],
        )

    async def _exchange(self, endpoint: str, held: Collection[int], turns: Turns[Slot]) -> tuple[Answer, float]:
        """Settle what ended and reserve for those who wait; the answer's times are the event loop's."""
        asked = _now()
        wanted = turns.first(self._limits.in_flight)
        urgent = turns.first(self._limits.in_flight, [Lane.FAST])
        oldest = turns.oldest()
        ages = [asked - oldest[lanes[0]] - HEAD_START[lanes[0]] if lanes else None for lanes in (wanted, urgent)]
        (row,) = await self._database.fetch(
            _EXCHANGE, self._corp, endpoint, self._worker, list(held), wanted, urgent, ages, *self._fixed
        )
        passing("quota.granted")
        self.holds = max(self.holds, row["holds"])
        room_at = row["room_at"]
        answer = Answer(
            granted=[(Lane(lane), row_id) for lane, row_id in zip(row["lanes"], row["ids"], strict=True)],
            room_at=None if room_at is None else asked + room_at - row["now_at"],
            shared=row["shared"],
            lost=row["lost"],
        )
        return answer, asked

    def _hear(self, payload: str) -> None:
        """Look again where it is our turn since a call ended elsewhere; everywhere when that may have been missed."""
        for name, api in self._reservations:
            if payload in ("", f"{self._corp}|{name}|{self._worker}"):
                api.turns.changed.set()

    async def _refuse_other_limits(self) -> None:
        mine = _written(self._limits)
        others = await self._database.fetch(_OTHER_LIMITS, self._corp, mine, LEASE)
        if others:
            raise ConfigurationError(
                [
                    f"QUDAO_QUOTA_…: a running process of this deployment goes by other limits ({others[0]['limits']}) "
                    f"than this one ({mine}); give all the same"
                ]
            )

    async def _show_up(self) -> None:
        asked = _now()
        await self._database.execute(_SHOW_UP, self._corp, self._worker, self._file(), _written(self._limits))
        self._lease.renew(asked)

    async def _show_up_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SHOW_UP)
            if not self._onlooker:
                with suppress(QueueUnavailable):  # whoever asks for a grant is told
                    await self._show_up()

    async def _sign_off(self) -> None:
        """Settle, and forget this process unless calls of it still run: those end with it."""
        with suppress(QueueUnavailable):  # the others will find this process gone
            for endpoint, api in self._reservations:
                await self._exchange(endpoint, api.held, api.turns)
            if self._onlooker or any(api.held for _, api in self._reservations):
                return
            await self._database.execute(
                "DELETE FROM qudao_worker WHERE corp = $1 AND worker = $2", self._corp, self._worker
            )
            await self._database.execute(
                "DELETE FROM qudao_waiting WHERE corp = $1 AND worker = $2", self._corp, self._worker
            )


def _written(limits: Limits) -> str:
    return (
        f"{limits.per_minute}/{limits.minute:g}s {limits.per_hour}/{limits.hour:g}s {limits.in_flight} in flight "
        f"{limits.minute_reserve:g} {limits.hour_reserve:g} {limits.bulk_reserve:g}"
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
