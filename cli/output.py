"""How commands speak: one JSON document on stdout with `--json`, tables otherwise; logs go to stderr."""

import sys
from datetime import tzinfo
from typing import TYPE_CHECKING, Final

import orjson

from shared.domain.templates import moment_in

if TYPE_CHECKING:
    from rich.table import Table

_NARROW: Final = 16
"""Cells that a column of text is given where there is not room for all."""


def print_json(document: object) -> None:
    """Print *document* as the one JSON document of the command."""
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")


def print_line(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(text + "\n")


def print_table(table: "Table") -> None:
    """
    Print *table* on stdout, as wide as the terminal.

    Wider where its ``no_wrap`` columns need it: what people copy, such as a key or an id, is never broken.
    """
    from rich.console import Console  # noqa: PLC0415 - slow to import, and `--json` needs none of it
    from rich.measure import measure_renderables  # noqa: PLC0415 - as above

    console = Console()
    needed = 2
    for column in table.columns:
        width = measure_renderables(console, console.options, [column.header, *column.cells]).maximum
        needed += (width if column.no_wrap else min(width, _NARROW)) + 3
    if needed > console.width:
        table.width = needed
    console.print(table, crop=False, overflow="ignore")


def moment(seconds: float, zone: tzinfo) -> str:
    """Return Unix *seconds*, WeCom's too, as a date and time in *zone*, to the second and with its offset."""
    return moment_in(int(seconds), zone).isoformat(sep=" ", timespec="seconds")


def duration(seconds: float | None) -> str:
    """Return *seconds* in the largest unit that reads well; a dash for None."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
