"""
The embedded queue's tables, and every statement on them.

Synchronous: these functions run in the database's thread, inside its transaction. The ones that settle take what
came together and return a result for each.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from math import inf
from typing import Any, Final

import orjson
from apsw import Connection

from shared.domain.events import Lane, replay_lane
from shared.domain.ids import EventId
from shared.queue.message import Failure, Message
from shared.queue.port import DELIVERY_LIMIT, KILLED_ITS_WORKER, RETRY_DELAYS, RETRY_SPREAD, TRIALS, Depth, Parked

SCHEMA: Final = (
    """
    CREATE TABLE message (
        id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: a settlement may be tried again late
        lane TEXT NOT NULL,
        state INTEGER NOT NULL DEFAULT 0,       -- State
        due REAL NOT NULL DEFAULT 0,            -- when a retry may be delivered; 0: at once
        delay INTEGER NOT NULL DEFAULT 0,       -- the retry's tier
        deliveries INTEGER NOT NULL DEFAULT 0,  -- since the last settlement
        event_id TEXT NOT NULL,
        first_seen REAL NOT NULL,
        attempts INTEGER NOT NULL,
        failure TEXT,
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX message_ready ON message (lane, due, first_seen, delay) WHERE state = 0;
    CREATE INDEX message_claimed ON message (lane, first_seen) WHERE state = 1;
    CREATE INDEX message_suspect ON message (lane, first_seen) WHERE state = 2;
    CREATE TABLE parked (
        id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: a person may name it late
        lane TEXT NOT NULL,
        event_id TEXT NOT NULL,
        first_seen REAL NOT NULL,
        attempts INTEGER NOT NULL,
        failure TEXT,
        body BLOB NOT NULL,
        reason TEXT NOT NULL,
        parked_at REAL NOT NULL
    ) STRICT;
    CREATE INDEX parked_first_seen ON parked (first_seen);
    CREATE TABLE probe (id INTEGER PRIMARY KEY, at REAL NOT NULL) STRICT;
    """,
)

ROWS_AT_ONCE: Final = 64
"""Most rows of one INSERT and of one claim."""

STALE_AT_ONCE: Final = 256
"""Most stale rows of a kind that one claim moves to bulk, so that no transaction is long."""

PAGE: Final = 200
"""Parked messages held in memory while they are listed."""


class State(IntEnum):
    """Where a row of ``message`` is in its life; the indexes and statements below spell the numbers out."""

    READY = 0
    CLAIMED = 1
    SUSPECT = 2


MessageRow = tuple[str, float, int, str | None, bytes]
"""event_id, first_seen, attempts, failure, body."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One row that was claimed; ``deliveries`` includes this one."""

    id: int
    deliveries: int
    message: Message

    @property
    def on_trial(self) -> bool:
        """Tell whether a suspect is tried with this."""
        return self.deliveries > DELIVERY_LIMIT


def row_of(message: Message) -> MessageRow:
    """Return the columns of *message*."""
    return (
        message.event_id,
        message.first_seen,
        message.attempts,
        None if message.failure is None else orjson.dumps(message.failure).decode(),
        message.body,
    )


def message_of(row: Sequence[Any]) -> Message:
    """Return the message with the columns *row*."""
    event_id, first_seen, attempts, failure, body = row
    return Message(
        event_id=EventId(event_id),
        first_seen=first_seen,
        attempts=attempts,
        failure=None if failure is None else Failure(**orjson.loads(failure)),
        body=body,
    )


@cache
def _insert(rows: int) -> str:
    values = ",".join(["(?,?,?,?,?,?)"] * rows)
    return f"INSERT INTO message (lane, event_id, first_seen, attempts, failure, body) VALUES {values}"  # noqa: S608 - placeholders


def insert(
    connection: Connection, items: list[tuple[Sequence[Lane], MessageRow]], *, crowd: int | None
) -> Sequence[None]:
    """
    Insert each message once per lane, in bulk instead of live while *crowd* wait there.

    In few long statements, since each one costs the event loop a hand-over.
    """
    room: float = inf
    if crowd is not None and any(Lane.LIVE in lanes for lanes, _ in items):
        room = crowd - _rows(connection, _WAITING_LIVE, (crowd,))[0][0]
    rows = []
    for lanes, row in items:
        for lane in lanes:
            full = lane is Lane.LIVE and room <= 0
            rows.append((Lane.BULK.value if full else lane.value, *row))
            room -= lane is Lane.LIVE
    for start in range(0, len(rows), ROWS_AT_ONCE):
        chunk = rows[start : start + ROWS_AT_ONCE]
        connection.execute(_insert(len(chunk)), [value for row in chunk for value in row])
    return [None] * len(items)


_WAITING_LIVE: Final = """
    SELECT count(*) FROM (SELECT 1 FROM message WHERE state = 0 AND lane = 'live' AND due = 0 LIMIT ?)
"""
_NEW: Final = "state = 0 AND lane = :lane AND due = 0"
_DUE: Final = "state = 0 AND lane = :lane AND due > 0 AND due <= :now"

_CLAIM: Final = """
    UPDATE message SET state = 1, due = 0, deliveries = deliveries + 1
    WHERE id IN (SELECT id FROM message WHERE {which} LIMIT :room)
    RETURNING id, deliveries, event_id, first_seen, attempts, failure, body
"""
_CLAIM_NEW: Final = _CLAIM.format(which=f"{_NEW} AND first_seen > :stale ORDER BY first_seen")
_CLAIM_DUE: Final = _CLAIM.format(which=f"{_DUE} AND first_seen > :stale ORDER BY due")
_CLAIM_SUSPECT: Final = _CLAIM.format(which="state = 2 AND lane = :lane")

_DEMOTE: Final = (
    "UPDATE message SET lane = :bulk WHERE id IN "
    "(SELECT id FROM message WHERE {which} AND first_seen <= :stale LIMIT :at_once)"
)
_DEMOTIONS: Final = (_DEMOTE.format(which=_NEW), _DEMOTE.format(which=_DUE))


def claim(
    connection: Connection, lane: Lane, room: int, now: float, *, retries_first: bool, stale: float = -inf
) -> tuple[list[Claim], float | None]:
    """
    Claim up to *room* rows, and return them and when to look for the next at the latest.

    The caller alternates *retries_first*, so that neither a backlog nor a storm of retries starves the other. Rows that
    were accepted at *stale* or before are left alone, and moved to bulk a few at a time.
    """
    wanted = {"lane": lane.value, "now": now, "stale": stale}
    claims: list[Claim] = []
    for statement in (_CLAIM_DUE, _CLAIM_NEW) if retries_first else (_CLAIM_NEW, _CLAIM_DUE):
        if room > len(claims):
            claims += _claimed(connection, statement, {**wanted, "room": room - len(claims)})
    if stale > -inf and _demote(connection, wanted):
        return claims, now
    due = connection.execute("SELECT min(due) FROM message WHERE state = 0 AND lane = ? AND due > 0", (lane.value,)).get
    return claims, due


def claim_suspect(connection: Connection, lane: Lane) -> tuple[list[Claim], float | None]:
    """Claim one suspect of *lane*."""
    return _claimed(connection, _CLAIM_SUSPECT, {"lane": lane.value, "room": 1}), None


def _claimed(connection: Connection, statement: str, parameters: Mapping[str, object]) -> list[Claim]:
    rows = _rows(connection, statement, parameters)
    return [Claim(row[0], row[1], message_of(row[2:])) for row in rows]


def _demote(connection: Connection, wanted: Mapping[str, object]) -> int:
    """Move some stale rows to bulk, otherwise as they are, and return how many."""
    moved = 0
    for statement in _DEMOTIONS:
        connection.execute(statement, {**wanted, "bulk": Lane.BULK.value, "at_once": STALE_AT_ONCE})
        moved += connection.changes()
    return moved


def acknowledge(connection: Connection, ids: list[int]) -> Sequence[None]:
    """Remove the rows *ids*."""
    connection.execute("DELETE FROM message WHERE id IN (SELECT value FROM json_each(?))", (_json(ids),))
    return [None] * len(ids)


def postpone(connection: Connection, items: list[tuple[int, Message, Lane, int, float]]) -> Sequence[None]:
    """Replace each row by a message for a lane, to be delivered in a tier's delay, when it is due."""
    connection.executemany(
        "UPDATE message SET state = 0, deliveries = 0, lane = ?, delay = ?, due = ?, "
        "event_id = ?, first_seen = ?, attempts = ?, failure = ?, body = ? WHERE id = ?",
        ((lane.value, delay, due, *row_of(message), row_id) for row_id, message, lane, delay, due in items),
    )
    return [None] * len(items)


def park(connection: Connection, items: list[tuple[int, Message, Failure, float]]) -> Sequence[None]:
    """Move each row to the parking."""
    for row_id, message, failure, now in items:
        connection.execute(
            "INSERT INTO parked (lane, event_id, first_seen, attempts, failure, body, reason, parked_at) "
            "SELECT lane, ?, ?, ?, ?, ?, ?, ? FROM message WHERE id = ?",
            (*row_of(message), orjson.dumps(failure).decode(), now, row_id),
        )
        connection.execute("DELETE FROM message WHERE id = ?", (row_id,))
    return [None] * len(items)


def release(connection: Connection, ids: list[int]) -> Sequence[None]:
    """Make the rows *ids* ready; the delivery does not count, and its survivor is no longer a suspect."""
    connection.execute(
        "UPDATE message SET state = 0, deliveries = min(deliveries - 1, ?) "
        "WHERE id IN (SELECT value FROM json_each(?))",
        (DELIVERY_LIMIT - 1, _json(ids)),
    )
    return [None] * len(ids)


def give_back(connection: Connection, ids: list[int]) -> dict[Lane, int]:
    """Make the rows *ids* as if they had never been claimed, since nobody has seen them."""
    connection.execute(
        "UPDATE message SET state = iif(deliveries > ?, 2, 0), deliveries = deliveries - 1 "
        "WHERE id IN (SELECT value FROM json_each(?))",
        (DELIVERY_LIMIT, _json(ids)),
    )
    return _suspects(connection)


_RECOVER: Final = (
    """
    INSERT INTO parked (lane, event_id, first_seen, attempts, failure, body, reason, parked_at)
    SELECT lane, event_id, first_seen, attempts, failure, body, :reason, :now FROM message
    WHERE state = 1 AND deliveries >= :limit + :trials AND id IN (SELECT value FROM json_each(:ids))
    """,
    "DELETE FROM message WHERE state = 1 AND deliveries >= :limit + :trials "
    "AND id IN (SELECT value FROM json_each(:ids))",
    "UPDATE message SET state = iif(deliveries >= :limit, 2, 0) "
    "WHERE state = 1 AND id IN (SELECT value FROM json_each(:ids))",
)


def shorten_waits(connection: Connection, now: float) -> None:
    """Let nothing wait for longer than its tier's delay: the clock may have been set back since it was put there."""
    connection.execute(
        "UPDATE message SET due = :now + delay * :most WHERE state = 0 AND due > :now + delay * :most",
        {"now": now, "most": 1 + RETRY_SPREAD},
    )


def claimed(connection: Connection) -> list[int]:
    """Return the ids of all claimed rows."""
    return [row_id for (row_id,) in _rows(connection, "SELECT id FROM message WHERE state = 1")]


def recover(connection: Connection, ids: list[int], now: float) -> dict[Lane, int]:
    """
    Make the claimed rows *ids* ready, whose worker is gone; return how many suspects each lane has.

    A row becomes a suspect when that happened to it ``DELIVERY_LIMIT`` times, and is parked after ``TRIALS`` more.
    """
    reason = orjson.dumps(KILLED_ITS_WORKER).decode()
    known = {"ids": _json(ids), "reason": reason, "now": now, "limit": DELIVERY_LIMIT, "trials": TRIALS}
    for statement in _RECOVER:
        connection.execute(statement, known)
    return _suspects(connection)


def _suspects(connection: Connection) -> dict[Lane, int]:
    rows = _rows(connection, "SELECT lane, count(*) FROM message WHERE state = 2 GROUP BY lane")
    return {Lane(lane): count for lane, count in rows}


_READY: Final = "SELECT count(*), min(first_seen) FROM message WHERE state = 0 AND lane = ? AND due <= ?"
_CLAIMED: Final = "SELECT count(*), min(first_seen) FROM message WHERE state = 1 AND lane = ? AND ?"
_SUSPECT: Final = "SELECT count(*), min(first_seen) FROM message WHERE state = 2 AND lane = ? AND ?"
_DELAYED: Final = (
    "SELECT delay, count(*), min(first_seen) FROM message WHERE state = 0 AND lane = ? AND due > ? GROUP BY delay"
)
_PARKED: Final = "SELECT count(*), min(first_seen) FROM parked"


def depths(connection: Connection, now: float) -> list[Depth]:
    """Return how much waits where; until it is settled a delivery waits in its lane."""
    names = [*(str(lane) for lane in Lane), *(f"retry.{delay}" for delay in RETRY_DELAYS), "parked"]
    found = dict.fromkeys(names, (0, now))

    def add(name: str, count: int, oldest: float | None) -> None:
        before, older = found[name]
        found[name] = (before + count, older if oldest is None else min(older, oldest))

    for lane in Lane:
        for statement in (_READY, _CLAIMED, _SUSPECT):
            add(lane, *_rows(connection, statement, (lane.value, now))[0])
        for delay, count, oldest in _rows(connection, _DELAYED, (lane.value, now)):
            add(f"retry.{delay}", count, oldest)
    add("parked", *_rows(connection, _PARKED)[0])
    return [
        Depth(name=name, messages=count, oldest_seconds=now - oldest if count else None)
        for name, (count, oldest) in found.items()
    ]


def parked_after(connection: Connection, last: int) -> list[Parked]:
    """Return one page of the parking, beginning after the id *last*."""
    rows = _rows(
        connection,
        "SELECT id, lane, reason, parked_at, event_id, first_seen, attempts, failure, body "
        "FROM parked WHERE id > ? ORDER BY id LIMIT ?",
        (last, PAGE),
    )
    return [
        Parked(
            id=str(row[0]),
            lane=Lane(row[1]),
            failure=Failure(**orjson.loads(row[2])),
            parked_at=row[3],
            message=message_of(row[4:]),
        )
        for row in rows
    ]


def replay(connection: Connection, ids: Iterable[str]) -> int:
    """Move the parked messages *ids* to where they are done again."""
    chosen = _json(_numbers(ids))
    connection.execute(
        "INSERT INTO message (lane, event_id, first_seen, attempts, body) "
        "SELECT json_extract(?, '$.' || lane), event_id, first_seen, 0, body FROM parked "
        "WHERE id IN (SELECT value FROM json_each(?))",
        (_json({str(lane): replay_lane(lane) for lane in Lane}), chosen),
    )
    return _drop(connection, chosen)


def drop(connection: Connection, ids: Iterable[str]) -> int:
    """Remove the parked messages *ids*."""
    return _drop(connection, _json(_numbers(ids)))


def _drop(connection: Connection, chosen: str) -> int:
    connection.execute("DELETE FROM parked WHERE id IN (SELECT value FROM json_each(?))", (chosen,))
    return connection.changes()


def probe(connection: Connection, now: float) -> None:
    """Write something."""
    connection.execute("INSERT OR REPLACE INTO probe VALUES (1, ?)", (now,))


def _numbers(ids: Iterable[str]) -> list[int]:
    """Return those of *ids* that may name a parked message."""
    return [int(name) for name in ids if name.isascii() and name.isdecimal() and len(name) < 19]


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _rows(connection: Connection, statement: str, parameters: Sequence[Any] | Mapping[str, object] = ()) -> list[Any]:
    return connection.execute(statement, parameters).fetchall()
