"""How commands speak: one JSON document on stdout with `--json`, tables otherwise; logs go to stderr."""

import sys
from datetime import tzinfo

import orjson

from shared.domain.templates import moment_in


def print_json(document: object) -> None:
    """Print *document* as the one JSON document of the command."""
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")


def print_line(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(text + "\n")


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
