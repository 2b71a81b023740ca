"""
Templates for remarks, descriptions and welcomes: ``"{channel}-{name}"``.

Parsed once, when the channels file is loaded, so that a typo is found at start and not at a customer's
expense. Fitting the outcome into WeCom's limits is the business of ``shared.domain.remarks``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from typing import Final

from shared.domain.errors import ConfigurationError
from shared.domain.spelling import did_you_mean

CHINA: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
"""Asia/Shanghai: UTC+8 without summer time, hence without a time zone database."""

SEPARATORS: Final = " \t\r\n\u3000-‐‑‒–—―_·•・|｜/／\\，,、;；:：~～+＋&＆@＠#＃*＊=＝.…"
"""What stands between two fields and means nothing when one of them is missing."""

_BRACKETS: Final = {
    "(": ")",
    "[": "]",
    "{": "}",
    "<": ">",
    "（": "）",
    "【": "】",
    "「": "」",
    "『": "』",
    "《": "》",
}
_PIECE: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_LATEST: Final = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


class Field(StrEnum):
    """What a template may name in braces."""

    NAME = "name"
    CHANNEL = "channel"
    DATE = "date"
    TIME = "time"
    STAFF = "staff"
    CORP_NAME = "corp_name"
    STATE = "state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Literal text and fields, in order."""

    pieces: tuple[str | Field, ...]

    def fields(self) -> list[Field]:
        """Return the fields in order, each as often as it occurs."""
        return [piece for piece in self.pieces if isinstance(piece, Field)]

    def literals(self) -> str:
        """Return the text between the fields, joined."""
        return "".join(piece for piece in self.pieces if not isinstance(piece, Field))


def parse_template(text: str) -> Template:
    """
    Return *text* as a template. ``{{`` and ``}}`` stand for braces.

    Raises:
        ConfigurationError: Unknown fields or stray braces; all of them.
    """
    pieces: list[str | Field] = []
    problems: list[str] = []
    literal = ""
    end = 0
    for match in _PIECE.finditer(text):
        literal += text[end : match.start()]
        end = match.end()
        if match[0] in ("{{", "}}"):
            literal += match[0][0]
        elif match[1] is None:
            problems.append(f"a single {match[0]!r}; write {match[0] * 2!r} for the character itself")
        elif match[1] in set(Field):
            pieces += [literal, Field(match[1])]
            literal = ""
        else:
            problems.append(f"unknown field {{{match[1]}}}{did_you_mean(match[1], Field)}")
    if problems:
        raise ConfigurationError(problems)
    return Template(pieces=tuple(piece for piece in [*pieces, literal + text[end:]] if piece))


def fill(template: Template, values: Mapping[Field, str]) -> str:
    """
    Return *template* with *values* filled in.

    A field without a value takes along the brackets around it and the separators before it (after it, at the
    start and behind an opening bracket), so that ``{channel}-{name}`` becomes ``展会26`` and not ``展会26-``.
    """
    done = ""
    gap = ""
    vanished = False
    for piece in template.pieces:
        if not isinstance(piece, Field):
            gap = _bridge(gap, piece, at_start=not done) if vanished else gap + piece
            vanished = False
        elif value := values[piece]:
            done, gap, vanished = done + gap + value, "", False
        else:
            vanished = True
    return done + (gap.rstrip(SEPARATORS) if vanished else gap)


def _bridge(before: str, after: str, *, at_start: bool) -> str:
    """Join the literal text on both sides of a field that has no value."""
    if before and _BRACKETS.get(before[-1]) == after[0]:
        before, after = before[:-1], after[1:]
    before = before.rstrip(SEPARATORS)
    begins = before[-1] in _BRACKETS if before else at_start
    return before + (after.lstrip(SEPARATORS) if begins else after)


def moment_in(seconds: int, zone: tzinfo) -> datetime:
    """Return Unix *seconds*, which come from WeCom, as a time in *zone*; what no calendar has as the nearest it has."""
    return datetime.fromtimestamp(min(max(seconds, 0), _LATEST), zone)


def date_and_time(created_at: int, zone: tzinfo) -> tuple[str, str]:
    """Return Unix seconds as a date and a time of day in *zone*: ``2026-11-22`` and ``14:05``."""
    moment = moment_in(created_at, zone)
    return moment.strftime("%Y-%m-%d"), moment.strftime("%H:%M")
