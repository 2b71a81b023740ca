"""
A report as one page: charts and tables in a single file that asks nobody for anything.

Everything that came from outside is escaped, there is no script, and the page's own policy forbids both.
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from cli.report.colours import CHANNELS, OTHERS, colours
from cli.report.svg import time_chart
from cli.report.words import cell_of, explanation, heading, marked_share, nobody, slip_text
from shared.domain.reports.charts import Chart, Shade, chart
from shared.domain.reports.figures import Count, Dimension, Report, Row, SourceKind

_MOST_BARS: Final = 62
_MOST_CHANNELS: Final = 8
_STYLE: Final = """
:root { color-scheme: light dark; --text: #1f2733; --faint: #626b78; --line: #e2e6eb; --back: #fff; --card: #f6f7f9;
  --unknown_state: #b79f86; --foreign_state: #a3aab4; --no_state: #c3c9d1 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e9ee; --faint: #9aa4b2; --line: #323a45; --back: #15191f; --card: #1d232b;
    --unknown_state: #8d7a66; --foreign_state: #68717e; --no_state: #4b5461 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 66rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "WenQuanYi Micro Hei", sans-serif }
h1 { margin: 0; font-size: 1.9rem; font-weight: 600; line-height: 1.25; overflow-wrap: anywhere }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.1rem; font-weight: 600 }
p { margin: .4rem 0 } .faint, figcaption { color: var(--faint); font-size: .9rem }
dl { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.5rem 0 }
dl div { flex: 1 1 9rem; padding: .7rem 1rem; border-radius: .6rem; background: var(--card) }
dt { color: var(--faint); font-size: .9rem } dd { margin: 0; font-size: 1.6rem; font-variant-numeric: tabular-nums }
figure { margin: 0 } svg { display: block; width: 100%; height: auto }
svg text { fill: var(--faint); font-size: 13px } svg line { stroke: var(--line) }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .6rem 0 0; padding: 0; font-size: .9rem;
  list-style: none }
.key i { display: inline-block; width: .75rem; height: .75rem; margin-right: .4rem; border-radius: .15rem }
.wide { overflow-x: auto } table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th { color: var(--faint); font-size: .9rem; font-weight: 500 } tfoot td { border: 0; font-weight: 600 }
.name { text-align: left; white-space: normal; overflow-wrap: anywhere } .bar { width: 30%; text-align: left }
.bar span { display: block; height: .8rem; border-radius: .15rem; min-width: 1px; background: #3f6fd8 }
.stranger, small { color: var(--faint) } summary { cursor: pointer; color: var(--faint) }
@media (max-width: 40rem) { .bar { display: none } }
@media print { details::details-content { content-visibility: visible } }
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def html_page(report: Report, title: str) -> str:
    """Return the page."""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            f'<h1>{escape(title)}</h1>\n<p class="faint">{escape(heading(report))}</p>',
            *(_contents(report) if report.total.relations else [f"<p>{escape(nobody(report))}</p>"]),
            *_notes(report),
            "</body>\n</html>\n",
        ]
    )


def _contents(report: Report) -> Iterator[str]:
    yield _totals(report)
    data = chart(report, bars=_MOST_BARS, channels=_MOST_CHANNELS)
    yield f"<h2>New customers a {data.interval}</h2>"
    palette = _palette(data)
    yield time_chart(data, palette)
    yield "<h2>By channel</h2>"
    yield _table(report, Dimension.CHANNEL, palette)
    yield "<h2>By member</h2>"
    yield _table(report, Dimension.STAFF)
    yield "<h2>By day</h2>\n<details><summary>Show each day</summary>"
    yield _table(report, Dimension.DAY)
    yield f'</details>\n<p class="faint">{escape(explanation(report))}</p>'


def _totals(report: Report) -> str:
    total = report.total
    figures = {
        "customers": f"{total.customers:,}",
        "relations": f"{total.relations:,}",
        "marked": marked_share(total),
        "a person wrote the remark": f"{total.person_wrote:,}",
        "ours, older": f"{total.ours_older:,}",
        **({"lost": f"{total.lost:,}"} if report.knows_lost else {}),
    }
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items()) + "</dl>"


def _notes(report: Report) -> Iterator[str]:
    if report.undated:
        yield f"<p>{report.undated:,} relations have no date and are not counted.</p>"
    if report.slips:
        yield "<h2>Misspelt?</h2>"
        yield from (f"<p>{escape(slip_text(slip))}</p>" for slip in report.slips)


def _palette(data: Chart) -> list[str]:
    """Return a colour for each series; the greys are the style's, so that they step back in the dark as well."""
    greys = (Shade.UNKNOWN_STATE, Shade.FOREIGN_STATE, Shade.NO_STATE)
    return [
        f"var(--{series.shade})" if series.shade in greys else colour
        for series, colour in zip(data.series, colours(data.series), strict=True)
    ]


def _table(report: Report, dimension: Dimension, palette: Sequence[str] = ()) -> str:
    """Return the table by *dimension*; channels get the colours of *palette* by size, as in the chart."""
    rows = report.rows(dimension)
    largest = max(row.count.customers for row in rows) or 1
    return "".join(
        [
            '<div class="wide"><table>\n<thead><tr>',
            f'<th class="name">{dimension.value}</th>',
            *(f"<th>{name}</th>" for name in _headings(report)),
            '<th class="bar"></th></tr></thead>\n<tbody>',
            *(
                _row(row, dimension, row.count.customers / largest, _colour(row, number, palette), report)
                for number, row in enumerate(rows)
            ),
            f'</tbody>\n<tfoot><tr><td class="name">total</td>{_figures(report.total, report)}<td class="bar"></td>',
            "</tr></tfoot></table></div>",
        ]
    )


def _colour(row: Row, number: int, palette: Sequence[str]) -> str:
    if row.source is None:
        return CHANNELS[0]
    if row.source.kind is not SourceKind.CHANNEL:
        return f"var(--{row.source.kind})"
    return palette[number] if number < len(palette) and "--" not in palette[number] else OTHERS[Shade.REST]


def _headings(report: Report) -> list[str]:
    lost = ["lost"] if report.knows_lost else []
    return ["customers", "relations", "marked", "person wrote", "ours, older", *lost]


def _row(row: Row, dimension: Dimension, share: float, colour: str, report: Report) -> str:
    name = escape(cell_of(row, dimension))
    stranger = " stranger" if row.source and row.source.key is None else ""
    key = f" <small>{escape(row.source.key)}</small>" if row.source and row.source.key else ""
    bar = f'<span style="width:{100 * share:.1f}%;background:{colour}"></span>' if row.count.customers else ""
    figures = _figures(row.count, report)
    return f'<tr><td class="name{stranger}">{name}{key}</td>{figures}<td class="bar">{bar}</td></tr>\n'


def _figures(count: Count, report: Report) -> str:
    lost = [count.lost] if report.knows_lost else []
    figures = (count.customers, count.relations, marked_share(count), count.person_wrote, count.ours_older, *lost)
    return "".join(f"<td>{figure if isinstance(figure, str) else f'{figure:,}'}</td>" for figure in figures)
