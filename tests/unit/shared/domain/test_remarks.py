"""Fit names into remarks."""

import unicodedata

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.domain.remarks import clean, fit, fixed_size, shorten, utf8_bytes, utf16_units
from shared.domain.templates import Field, parse_template

FAMILY = "👨‍👩‍👧‍👦"
FLAG = "🇨🇳"
ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
INVISIBLE = "\u200b\u2060\ufeff\u00ad\u180e\u3164\uffa0\u115f\x00\x07\x9f\ufff9\ufdd0\ud83d"

TRICKY = [
    FAMILY,
    FLAG,
    "🇨",
    ENGLAND,
    "e\u0301",
    "\u0301",
    "👍🏽",
    "🏽",
    "❤️",
    "\u200d",
    "\u200c",
    "\ufe0f",
    "\n",
    "\u3000",
    "\u2800",
]
names = st.one_of(
    st.text(max_size=64),
    st.text(alphabet=st.characters(), max_size=64),
    st.lists(st.sampled_from([*TRICKY, *BIDI, *INVISIBLE, "a", "李", "-", " ", "(", "ก็", "क्‍ष"]), max_size=40).map(
        "".join
    ),
)
templates = st.sampled_from(
    [
        "{channel}-{name}",
        "{name}-{channel}",
        "{channel}{name}",
        "{name}{channel}{name}",
        "[{name}] {channel}",
        "{channel} {name}({corp_name})",
        "{channel}/{staff}/{name}",
        "{channel}",
    ]
).map(parse_template)


def values(**given: str) -> dict[Field, str]:
    return {
        **dict.fromkeys(Field, ""),
        Field.CHANNEL: "展会26",
        **{Field(name): value for name, value in given.items()},
    }


def remark(text: str, **given: str) -> str:
    return fit(parse_template(text), values(**given), 20)


def visible(text: str) -> str:
    """Return *text* without what may vanish at a seam: blanks and joiners between words."""
    return regex.sub(r"[ \u200c\u200d]", "", text)


def graphemes(text: str) -> list[str]:
    return regex.findall(r"\X", text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Nana", "展会26-Nana"),
        ("", "展会26"),
        (" \n\t ", "展会26"),
        (BIDI + INVISIBLE + "\u200d\ufe0f\u2800", "展会26"),
        ("李" * 64, "展会26-" + "李" * 15),
        ("a" * 64, "展会26-" + "a" * 15),
        ("🦊" * 64, "展会26-" + "🦊" * 7),
        (FLAG * 9, "展会26-" + FLAG * 3),
        (FAMILY * 9, "展会26-" + FAMILY),
        (ENGLAND + ENGLAND, "展会26-" + ENGLAND),
        ("👍🏽" * 9, "展会26-" + "👍🏽" * 3),
        ("e\u0301" * 20, "展会26-" + "e\u0301" * 7),
        ("\u202eevil\u202c", "展会26-evil"),
        ("\u200fשלום\u200f", "展会26-שלום"),
        ("two\r\nlines\u2028three", "展会26-two lines three"[:20].rstrip()),
        ("\u0301acute", "展会26-acute"),
        ("\ud83d小明\udc00", "展会26-小明"),
        ("Anna-Maria-Luise-X", "展会26-Anna-Maria-Luis"),
        ("Annamarie Lou-(Lulu)", "展会26-Annamarie Lou"),
        ("نور\u200cا", "展会26-نور\u200cا"),
    ],
)
def test_a_name_is_fitted(name, expected):
    """Names of all kinds become a remark of at most 20 units that shows the channel whole."""
    assert remark("{channel}-{name}", name=name) == expected


def test_a_grapheme_too_large_for_the_room_is_left_out():
    """What cannot fit anyway does not keep the rest of the name out."""
    zalgo = "z" + "\u0316" * 40
    assert remark("{channel}-{name}", name=zalgo + "小明") == "展会26-小明"
    assert remark("{channel}-{name}", name=zalgo) == "展会26"


