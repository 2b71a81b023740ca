"""Moving the state to another database: table by table, from one engine to another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol

from shared.domain.errors import UnsafePlan
from shared.state.journal import JournalEntry

Rows = Sequence[Sequence[Any]]

AT_ONCE: Final = 5000
"""Rows of the journal in hand at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """
    A table that both engines have, what names it aside.

    Attributes:
        columns: Without the corp, and without the number that ``cursor`` counts by.
        cursor: Column that numbers the rows in their order; "" where they have none, and are few.
        shifted: Index of the column that is a time of the database's own clock; None when there is none.
        grows: Rows are added to those that are there, instead of taking their place.
    """

    sqlite: str
    postgres: str
    columns: tuple[str, ...]
    cursor: str = ""
    shifted: int | None = None
    grows: bool = False

    @property
    def is_long(self) -> bool:
        """Tell whether it is read a page at a time."""
        return self.grows and bool(self.cursor)


JOURNAL: Final = Table(
    sqlite="journal",
    postgres="qudao_journal",
    columns=tuple(field.name for field in fields(JournalEntry)),
    cursor="id",
    grows=True,
)
FORGOTTEN: Final = Table(sqlite="journal_forgotten", postgres="qudao_journal_forgotten", columns=("at", "entries"))
KEPT: Final = Table(sqlite="journal_kept", postgres="qudao_journal_kept", columns=("since",))
WAYS: Final = Table(sqlite="way", postgres="qudao_way", columns=("kind", "id", "document"), cursor="number")
OTHERS: Final = Table(sqlite="way_of_others", postgres="qudao_way_of_others", columns=("config_id", "state"))
ENDED: Final = Table(
    sqlite="quota_ended",
    postgres="qudao_ended",
    columns=("endpoint", "span", "ended_by", "calls"),
    shifted=2,
    grows=True,
)
HOLDS: Final = Table(
    sqlite="quota_hold",
    postgres="qudao_hold",
    columns=("kind", "endpoint", "staff", "version", "until", "closed", "long", "errcode", "reason"),
    cursor="number",
    shifted=4,
)
COUNTED: Final = (JOURNAL, FORGOTTEN, WAYS, OTHERS)
"""What must be as much there as here; counts of calls and holds run out meanwhile."""


class StateTables(Protocol):
    """The tables of one state. Everything raises QueueUnavailable when the database cannot be used."""

    async def now(self) -> float:
        """Return the time of the clock that its rows are measured by, in seconds."""
        ...

    async def count(self, table: Table) -> int:
        """Return how many rows *table* has."""
        ...

    async def rows(self, table: Table, after: int = 0) -> tuple[Rows, int | None]:
        """Return the next rows of *table* in their order, and where to go on; None after the last one."""
        ...

    async def put(self, table: Table, rows: Rows) -> None:
        """Add *rows* to *table* unless they are there, or let them take the place of all, as the table wants it."""
        ...


async def copy_state(
    source: StateTables, target: StateTables, *, advance: Callable[[int, int], None] = lambda *_: None
) -> Mapping[str, int]:
    """
    Copy all that is in *source* to *target*, and return the counts. May be interrupted, and begun again.

    Args:
        advance: Is told how many entries of the journal are copied, and of how many.

    Raises:
        UnsafePlan: *target* has what *source* has not.
        QueueUnavailable: One of them cannot be used; *source* is as it was.
    """
    await _require_room(source, target)
    shift = await target.now() - await source.now()
    total, done, after = await source.count(JOURNAL), 0, 0
    while True:
        rows, following = await source.rows(JOURNAL, after)
        await target.put(JOURNAL, rows)
        done += len(rows)
        advance(done, total)
        if following is None:
            break
        after = following
    for table in (KEPT, FORGOTTEN, OTHERS, ENDED, HOLDS, WAYS):
        await target.put(table, _moved((await source.rows(table))[0], table, shift))
    return await _compared(source, target)


async def _require_room(source: StateTables, target: StateTables) -> None:
    kept = (await target.rows(WAYS))[0]
    if kept and sorted(map(tuple, kept)) != sorted(map(tuple, (await source.rows(WAYS))[0])):
        raise UnsafePlan("the target keeps other contact ways already; copy into an empty database")
    if await target.count(JOURNAL) > await source.count(JOURNAL):
        raise UnsafePlan("the journal of the target is longer already; copy into an empty database")


def _moved(rows: Rows, table: Table, shift: float) -> Rows:
    """Return *rows* with their times by the target's clock."""
    if table.shifted is None:
        return rows
    at = table.shifted
    return [(*row[:at], row[at] + shift, *row[at + 1 :]) for row in rows]


async def _compared(source: StateTables, target: StateTables) -> Mapping[str, int]:
    counts = {}
    for table in COUNTED:
        here, there = await source.count(table), await target.count(table)
        if here != there:
            raise UnsafePlan(f"{table.sqlite}: {here} rows were to be copied, but the target has {there}")
        counts[table.sqlite] = here
    return counts
