"""A report on the terminal: a table with bars, and a bar for each day; 80 columns are enough."""

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.bar import Bar
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

from cli.report.words import cell_of, explanation, heading, marked_share, nobody, slip_text, span
from shared.domain.reports.charts import chart
from shared.domain.reports.figures import BY_CHANNEL, Count, Dimension, Report, Row

_WIDEST: Final = 110
_MOST_BARS: Final = 31
_COLOUR: Final = "blue"


def print_report(report: Report, by: Sequence[Dimension], console: Console) -> None:
    """Print *report*: grouped as *by* says, or by channel with a chart of the days."""
    width = min(console.width, _WIDEST)
    if not report.total.relations:
        console.print(Text(nobody(report)), width=width)
    else:
        console.print(Text(f"Customers {heading(report)}", style="bold"), width=width)
        console.print(_table(report, by or BY_CHANNEL), width=width)
        if not by:
            console.print(_time_chart(report), width=width)
        console.print(Text(explanation(report), style="dim"), width=width)
    if report.undated:
        console.print(Text(f"{report.undated:,} relations have no date and are not counted"), width=width)
    for slip in report.slips:
        console.print(Text(slip_text(slip), style="yellow"), width=width)


def _table(report: Report, by: Sequence[Dimension]) -> Table:
    rows = report.rows(*by)
    largest = max(row.count.customers for row in rows)
    table = Table(
        *(Column(name, no_wrap=True, overflow="ellipsis", max_width=26) for name in _name_headings(by)),
        *(Column(name, justify="right", no_wrap=True) for name in _figure_headings(report)),
        Column("", ratio=1, min_width=6),
        box=box.SIMPLE_HEAD,
        show_footer=False,
        expand=True,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for row in rows:
        table.add_row(*_names(row, by), *_figures(row.count, report), _bar(row.count.customers, largest))
    table.add_section()
    names = ["total", *[""] * (len(_name_headings(by)) - 1)]
    table.add_row(*names, *_figures(report.total, report), "", style="bold")
    return table


def _name_headings(by: Sequence[Dimension]) -> list[str]:
    return [name for each in by for name in (("channel", "key") if each is Dimension.CHANNEL else (each.value,))]


def _names(row: Row, by: Sequence[Dimension]) -> list[RenderableType]:
    names: list[RenderableType] = []
    for dimension in by:
        stranger = dimension is Dimension.CHANNEL and row.source is not None and row.source.key is None
        names.append(Text(cell_of(row, dimension), style="dim" if stranger else ""))
        if dimension is Dimension.CHANNEL and row.source is not None:
            names.append(Text(row.source.key or "", style="dim"))
    return names


def _figure_headings(report: Report) -> list[str]:
    return ["customers", "relations", "marked", *(["lost"] if report.knows_lost else [])]


def _figures(count: Count, report: Report) -> list[str]:
    figures = [f"{count.customers:,}", f"{count.relations:,}", marked_share(count)]
    return [*figures, f"{count.lost:,}"] if report.knows_lost else figures


def _time_chart(report: Report) -> Table:
    times = chart(report, bars=_MOST_BARS, channels=1)
    table = Table(
        Column(f"customers a {times.interval}", no_wrap=True),
        Column("", justify="right", no_wrap=True),
        Column("", ratio=1),
        box=box.SIMPLE_HEAD,
        expand=True,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for period, total in zip(times.bars, times.totals, strict=True):
        table.add_row(span(period, times.interval), f"{total:,}", _bar(total, max(times.totals)))
    return table


def _bar(value: int, largest: int) -> RenderableType:
    return Bar(size=max(largest, 1), begin=0, end=value, color=_COLOUR) if value else ""
