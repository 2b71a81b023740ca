"""Parse and fill templates."""

import pytest

from shared.domain.errors import ConfigurationError
from shared.domain.templates import CHINA, Field, Template, date_and_time, fill, parse_template

VALUES = {
    Field.NAME: "Nana",
    Field.CHANNEL: "展会26",
    Field.DATE: "2026-11-22",
    Field.TIME: "14:05",
    Field.STAFF: "lin.qiao",
    Field.CORP_NAME: "Acme",
    Field.STATE: "qd_expo26",
}


def filled(text: str, **values: str) -> str:
    return fill(parse_template(text), {**VALUES, **{Field(name): value for name, value in values.items()}})


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_template(text)
    return caught.value.problems


def test_every_field_is_filled_in():
    """Each field stands for its value."""
    text = " ".join(f"{{{field}}}" for field in Field)
    assert filled(text) == "Nana 展会26 2026-11-22 14:05 lin.qiao Acme qd_expo26"


def test_literal_braces_are_doubled():
    """Doubled braces stand for themselves and are no field."""
    template = parse_template("{{name}} {name}}}")
    assert template == Template(pieces=("{name} ", Field.NAME, "}"))
    assert template.literals() == "{name} }"


def test_a_literal_that_reads_like_a_field_is_no_field():
    """The word "name" outside braces is no field."""
    template = parse_template("name{channel}{channel}")
    assert template.fields() == [Field.CHANNEL, Field.CHANNEL]


def test_a_typo_is_named_with_the_nearest_field():
    """A field that does not exist is refused, with a guess at what was meant."""
    assert problems_of("{chanel}-{nmae}{quux}") == [
        "unknown field {chanel}; did you mean 'channel'?",
        "unknown field {nmae}; did you mean 'name'?",
        "unknown field {quux}",
    ]


@pytest.mark.parametrize("text", ["{", "}", "a{b", "{na{name}", "{name}}"])
def test_a_stray_brace_is_refused(text):
    """A single brace is refused, and the fix is named."""
    assert any(" for the character itself" in problem for problem in problems_of(text))


def test_attributes_and_formats_are_not_fields():
    """Nothing of Python's own format language gets through."""
    assert len(problems_of("{name.__class__}{name!r}{name:>9}{}{0}")) == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{channel}-{name}", "展会26"),
        ("{name}-{channel}", "展会26"),
        ("-{name}-{channel}", "展会26"),
        ("{channel}-{name}-{date}", "展会26-2026-11-22"),
        ("{channel} ({name})", "展会26"),
        ("[{name}] {channel}", "展会26"),
        ("【{channel}】{name}", "【展会26】"),
        ("{channel} ({name}, {corp_name})", "展会26 (Acme)"),
        ("{channel}{name}{corp_name}", "展会26Acme"),
        ("客户{name}-{channel}", "客户-展会26"),
        ("你好 {name}，欢迎！", "你好，欢迎！"),
        ("欢迎，{name}", "欢迎"),
        ("Hello {name}!", "Hello!"),
        ("{name}", ""),
    ],
)
def test_a_missing_name_leaves_nothing_dangling(text, expected):
    """An empty field takes its separators and brackets along."""
    assert filled(text, name="") == expected


def test_several_missing_fields_leave_nothing_dangling():
    """Two empty fields in a row collapse into one gap."""
    assert filled("{channel}-{name}-{corp_name}", name="", corp_name="") == "展会26"
    assert filled("{channel} {name}({corp_name}) {date}", name="", corp_name="") == "展会26 2026-11-22"


def test_times_are_those_of_china():
    """Seconds become date and time in UTC+8."""
    assert date_and_time(1767225600, CHINA) == ("2026-01-01", "08:00")
    assert date_and_time(1767225600 + 16 * 3600 - 1, CHINA) == ("2026-01-01", "23:59")


@pytest.mark.parametrize("seconds", [-1, 10**18])
def test_absurd_times_do_not_fail(seconds):
    """A CreateTime out of all bounds still renders."""
    date, time = date_and_time(seconds, CHINA)
    assert (len(date), len(time)) == (10, 5)
