"""A chart of a report as SVG inside a page: it names no namespace, so no address is in it."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from cli.report.words import span
from shared.domain.reports.charts import Chart

_PLOT: Final = (960, 300)
_MARGIN_LEFT: Final = 56
_MARGIN_FOOT: Final = 28
_MARGIN_TOP: Final = 10
_MOST_LABELS: Final = 10


def time_chart(data: Chart, palette: Sequence[str]) -> str:
    """Return *data* as stacked bars, each series in its colour of *palette*, with a key; the page brings the styles."""
    width, height = _PLOT
    top = _round_up(max(data.totals))
    step = (width - _MARGIN_LEFT) / len(data.bars)
    parts = [f'<svg viewBox="0 0 {width} {height + _MARGIN_FOOT}" role="img" aria-label="new customers over time">']
    parts += _grid(top)
    every = -(-len(data.bars) // _MOST_LABELS)
    for number, bar in enumerate(data.bars):
        left = _MARGIN_LEFT + number * step
        foot = float(height)
        for series, colour in zip(data.series, palette, strict=True):
            if count := series.customers[number]:
                tall = count / top * (height - _MARGIN_TOP)
                foot -= tall
                hover = f"{span(bar, data.interval)} · {series.label}: {count:,}"
                parts.append(
                    f'<rect x="{left + step * 0.09:.1f}" y="{foot:.1f}" width="{step * 0.82:.1f}" height="{tall:.1f}" '
                    f'fill="{colour}"><title>{escape(hover)}</title></rect>'
                )
        if number % every == 0:
            name = span(bar, data.interval).split("…")[0].split(" ")[0]
            parts.append(f'<text x="{left + step / 2:.1f}" y="{height + 20}" text-anchor="middle">{name}</text>')
    keys = [
        f'<li><i style="background:{colour}"></i>{escape(series.label)}</li>'
        for series, colour in zip(data.series, palette, strict=True)
    ]
    return f'<figure>{"".join(parts)}</svg>\n<ul class="key">{"".join(keys)}</ul></figure>'


def _grid(top: int) -> Iterator[str]:
    width, height = _PLOT
    for line in sorted({round(top * quarter / 4) for quarter in range(5)}):
        y = height - line / top * (height - _MARGIN_TOP)
        yield f'<line x1="{_MARGIN_LEFT}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_MARGIN_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{line:,}</text>'


def _round_up(value: int) -> int:
    """Return a number not below *value* that four lines divide into round steps."""
    size = 1
    while True:
        for factor in (4, 8, 12, 16, 20, 28):
            if factor * size >= value:
                return factor * size
        size *= 10
