"""How a report is worded, whatever it is shown in."""

from shared.domain.reports.charts import Interval
from shared.domain.reports.figures import Count, Dimension, Period, Report, Row, Slip

EXPLANATION = (
    "customers: each counted once, where they came first. relations: one for each member who has the customer. "
    "marked: remark and description are as the channel wants them."
)

LOST = " lost: of the relations, those that have ended since."


def explanation(report: Report) -> str:
    """Return what the figures of *report* mean."""
    return EXPLANATION + LOST if report.knows_lost else EXPLANATION


def heading(report: Report) -> str:
    """Return which days *report* is about, and whether anybody is missing from it."""
    days = f"{report.period.since} to {report.period.until}, days in {report.zone}"
    if not report.unread:
        return days
    missing = "1 member" if len(report.unread) == 1 else f"{len(report.unread)} members"
    return f"{days}; without {missing} who could not be read"


def cell_of(row: Row, dimension: Dimension) -> str:
    """Return what stands in *row* under *dimension*."""
    match dimension:
        case Dimension.CHANNEL:
            return row.source.label if row.source else ""
        case Dimension.DAY:
            return row.day.isoformat() if row.day else ""
        case Dimension.STAFF:
            return row.staff or ""


def marked_share(count: Count) -> str:
    """Return the share of relations that are marked, of those to be marked; a dash where none is."""
    # Rounded down: 100 % is said of all alone.
    return f"{100 * count.marked // count.to_mark} %" if count.to_mark else "-"


def customers_text(report: Report) -> str:
    """Return what stands below the number of customers, with the relations lost where that is known."""
    lost = report.total.lost
    return f"customers; {lost:,} {'relation' if lost == 1 else 'relations'} lost" if report.knows_lost else "customers"


def span(period: Period, interval: Interval) -> str:
    """Return a short name for a bar of a chart."""
    match interval:
        case Interval.DAY:
            return f"{period.since:%m-%d %a}"
        case Interval.WEEK:
            return f"{period.since:%m-%d}…{period.until:%m-%d}"
        case Interval.MONTH:
            return f"{period.since:%Y-%m}"
        case Interval.YEAR:
            return f"{period.since:%Y}"


def slip_text(slip: Slip) -> str:
    """Return a line about a state that looks misspelt."""
    return f"{slip.label}: {slip.relations:,} relations, but no channel has this state; {slip.hint}"


def nobody(report: Report) -> str:
    """Return what to say when nobody was counted."""
    text = f"No customers came in this period ({heading(report)})"
    return f"{text}; {report.outside:,} relations are of other days" if report.outside else text
