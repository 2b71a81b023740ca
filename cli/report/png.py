"""A report as a picture for a slide: customers over time, stacked by channel, and each channel's share beside it."""

import io
import warnings
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.ticker import MaxNLocator

from cli.fonts import cjk_font_file
from cli.report.colours import colours
from cli.report.words import customers_text, heading, nobody
from shared.domain.reports.charts import Chart, Interval, chart
from shared.domain.reports.figures import Period, Report

WIDTH: Final = 2400
HEIGHT: Final = 1350
_DPI: Final = 180
_MOST_BARS: Final = 62
_MOST_CHANNELS: Final = 8
_MOST_LABELS: Final = 10
_LABELLED_BARS: Final = 16
_TEXT: Final = "#1f2733"
_FAINT: Final = "#69727f"
_GRID: Final = "#e4e7eb"


def png_bytes(report: Report, title: str) -> bytes:
    """
    Return the picture, 16:9 and large enough for a screen-filling slide.

    Raises:
        ConfigurationError: No font with Chinese characters is installed.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        # A character that no font has, an emoji in a channel's name for one, becomes a box; no need to say so.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        _set_style()
        figure = Figure(figsize=(WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        _draw(figure, report, title)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", metadata={"Title": title, "Software": "Qudao"})
    return picture.getvalue()


def _set_style() -> None:
    path = cjk_font_file()
    fontManager.addfont(path)
    mpl.rc("font", family=[FontProperties(fname=str(path)).get_name(), "DejaVu Sans"], size=12)
    mpl.rc("text", color=_TEXT, parse_math=False)  # a channel may be called "$9"
    mpl.rc("axes", edgecolor=_GRID, labelcolor=_FAINT)
    mpl.rc("xtick", color=_FAINT)
    mpl.rc("ytick", color=_FAINT)


def _draw(figure: Figure, report: Report, title: str) -> None:
    total = report.total
    figure.text(0.045, 0.925, _shortened(title, 64), fontsize=25, va="center")
    figure.text(0.045, 0.862, heading(report), fontsize=13, color=_FAINT, va="center")
    if not total.customers:
        figure.text(0.5, 0.45, nobody(report), fontsize=17, color=_FAINT, ha="center", va="center")
        return
    figure.text(0.955, 0.925, f"{total.customers:,}", fontsize=25, ha="right", va="center")
    figure.text(0.955, 0.862, customers_text(report), fontsize=13, color=_FAINT, ha="right", va="center")
    data = chart(report, bars=_MOST_BARS, channels=_MOST_CHANNELS)
    _draw_time(figure.add_axes((0.075, 0.1, 0.515, 0.67)), data)
    _draw_channels(figure.add_axes((0.765, 0.1, 0.205, 0.67)), data)


def _draw_time(axes: Axes, data: Chart) -> None:
    places = range(len(data.bars))
    foot = [0] * len(data.bars)
    for series, colour in zip(data.series, colours(data.series), strict=True):
        axes.bar(places, series.customers, bottom=foot, color=colour, width=0.82, linewidth=0, zorder=2)
        foot = [below + more for below, more in zip(foot, series.customers, strict=True)]
    if len(data.bars) <= _LABELLED_BARS:
        for place, total in zip(places, data.totals, strict=True):
            axes.annotate(
                f"{total:,}", (place, total), (0, 4), textcoords="offset points", ha="center", color=_TEXT, fontsize=11
            )
    axes.set_title(f"new customers a {data.interval}", loc="left", fontsize=13, color=_FAINT, pad=14)
    every = -(-len(data.bars) // _MOST_LABELS)
    axes.set_xticks(list(places)[::every], [_label(bar, data.interval) for bar in data.bars[::every]])
    axes.set_xlim(-0.7, len(data.bars) - 0.3)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(axis="y", color=_GRID, zorder=0)
    axes.tick_params(length=0, pad=8)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.margins(y=0.08)
    axes.set_ylim(bottom=0)


def _draw_channels(axes: Axes, data: Chart) -> None:
    """Draw each series' total: by its colour and name, the legend of the other chart as well."""
    totals = [series.total for series in data.series]
    places = range(len(totals))
    axes.barh(places, totals, color=colours(data.series), height=0.62, linewidth=0)
    for place, total in zip(places, totals, strict=True):
        amount = f"{total:,}  {100 * total / sum(totals):.0f} %"
        axes.annotate(amount, (total, place), (7, 0), textcoords="offset points", va="center")
    axes.set_yticks(list(places), [_shortened(series.label, 22) for series in data.series], color=_TEXT, fontsize=13)
    axes.set_title("by channel", loc="left", fontsize=13, color=_FAINT, pad=14)
    axes.set_ylim(max(len(totals), 8) - 0.4, -0.6)
    axes.set_xlim(0, max(totals) * 1.85)  # room for the numbers behind the longest bar
    axes.set_xticks([])
    axes.tick_params(length=0, pad=8)
    axes.spines[:].set_visible(False)


def _label(bar: Period, interval: Interval) -> str:
    match interval:
        case Interval.DAY | Interval.WEEK:
            return f"{bar.since:%m-%d}"
        case Interval.MONTH:
            return f"{bar.since:%Y-%m}"
        case Interval.YEAR:
            return f"{bar.since:%Y}"


def _shortened(label: str, most: int) -> str:
    """Return *label* in at most *most* columns: a Chinese character takes two."""
    columns = 0
    for number, character in enumerate(label):
        columns += 2 if ord(character) > 0x2E80 else 1
        if columns > most:
            return label[:number].rstrip() + "…"
    return label
