"""
Make a text fit for a remark: visible, on one line, within WeCom's limit, cut where a reader sees a boundary.

WeCom allows "20 characters" without saying of which kind (doc 92115), so UTF-16 units are counted, the
largest of the readings. The channel is never cut: the customer's company gives way first, then the member's
userid, then the name.
"""

from collections.abc import Callable, Mapping
from typing import Final

import regex

from shared.domain.templates import SEPARATORS, Field, Template, fill

REMARK_LIMIT: Final = 20
DESCRIPTION_LIMIT: Final = 150
WELCOME_LIMIT: Final = 4000
"""In UTF-8 bytes; the other two in UTF-16 units (doc 92115, 92137)."""

Measure = Callable[[str], int]

_ELASTIC: Final = (Field.CORP_NAME, Field.STAFF, Field.NAME)
_DANGLING: Final = SEPARATORS + "\u200c\u200d([{<（【「『《〈"

_GRAPHEME: Final = regex.compile(r"\X")
# Controls, bidi marks and overrides, zero-width and filler characters. Joiners, variation selectors and
# tags stay for now: emoji, Persian and Indic scripts need them.
_INVISIBLE: Final = regex.compile(
    r"(?V1)[[\p{Cc}\p{Cs}\p{NChar}\p{DI}\uFFF9-\uFFFB]--[\s\u200c\u200d\p{VS}\U000E0020-\U000E007F]]"
)
_TAGS: Final = regex.compile(r"(\U0001F3F4[\U000E0020-\U000E007E]+\U000E007F)|[\U000E0020-\U000E007F]")
# A joiner beside a blank or another joiner.
_IDLE_JOINERS: Final = regex.compile(r"(?<=[\s\u200c\u200d])[\u200c\u200d]+|[\u200c\u200d]+(?=\s)|[\u200c\u200d]+\Z")
# What would attach itself to the text in front.
_ATTACHING: Final = regex.compile(r"\A[\s\p{GCB=Extend}\p{GCB=SpacingMark}\u200d]+")
# Any of the above, so that most texts take one search and no replacements. U+2800 is Braille's blank: no white
# space to Unicode, but to a reader.
_SUSPECT: Final = regex.compile(r"[\p{Cc}\p{Cs}\p{NChar}\p{DI}\p{GCB=Extend}\p{GCB=SpacingMark}\uFFF9-\uFFFB\u2800]")


def utf16_units(text: str) -> int:
    """Return the length of *text* in UTF-16 units: 1 for most characters, 2 for most emoji."""
    return len(text.encode("utf-16-le", errors="surrogatepass")) // 2


def utf8_bytes(text: str) -> int:
    """Return the length of *text* in UTF-8 bytes."""
    return len(text.encode(errors="surrogatepass"))


def clean(text: str) -> str:
    """
    Return what a reader sees of *text*, on one line; an empty string when that is nothing.

    Control, direction and zero-width characters and lone surrogates go, runs of blanks and line breaks
    become one space. Cleaning twice changes nothing.
    """
    if _SUSPECT.search(text):
        text = _INVISIBLE.sub("", text.replace("\u2800", " "))
        text = _TAGS.sub(r"\1", text)
        text = _IDLE_JOINERS.sub("", text)
        text = _ATTACHING.sub("", text)
    return " ".join(text.split())


def same_text(one: str, other: str) -> bool:
    """
    Tell whether two texts look the same to a reader, or differ only by what WeCom was seen to drop: emoji.

    Else a remark that came back without one would be written again for ever.
    """
    one, other = clean(one), clean(other)
    if one == other:
        return True
    left, right = as_stored(one), as_stored(other)
    return left == right != "" and right == other


def as_stored(text: str) -> str:
    """Return *text* clean, and as a database of three bytes a character keeps it."""
    return " ".join("".join(character for character in clean(text) if ord(character) < 0x10000).split())


def shorten(text: str, room: int, measure: Measure = utf16_units) -> str:
    """
    Return the beginning of the clean *text* that fits into *room*, whole graphemes only.

    A grapheme too large for the room by itself is left out rather than ending the text; a separator, an
    opening bracket or a joiner at the cut goes too.
    """
    if measure(text) <= room:
        return text
    taken, used = "", 0
    for match in _GRAPHEME.finditer(text):
        size = measure(match[0])
        if size <= room:
            used += size
            if used > room:
                break
            taken += match[0]
    return clean(taken).rstrip(_DANGLING)


def fixed_size(template: Template, values: Mapping[Field, str], measure: Measure = utf16_units) -> int:
    """Return the size of what :func:`fit` never shortens."""
    fixed = [values[field] for field in template.fields() if field not in _ELASTIC]
    return measure(template.literals()) + sum(map(measure, fixed))


def fit(template: Template, values: Mapping[Field, str], limit: int, measure: Measure = utf16_units) -> str:
    """Return *template* filled with *values*, at most *limit* long provided that its ``fixed_size`` is."""
    fields = template.fields()
    shown = {field: clean(values[field]) for field in fields}
    text = fill(template, shown).strip()
    for field in _ELASTIC:
        excess = measure(text) - limit
        if excess > 0 and shown.get(field):
            room = measure(shown[field]) - -(-excess // fields.count(field))
            shown[field] = shorten(shown[field], room, measure)
            text = fill(template, shown).strip()
    return text
