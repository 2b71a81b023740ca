"""A report as plain data: for machines, and for spreadsheets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cli.report.words import cell_of
from shared.domain.ids import StaffUserId
from shared.domain.reports.figures import BY_CHANNEL, COUNTS, Dimension, Report, Row


def document(
    report: Report, by: Sequence[Dimension], *, relations_read: int, members: int, unread: Mapping[StaffUserId, str]
) -> dict[str, Any]:
    """Return *report* grouped as *by* says, with what was read for it, as one JSON document."""
    dimensions = by or BY_CHANNEL
    return {
        "since": report.period.since.isoformat(),
        "until": report.period.until.isoformat(),
        "time_zone": report.zone,
        "by": [dimension.value for dimension in dimensions],
        "rows": [_keys(row) | asdict(row.count) for row in report.rows(*dimensions)],
        "total": asdict(report.total),
        "days": [_keys(row) | asdict(row.count) for row in report.rows(Dimension.DAY)],
        "misspelt": [asdict(slip) for slip in report.slips],
        "undated": report.undated,
        "outside": report.outside,
        "relations_read": relations_read,
        "members": members,
        "members_unread": {str(staff): reason for staff, reason in unread.items()},
    }


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


def sheet_row(row: Row, by: Sequence[Dimension]) -> list[str | int]:
    """Return the line of *row*."""
    cells: list[str | int] = []
    for dimension in by:
        cells.append(cell_of(row, dimension))
        if dimension is Dimension.CHANNEL and row.source is not None:
            cells += [row.source.key or "", row.source.state]
    return [*cells, *(getattr(row.count, name) for name in COUNTS)]


def _columns(dimension: Dimension) -> tuple[str, ...]:
    return ("channel", "key", "state") if dimension is Dimension.CHANNEL else (dimension.value,)
