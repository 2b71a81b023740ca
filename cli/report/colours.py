"""The colours of a report's charts: strong ones for channels, greys for customers of no channel."""

from collections.abc import Sequence
from typing import Final

from shared.domain.reports.charts import Series, Shade

# Apart from each other for the colour-blind too, and readable on white and on near-black.
CHANNELS: Final = ("#3f6fd8", "#f0a023", "#2aa58a", "#e2574c", "#8b62d3", "#4fb3d9", "#c9579a", "#8a9a2f")
OTHERS: Final = {
    Shade.REST: "#7f8fa9",
    Shade.UNKNOWN_STATE: "#b79f86",
    Shade.FOREIGN_STATE: "#a3aab4",
    Shade.NO_STATE: "#c3c9d1",
}


def colours(series: Sequence[Series]) -> list[str]:
    """Return a colour for each of *series*: channels come first, so that each keeps its own from chart to chart."""
    return [OTHERS.get(each.shade, CHANNELS[number % len(CHANNELS)]) for number, each in enumerate(series)]
