"""A report as plain data: for machines, and for spreadsheets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cli.report.words import cell_of
from shared.domain.ids import StaffUserId
from shared.domain.reports.figures import BY_CHANNEL, COUNTS, Count, Dimension, ReadFrom, Report, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What was read for a report: how many relations, of how many members; and whose could not be, and why."""

    read_from: ReadFrom
    relations: int
    members: int
    unread: Mapping[StaffUserId, str] = field(default_factory=dict)


def document(report: Report, by: Sequence[Dimension], coverage: Coverage) -> dict[str, Any]:
    """Return *report* grouped as *by* says, with what was read for it, as one JSON document."""
    dimensions = by or BY_CHANNEL
    return {
        "source": coverage.read_from.value,
        "since": report.period.since.isoformat(),
        "until": report.period.until.isoformat(),
        "time_zone": report.zone,
        "by": [dimension.value for dimension in dimensions],
        "rows": [_keys(row) | _figures(row.count, report) for row in report.rows(*dimensions)],
        "total": _figures(report.total, report),
        "days": [_keys(row) | _figures(row.count, report) for row in report.rows(Dimension.DAY)],
        "misspelt": [asdict(slip) for slip in report.slips],
        "undated": report.undated,
        "outside": report.outside,
        "relations_read": coverage.relations,
        "members": coverage.members,
        "members_unread": {str(staff): reason for staff, reason in coverage.unread.items()},
    }


def _figures(count: Count, report: Report) -> dict[str, int | None]:
    """Return what was counted, by name; None is what nobody can tell."""
    return {name: None if name == "lost" and not report.knows_lost else getattr(count, name) for name in COUNTS}


def _keys(row: Row) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if row.source is not None:
        source = row.source
        keys |= {"kind": source.kind.value, "channel": source.key, "name": source.label, "state": source.state}
    if row.day is not None:
        keys["day"] = row.day.isoformat()
    if row.staff is not None:
        keys["staff"] = row.staff
    return keys


def headings(by: Sequence[Dimension]) -> list[str]:
    """Return the first line of a sheet grouped as *by* says."""
    return [*(name for each in by for name in _columns(each)), *COUNTS]


def sheet_row(row: Row, by: Sequence[Dimension], report: Report) -> list[str | int]:
    """Return the line of *row* of *report*."""
    cells: list[str | int] = []
    for dimension in by:
        cells.append(cell_of(row, dimension))
        if dimension is Dimension.CHANNEL and row.source is not None:
            cells += [row.source.key or "", row.source.state]
    return [*cells, *("" if figure is None else figure for figure in _figures(row.count, report).values())]


def _columns(dimension: Dimension) -> tuple[str, ...]:
    return ("channel", "key", "state") if dimension is Dimension.CHANNEL else (dimension.value,)
