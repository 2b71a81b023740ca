"""
Find the lines of the keys in a TOML file.

``tomllib`` reads values and forgets where they stood; a message about a wrong value needs the line. This
scanner takes text that ``tomllib`` has accepted, so it looks for headers, keys and the ends of values, and
checks nothing.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Final

KeyPath = tuple[str | int, ...]
"""From the top: ``("channels", "expo26", "attachments", 0, "title")``; a number counts the ``[[…]]`` of a name."""

_STRING: Final = r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
_PART: Final = rf"(?:[\w-]+|{_STRING})"
_KEY: Final = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_STATEMENT: Final = re.compile(
    rf"(?P<blank>\s+|#[^\n]*)|(?P<header>\[\[?)[ \t]*(?P<table>{_KEY})[ \t]*\]\]?|(?P<key>{_KEY})[ \t]*=",
    re.DOTALL,
)
_VALUE: Final = re.compile(
    rf"(?P<string>{_STRING})|#[^\n]*|(?P<open>[\[{{])|(?P<close>[\]}}])|(?P<end>\n)|.", re.DOTALL
)
_PARTS: Final = re.compile(_PART, re.DOTALL)


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """Return the line, from 1, on which each key and table of *text* begins; inline tables are values, not tables."""
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    line, counted, position = 1, 0, 0
    while match := _STATEMENT.match(text, position):
        line += text.count("\n", counted, position)
        counted = position
        position = match.end()
        if match["header"]:
            table = _enter(_split(match["table"]), counts, is_array=match["header"] == "[[")
            _note(lines, table, line, since=0)
        elif match["key"]:
            _note(lines, (*table, *_split(match["key"])), line, since=len(table))
            position = _end_of_value(text, position)
    return lines


def line_of(path: KeyPath, lines: Mapping[KeyPath, int]) -> int:
    """Return the line of *path*, or of the nearest table around it; 1 when nothing is known."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _note(lines: dict[KeyPath, int], path: KeyPath, line: int, *, since: int) -> None:
    """Record *line* for *path* and for the tables it implies below its first *since* parts."""
    for length in range(since + 1, len(path) + 1):
        lines.setdefault(path[:length], line)


def _enter(parts: list[str], counts: dict[KeyPath, int], *, is_array: bool) -> KeyPath:
    """Return the path of a header: ``[[x]]`` begins the next of its name, ``[x.y]`` goes into the last."""
    path: KeyPath = ()
    for depth, part in enumerate(parts, start=1):
        path = (*path, part)
        if is_array and depth == len(parts):
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _split(key: str) -> list[str]:
    """Return the parts of a dotted key, without quotes."""
    return [next(iter(tomllib.loads(f"{part} = 0"))) if part[0] in "\"'" else part for part in _PARTS.findall(key)]


def _end_of_value(text: str, position: int) -> int:
    """Return the position after the line break that ends the value at *position*."""
    depth = 0
    while match := _VALUE.match(text, position):
        position = match.end()
        depth += bool(match["open"]) - bool(match["close"])
        if match["end"] and not depth:
            break
    return position
