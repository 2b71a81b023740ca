"""
The quota's tables in SQLite, and the one transaction that grants.

A call is a row in ``quota_running`` from before it is made until after it has ended, and counts in both windows all
that time. Then it becomes a count in a bucket of each window, named by the bucket's end, and leaves the window one
window after that. So it counts from before WeCom sees it until a whole window after WeCom saw it, and a sliding window
over there never holds more than the limit. Times are seconds of a clock nobody can set; see
``shared.state.sqlite.quota``.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from apsw import Connection

from shared.domain.events import Lane
from shared.quota.port import SETTLE_SECONDS, Limits, Usage
from shared.quota.slots import ASKING, HEAD_START, Answer

TABLES: Final = (
    """
CREATE TABLE quota_worker (
    worker TEXT PRIMARY KEY, place TEXT NOT NULL, pid INTEGER NOT NULL, born TEXT NOT NULL,
    seen REAL NOT NULL, wall REAL NOT NULL,
    died REAL,                       -- when it was found gone
    file TEXT NOT NULL DEFAULT ''    -- hash of its channels file
) WITHOUT ROWID;
CREATE TABLE quota_running (
    id INTEGER PRIMARY KEY AUTOINCREMENT, endpoint TEXT NOT NULL, worker TEXT NOT NULL
);
CREATE TABLE quota_ended (
    endpoint TEXT NOT NULL, span TEXT NOT NULL, ended_by REAL NOT NULL, calls INTEGER NOT NULL,
    PRIMARY KEY (endpoint, span, ended_by)
) WITHOUT ROWID;
CREATE TABLE quota_waiting (
    endpoint TEXT NOT NULL, worker TEXT NOT NULL, fast INTEGER NOT NULL, rank REAL NOT NULL,
    PRIMARY KEY (endpoint, worker, fast)
) WITHOUT ROWID;
CREATE TABLE quota_clock (
    one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL, now REAL NOT NULL, wall REAL NOT NULL
);
CREATE TABLE quota_claim (name TEXT PRIMARY KEY, until REAL NOT NULL, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE quota_hold (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, endpoint TEXT NOT NULL, staff TEXT NOT NULL,
    version INTEGER NOT NULL, until REAL NOT NULL, closed INTEGER NOT NULL, long INTEGER NOT NULL,
    errcode INTEGER, reason TEXT NOT NULL, UNIQUE (kind, endpoint, staff)
);
""",
)

MINUTE_BUCKETS: Final = 200
HOUR_BUCKETS: Final = 720
"""Buckets in a window. A call counts for up to one bucket longer than it must: half a percent, and a seventh."""

LEASE: Final = 15.0
"""Seconds of silence after which a process loses its places: stopped, or somewhere where we cannot look it up. Longer
than a call takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRequest:
    """
    What one process asks for, in one transaction.

    Attributes:
        worker: Which process.
        held: Rows of its calls that run. Its other rows have ended: naming what runs can be repeated, and leaks none.
        wanted: Lanes of those next in its line.
        urgent: The same if none but the fast lane may go.
        oldest: Since when the first of each lane waits.
    """

    worker: str
    endpoint: str
    limits: Limits
    held: Collection[int] = ()
    wanted: Sequence[Lane] = ()
    urgent: Sequence[Lane] = ()
    oldest: Mapping[Lane, float] = field(default_factory=dict)

    def ranks(self) -> dict[bool, float]:
        """Return where the first in line stands among those of all processes: of all lanes, and of fast alone."""
        firsts = {False: self.wanted[:1], True: self.urgent[:1]}
        return {fast: self.oldest[lane] + HEAD_START[lane] for fast, lanes in firsts.items() for lane in lanes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """
    Who uses the quota, so that others can look whether it is still there.

    Attributes:
        place: Where its pid means something: host and pid namespace.
        born: When the process began, so that a pid that was given out again is noticed.
    """

    worker: str
    place: str
    pid: int
    born: str


def settle(connection: Connection, request: SlotRequest, now: float) -> None:
    """Count the calls that ended as ended now."""
    for (row,) in _running(connection, request):
        if row not in request.held:
            connection.execute("DELETE FROM quota_running WHERE id = ?", (row,))
            count_ended(connection, request.endpoint, request.limits, now)
    connection.execute(
        "UPDATE quota_worker SET seen = ? WHERE worker = ? AND seen < ?", (now, request.worker, now - ASKING / 3)
    )


def _running(connection: Connection, request: SlotRequest) -> list[Any]:
    return connection.execute(
        "SELECT id FROM quota_running WHERE endpoint = ? AND worker = ?", (request.endpoint, request.worker)
    ).fetchall()


def count_ended(connection: Connection, endpoint: str, limits: Limits, now: float) -> None:
    """Add one call that ended at *now* to the buckets of both windows."""
    for span, seconds, buckets in _spans(limits):
        grain = seconds / buckets
        ended_by = (now // grain + 1) * grain
        connection.execute(
            "INSERT INTO quota_ended VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET calls = calls + 1",
            (endpoint, span, ended_by),
        )


def bury(
    connection: Connection, request: SlotRequest, now: float, alive: Callable[[str, int, str, float, float], bool]
) -> None:
    """Give back the places of processes that are gone for a while; their calls may have been made until just now."""
    others: list[Any] = connection.execute(
        "SELECT worker, place, pid, born, seen, died FROM quota_worker WHERE worker <> ?", (request.worker,)
    ).fetchall()
    for worker, place, pid, born, seen, died in others:
        if alive(place, pid, born, seen, now):
            if died is not None:
                connection.execute("UPDATE quota_worker SET died = NULL WHERE worker = ?", (worker,))
            continue
        endpoints: list[Any] = connection.execute(
            "SELECT endpoint FROM quota_running WHERE worker = ?", (worker,)
        ).fetchall()
        if endpoints and died is None:
            connection.execute("UPDATE quota_worker SET died = ? WHERE worker = ?", (now, worker))
            connection.execute("DELETE FROM quota_waiting WHERE worker = ?", (worker,))
        if endpoints and (died is None or now < died + SETTLE_SECONDS):
            continue
        for (endpoint,) in endpoints:
            count_ended(connection, endpoint, request.limits, now)
        for table in ("quota_running", "quota_waiting", "quota_worker"):
            connection.execute(f"DELETE FROM {table} WHERE worker = ?", (worker,))  # noqa: S608 - our own names


def grant(connection: Connection, request: SlotRequest, now: float) -> Answer:
    """Reserve as many of the wanted calls as the limits, and those before us in other processes, leave room for."""
    usage = count(connection, request.endpoint, request.limits, now)
    part = usage.in_flight + _ended(connection, request.endpoint, "hour", now - request.limits.part)
    _note_waiting(connection, request)
    room = _Room(request.limits, usage, part)
    only_fast = not room.open_to(Lane.LIVE)
    others = _others_waiting(connection, request, now)
    rank = request.ranks().get(only_fast, 0.0)
    ahead = sum(1 for fast, other in others if fast == only_fast and other < (rank, request.worker))
    granted: list[tuple[Lane, int]] = []
    closed: Lane | None = None
    for lane in request.urgent if only_fast else request.wanted:
        if room.in_flight <= ahead:
            break
        if not room.open_to(lane, ahead):
            closed = lane
            continue
        connection.execute(
            "INSERT INTO quota_running (endpoint, worker) VALUES (?, ?)", (request.endpoint, request.worker)
        )
        granted.append((lane, connection.last_insert_rowid()))
        room.take()
    if only_fast and request.wanted and not request.urgent:
        closed = request.wanted[0]
    room_at = None if closed is None else _room_at(connection, request, now, room.over(closed, ahead))
    mine = {row for (row,) in _running(connection, request)}
    return Answer(
        granted=granted,
        room_at=room_at,
        shared=bool(others) or room.running > len(mine),
        lost=[row for row in request.held if row not in mine],
    )


class _Room:
    """What is left of one API's limits while grants are made."""

    def __init__(self, limits: Limits, usage: Usage, part: int) -> None:
        self._limits = limits
        self._minute = usage.minute
        self._hour = usage.hour
        self._part = part
        self.running = usage.in_flight

    @property
    def in_flight(self) -> int:
        return self._limits.in_flight - self.running

    def over(self, lane: Lane, ahead: int = 0) -> tuple[int, int, int]:
        """Return by how many one more call of *lane* would overrun the minute, the hour and the part of an hour."""
        one = 1 + ahead
        return (
            self._minute + one - self._limits.minute_for(lane),
            self._hour + one - self._limits.hour_for(lane),
            self._part + one - self._limits.part_for(lane),
        )

    def open_to(self, lane: Lane, ahead: int = 0) -> bool:
        return max(self.over(lane, ahead)) <= 0

    def take(self) -> None:
        self._minute, self._hour, self._part = self._minute + 1, self._hour + 1, self._part + 1
        self.running += 1


def show_up(connection: Connection, process: Process, now: float, wall: float, file: str = "") -> None:
    """Note that *process* is up, and goes by the channels *file* of this hash."""
    connection.execute(
        "INSERT OR REPLACE INTO quota_worker (worker, place, pid, born, seen, wall, file) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (process.worker, process.place, process.pid, process.born, now, wall, file),
    )


def sign_off(connection: Connection, worker: str) -> None:
    """Forget *worker*, whose calls are settled."""
    for table in ("quota_waiting", "quota_worker"):
        connection.execute(f"DELETE FROM {table} WHERE worker = ?", (worker,))  # noqa: S608 - our own names


def count(connection: Connection, endpoint: str, limits: Limits, now: float) -> Usage:
    """Return what counts now."""
    running = connection.execute("SELECT count(*) FROM quota_running WHERE endpoint = ?", (endpoint,)).get
    used = {span: _ended(connection, endpoint, span, now - seconds) for span, seconds, _ in _spans(limits)}
    return Usage(
        endpoint=endpoint,
        minute=used["minute"] + running,
        hour=used["hour"] + running,
        in_flight=running,
        limits=limits,
    )


def _ended(connection: Connection, endpoint: str, span: str, since: float) -> int:
    """Return how many calls ended after *since*, by the buckets of *span*."""
    ended: int = connection.execute(
        "SELECT coalesce(sum(calls), 0) FROM quota_ended WHERE endpoint = ? AND span = ? AND ended_by > ?",
        (endpoint, span, since),
    ).get
    return ended


def forget(connection: Connection, endpoint: str, limits: Limits, now: float) -> None:
    """Remove the counts that have left their window."""
    for span, seconds, _ in _spans(limits):
        connection.execute(
            "DELETE FROM quota_ended WHERE endpoint = ? AND span = ? AND ended_by <= ?", (endpoint, span, now - seconds)
        )


def keep_time(connection: Connection, boot: str, now: float, wall: float) -> None:
    """
    Carry the counts over a restart of the machine, whose clock then begins anew.

    Only then is the wall clock asked how much time went by, and never believed that it went backwards.
    """
    last = connection.execute("SELECT boot, now, wall FROM quota_clock").get
    if last is not None and (last[0] != boot or last[1] > now):
        shift = now - max(0.0, wall - last[2]) - last[1]
        connection.execute("UPDATE quota_ended SET ended_by = ended_by + ?", (shift,))
        connection.execute("UPDATE quota_claim SET until = until + ?", (shift,))
        connection.execute("UPDATE quota_hold SET until = until + ?", (shift,))
        connection.execute("UPDATE quota_worker SET place = '', seen = ?", (now - LEASE,))
    connection.execute("INSERT OR REPLACE INTO quota_clock VALUES (1, ?, ?, ?)", (boot, now, wall))


def _spans(limits: Limits) -> tuple[tuple[str, float, int], ...]:
    return ("minute", limits.minute, MINUTE_BUCKETS), ("hour", limits.hour, HOUR_BUCKETS)


def _note_waiting(connection: Connection, request: SlotRequest) -> None:
    """Tell the other processes who is first here, if that is news."""
    key = (request.endpoint, request.worker)
    rows: list[Any] = connection.execute(
        "SELECT fast, rank FROM quota_waiting WHERE endpoint = ? AND worker = ?", key
    ).fetchall()
    ranks = request.ranks()
    if {bool(fast): rank for fast, rank in rows} == ranks:
        return
    connection.execute("DELETE FROM quota_waiting WHERE endpoint = ? AND worker = ?", key)
    for fast, rank in ranks.items():
        connection.execute("INSERT INTO quota_waiting VALUES (?, ?, ?, ?)", (*key, fast, rank))


def _others_waiting(connection: Connection, request: SlotRequest, now: float) -> list[tuple[bool, tuple[float, str]]]:
    """Return who is first in other processes that are up and asking: of all lanes, or of fast alone."""
    rows: list[Any] = connection.execute(
        "SELECT fast, rank, worker FROM quota_waiting JOIN quota_worker USING (worker)"
        " WHERE endpoint = ? AND worker <> ? AND seen > ?",
        (request.endpoint, request.worker, now - ASKING),
    ).fetchall()
    return [(bool(fast), (rank, worker)) for fast, rank, worker in rows]


def _room_at(connection: Connection, request: SlotRequest, now: float, over: tuple[int, int, int]) -> float | None:
    """Return when so many calls have left their windows; None when running calls must end before."""
    at = now
    limits = request.limits
    windows = ("minute", limits.minute), ("hour", limits.hour), ("hour", limits.part)
    for (span, seconds), calls_over in zip(windows, over, strict=True):
        rows: list[Any] = connection.execute(
            "SELECT ended_by, calls FROM quota_ended WHERE endpoint = ? AND span = ? AND ended_by > ?"
            " ORDER BY ended_by",
            (request.endpoint, span, now - seconds),
        ).fetchall()
        left = calls_over
        for ended_by, calls in rows:
            if left <= 0:
                break
            left -= calls
            at = max(at, ended_by + seconds)
        if left > 0:
            return None
    return at