def test_the_company_gives_way_before_the_name():
    """The company is shortened first, then the member, then the name."""
    text = "{channel} {name}({corp_name})"
    assert remark(text, name="Nana", corp_name="Acme Widgets Ltd") == "展会26 Nana(Acme Widg)"
    assert remark(text, name="Nanananananan", corp_name="Acme") == "展会26 Nanananananan"
    assert remark("{channel}/{staff}/{name}", name="Nana", staff="lin.qiao.shanghai") == "展会26/lin.qiao.s/Nana"


def test_a_name_used_twice_is_shortened_twice():
    """Both places show the same shortened name."""
    assert remark("{name}{channel}{name}", name="abcdefghijkl") == "abcdefgh展会26abcdefgh"


def test_tag_characters_survive_only_in_flags():
    """Invisible tag characters go unless they make up a flag."""
    assert clean(f"a\U000e0041b{ENGLAND}\U000e007f") == f"ab{ENGLAND}"


def test_the_fixed_part_is_what_cannot_be_shortened():
    """Literals, channel, state, date and time count, in the measure asked for; names do not."""
    template = parse_template("客-{channel}-{name}-{corp_name}-{staff}")
    sizes = values(name="N" * 50, corp_name="C" * 50, staff="S" * 50)
    assert fixed_size(template, sizes) == 5 + 4
    assert fixed_size(template, sizes, utf8_bytes) == 7 + 8


def test_units():
    """Characters outside the basic plane count two units; lone surrogates count one and do not fail."""
    assert utf16_units("a李🦊\ud800") == 5
    assert utf8_bytes("a李🦊\ud800") == 11


@settings(deadline=None)  # the machine may be busy
@given(name=names, corp_name=names, template=templates)
@example(name="\ud800", corp_name="", template=parse_template("{channel}-{name}"))
def test_never_over_the_limit_and_always_with_the_channel(name, corp_name, template):
    """Whatever a customer calls themselves: at most 20 units, the channel whole, one line, nothing at the edges."""
    text = fit(template, values(name=name, corp_name=corp_name, staff="lin.qiao"), 20)
    assert utf16_units(text) <= 20
    assert "展会26" in text
    assert text == text.strip()
    assert text.splitlines() == [text]
    assert not any(unicodedata.category(char) in {"Cc", "Cs"} for char in text)
    text.encode()


@settings(deadline=None)  # the machine may be busy
@given(name=names)
def test_cleaning_twice_changes_nothing(name):
    """A clean text stays as it is."""
    assert clean(clean(name)) == clean(name)


@settings(deadline=None)  # the machine may be busy
@given(name=names)
def test_what_is_clean_shows_something(name):
    """A clean text is empty or begins with something visible, and no invisible character but a joiner is left."""
    text = clean(name)
    assert not set(text) & set(BIDI + INVISIBLE)
    assert not text or not regex.match(r"[\p{M}\p{DI}\s]", text)
    assert not text.endswith(("\u200d", "\u200c", " "))


@settings(deadline=None)  # the machine may be busy
@given(name=names, room=st.integers(min_value=0, max_value=30))
def test_shortening_keeps_whole_graphemes(name, room):
    """What is left of a name are graphemes of the name, in order, and shortening again changes nothing."""
    text = clean(name)
    short = shorten(text, room)
    assert utf16_units(short) <= room
    assert shorten(short, room) == short
    assert clean(short) == short
    small = [grapheme for grapheme in graphemes(text) if utf16_units(grapheme) <= room]
    assert visible(clean("".join(small))).startswith(visible(short))
    if "".join(small) == text:
        # A joiner at the cut belongs to the last grapheme and goes without it.
        whole = [visible(grapheme) for grapheme in small]
        assert whole[: len(graphemes(short))] == [visible(grapheme) for grapheme in graphemes(short)]


@settings(deadline=None)  # the machine may be busy
@given(name=names, template=templates)
def test_fitting_a_fitted_name_changes_nothing(name, template):
    """A name that has been shortened for a remark is not shortened again."""
    once = fit(parse_template("{channel}-{name}"), values(name=name), 20)
    fitted = once.removeprefix("展会26").removeprefix("-")
    assert fit(parse_template("{channel}-{name}"), values(name=fitted), 20) == once
