"""What a campaign came to, by kind of fault."""

from typing import Any

from tests.faults.round import Report


def figures(reports: list[Report]) -> list[dict[str, Any]]:
    """Return a row for each kind of fault, and one for all."""
    names = sorted({report.fault for report in reports})
    rows = [_row(name, [report for report in reports if report.fault == name]) for name in names]
    return [*rows, _row("all", reports)]


def table(reports: list[Report]) -> str:
    """Return the figures as a table in Markdown."""
    rows = figures(reports)
    head = [name.replace("_", " ") for name in rows[0] if name != "failed_seeds"]
    lines = [head, ["---"] * len(head), *([str(v) for n, v in row.items() if n != "failed_seeds"] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(name: str, reports: list[Report]) -> dict[str, Any]:
    verdicts = [report.verdict for report in reports]
    recoveries = [seconds for report in reports for times in report.recoveries.values() for seconds in times]
    return {
        "fault": name,
        "cycles": sum(len(report.strikes) for report in reports),
        "kills": sum(report.kills for report in reports),
        "headers": sum(report.headers for report in reports),
        "customers": sum(verdict.accepted for verdict in verdicts),
        "lost": sum(len(verdict.lost) for verdict in verdicts),
        "twice": sum(len(verdict.twice) for verdict in verdicts),
        "wrong": sum(len(verdict.wrong) + len(verdict.overwritten) for verdict in verdicts),
        "parked": sum(len(report.parked) for report in reports),
        "overruns": sum(sum(verdict.overruns.values()) for verdict in verdicts),
        "collided": sum(verdict.collided for verdict in verdicts),
        "other": sum(len(report.other) for report in reports),
        "longest_recovery": f"{max(recoveries, default=0.0):.1f} s",
        "welcomes_owed": sum(verdict.welcomes_owed for verdict in verdicts),
        "welcomes_missed": sum(verdict.welcomes_missed for verdict in verdicts),
        "failed_seeds": [report.seed for report in reports if report.problems()],
    }
