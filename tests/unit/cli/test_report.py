"""What `qudao report` makes of what was counted: the period, the table, the sheet, the picture, the page."""

import csv
import io
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.cells import cell_len
from rich.console import Console

from cli.report.command import period_of
from cli.report.data import Coverage, document, headings, sheet_row
from cli.report.files import Files
from cli.report.html import html_page
from cli.report.png import HEIGHT, WIDTH, png_bytes
from cli.report.table import print_report
from cli.report.words import customers_text
from cli.sheets import sheet
from shared.domain.channels.model import Channel, ChannelKey, Channels
from shared.domain.errors import ConfigurationError
from shared.domain.ids import ExternalUserId, StaffUserId
from shared.domain.relations import Relation
from shared.domain.reports.census import Census
from shared.domain.reports.figures import Dimension, Period, ReadFrom, Report
from shared.domain.templates import parse_template

TODAY = date(2026, 11, 22)
NOON = 1795320000
"""Of that day, in China."""

HOSTILE = "<script src=//evil.example/x>&\"'$"


def the_channels(*names: str) -> Channels:
    remark = parse_template("{channel}-{name}")
    return Channels.of(
        *(
            Channel(key=ChannelKey(f"c{number}"), name=name, state=f"qd_c{number}", remark=remark)
            for number, name in enumerate(names)
        )
    )


def a_report(*names: str, days: int = 30, each: int = 5, states: tuple[str, ...] = ()) -> Report:
    """Return a report with customers of each channel, and of other *states*, on many days."""
    census = Census(the_channels(*names), Period(since=date.fromordinal(TODAY.toordinal() - days + 1), until=TODAY))
    known = tuple(f"qd_c{number}" for number in range(len(names)))
    for place, state in enumerate((*known, *states)):
        for number in range(each * (place + 1)):
            census.add(
                Relation(
                    staff=StaffUserId("lin.qiao" if number % 3 else "zhou.yi"),
                    customer=ExternalUserId(f"wm{state}{number}"),
                    name="Nana",
                    remark="Nana" if number % 2 else f"{names[place % len(names)]}-Nana",
                    created_at=NOON - (number % days) * 86_400,
                    state=state,
                )
            )
    return census.report()


def printed(report: Report, *by: Dimension, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    print_report(report, by, console)
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())


@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        (None, None, "2026-10-24", "2026-11-22"),
        ("7d", None, "2026-11-16", "2026-11-22"),
        ("1d", None, "2026-11-22", "2026-11-22"),
        ("2026-11-01", None, "2026-11-01", "2026-11-22"),
        ("2026-10-01", "2026-10-31", "2026-10-01", "2026-10-31"),
        (None, "2026-10-30", "2026-10-01", "2026-10-30"),
        ("7d", "2026-10-31", "2026-10-25", "2026-10-31"),
        ("2026-11-01", "2030-01-01", "2026-11-01", "2026-11-22"),
        ("0001-01-01", None, "2016-01-01", "2026-11-22"),
        ("99999d", None, "2016-01-01", "2026-11-22"),
    ],
)
def test_the_days_that_options_name(since: str | None, until: str | None, first: str, last: str) -> None:
    """The last 30 days unless told otherwise; both ends belong; nothing before WeCom began or after today."""
    period = period_of(since, until, today=TODAY)
    assert (period.since.isoformat(), period.until.isoformat()) == (first, last)


@pytest.mark.parametrize(
    ("since", "until", "problems"),
    [
        (
            "2026-11-31",
            "soon",
            ["--until: write a date such as 2026-11-30", "--since: write a date such as 2026-11-01"],
        ),
        ("0d", None, ["--since: write a date"]),
        ("2026-11-10", "2026-11-09", ["--since 2026-11-10: comes after the last day, 2026-11-09"]),
        ("2026-12-01", None, ["--since 2026-12-01: comes after the last day, 2026-11-22"]),
        (None, "7d", ["--until: write a date"]),
        (None, "2015-12-31", ["--until 2015-12-31: WeCom began in 2016"]),
    ],
)
def test_days_that_cannot_be(since: str | None, until: str | None, problems: list[str]) -> None:
    """What cannot be read as a day, and an end before the beginning, are refused by name, all at once."""
    with pytest.raises(ConfigurationError) as refused:
        period_of(since, until, today=TODAY)
    assert len(refused.value.problems) == len(problems)
    for found, expected in zip(refused.value.problems, problems, strict=True):
        assert found.startswith(expected)


@pytest.mark.parametrize("by", [(), (Dimension.CHANNEL, Dimension.STAFF, Dimension.DAY), (Dimension.STAFF,)])
@pytest.mark.parametrize("days", [1, 30, 400])
@pytest.mark.parametrize("read_from", ReadFrom)
def test_the_table_fits(by: tuple[Dimension, ...], days: int, read_from: ReadFrom) -> None:
    """No line is wider than 80 columns, Chinese characters and long names included, and none is wrapped."""
    long = "一个非常非常长的渠道名称用来测试表格宽度是否合适"
    report = a_report("展会26", long, "x" * 60, days=days, states=("", "crm", "qd_expo62"))
    text = printed(replace(report, read_from=read_from), *by)
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    if Dimension.CHANNEL in by or not by:
        assert "展会26" in text
        assert "一个非常非常长" in text


def test_the_table_says_what_is_true() -> None:
    """Each channel has its customers, its share of marked relations and a bar as long; the days add up."""
    text = printed(a_report("展会26", "南京路店", days=7, each=4, states=("", "qd_c9")))
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines["展会26"][:6] == ["展会26", "c0", "4", "4", "50", "%"]
    assert lines["南京路店"][:6] == ["南京路店", "c1", "8", "8", "50", "%"]
    assert len(lines["南京路店"][6]) == pytest.approx(2 * len(lines["展会26"][6]), abs=1)
    assert lines["qd_c9"][:4] == ["qd_c9", "16", "16", "-"]
    assert lines["total"][1] == "40"
    assert sum(int(lines[f"11-{day}"][2]) for day in range(16, 23)) == 40
    assert "qd_c9: 16 relations, but no channel has this state; did you mean 'qd_c" in " ".join(text.split())


def test_names_are_not_markup() -> None:
    """A channel's name is printed as it is, whatever the table makes of brackets."""
    assert "[red]店[/red]" in printed(a_report("[red]店[/red]"))


def test_nobody_came() -> None:
    """When nobody came the output says so, and for which days; nothing fails."""
    report = a_report("展会26", days=7, each=0)
    said = " ".join(printed(report).split())
    assert said == "No customers came in this period (2026-11-16 to 2026-11-22, days in Asia/Shanghai)"
    assert "No customers came" in html_page(report, "t")


def test_the_sheet_opens_in_a_spreadsheet(tmp_path: Path) -> None:
    """It begins with a byte order mark, quotes what must be, and no cell is a formula; numbers stay numbers."""
    names = ("=HYPERLINK(A1)", "+1", '-1, "x"', "@SUM(A1)", "展会,26", "\t=1")
    report, by = a_report(*names), (Dimension.CHANNEL, Dimension.DAY)
    with sheet(tmp_path / "r.csv", headings(by)) as add:
        for row in report.rows(*by):
            add(sheet_row(row, by, report))
    raw = (tmp_path / "r.csv").read_bytes()
    heading = (
        '"channel","key","state","day","customers","relations","to_mark","marked","person_wrote","ours_older","lost"'
    )
    assert raw.decode("utf-8").startswith(f"\ufeff{heading}\r\n")
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    assert {row["channel"] for row in rows} == {"展会,26", *(f"'{name}" for name in names if name != "展会,26")}
    assert {row["day"] for row in rows} == {day.isoformat() for day in report.period.days}
    assert sum(int(row["customers"]) for row in rows) == report.total.customers
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


def test_the_document_for_machines() -> None:
    """The document names its period, zone and grouping, and its rows add up to its total."""
    report = a_report("展会26", days=7, states=("", "crm", "qd_c1"))
    found = document(
        report,
        (Dimension.CHANNEL, Dimension.STAFF),
        Coverage(read_from=ReadFrom.WECOM, relations=99, members=3, unread={StaffUserId("wang.wei"): "no licence"}),
    )
    assert found["source"] == "wecom"
    assert found["by"] == ["channel", "staff"]
    assert (found["since"], found["until"], found["time_zone"]) == ("2026-11-16", "2026-11-22", "Asia/Shanghai")
    for name in ("customers", "relations", "to_mark", "marked", "person_wrote", "ours_older"):
        assert (
            sum(row[name] for row in found["rows"]) == sum(day[name] for day in found["days"]) == found["total"][name]
        )
    first = found["rows"][0]
    assert {name: first[name] for name in ("kind", "channel", "name", "state", "staff")} == {
        "kind": "channel",
        "channel": "c0",
        "name": "展会26",
        "state": "qd_c0",
        "staff": "lin.qiao",
    }
    assert {row["kind"] for row in found["rows"]} == {"channel", "unknown_state", "foreign_state", "no_state"}
    assert found["misspelt"] == [{"state": "qd_c1", "relations": 20, "hint": "did you mean 'qd_c0'?"}]
    assert (found["relations_read"], found["members"], found["members_unread"]) == (99, 3, {"wang.wei": "no licence"})


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image.convert("RGB")


@pytest.mark.usefixtures("chinese_font")
def test_the_picture_is_drawn() -> None:
    """It is a PNG of 16:9, large enough for a slide, with a colour for each channel."""
    image = opened(png_bytes(a_report("展会26", "门店", "$9 or $10", states=("", "crm", "qd_x")), "客户来源"))
    assert image.size == (WIDTH, HEIGHT)
    assert WIDTH * 9 == HEIGHT * 16
    colours = {colour for count, colour in image.getcolors(1 << 24) or [] if count > 1000}
    assert len(colours) >= 7  # white, and one for each of the six series
    assert (0x3F, 0x6F, 0xD8) in colours


@pytest.mark.usefixtures("chinese_font")
def test_the_picture_shows_chinese() -> None:
    """Different Chinese titles and channels look different: they are letters, not boxes."""
    one, other = (opened(png_bytes(a_report(name), "t")) for name in ("展会", "门店"))
    again = opened(png_bytes(a_report("展会"), "t"))
    assert one.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.usefixtures("chinese_font")
@pytest.mark.parametrize(
    ("title", "names", "days", "each"),
    [
        ("", ("a",), 1, 1),
        ("长" * 300, tuple("abcdefghijklmn"), 400, 9),
        ("🎉 $x$ \x00", ("a",), 7, 0),
    ],
)
def test_any_picture_can_be_drawn(title: str, names: tuple[str, ...], days: int, each: int) -> None:
    """One customer, many channels, a long period, nobody at all, odd titles: each is a picture."""
    image = opened(png_bytes(a_report(*names, days=days, each=each), title))
    assert image.size == (WIDTH, HEIGHT)
    assert len(image.getcolors(1 << 24) or []) > 2


class Page(HTMLParser):
    """Collects what a page is made of, and checks that its tags are closed."""

    VOID = frozenset({"meta", "line", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_stands_alone() -> None:
    """The page holds its charts and tables, and neither a link, a script nor an address of anything outside."""
    page = html_page(a_report("展会26", "门店", states=("", "crm", "qd_x")), "客户来源")
    parsed = Page()
    parsed.feed(page)
    assert parsed.open == []
    assert {"svg", "rect", "table", "style"} <= parsed.tags
    assert not {"script", "link", "img", "iframe", "a", "object"} & parsed.tags
    assert not {"href", "src", "onload", "onclick"} & parsed.attributes
    assert "http:" not in page
    assert "https:" not in page
    assert "//" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page
    for text in ("客户来源", "展会26", "门店", "no channel code", "lin.qiao", "2026-11-22"):
        assert text in parsed.texts or f"{text} " in parsed.texts


def test_the_page_escapes_everything() -> None:
    """Names, states and the title stay text, whatever is in them."""
    page = html_page(a_report(HOSTILE, states=(f"qd_{HOSTILE}", f"{HOSTILE}-crm")), HOSTILE)
    parsed = Page()
    parsed.feed(page)
    assert parsed.open == []
    assert "script" not in parsed.tags
    assert not {"src", "evil.example"} & parsed.attributes
    assert "<script" not in page
    assert HOSTILE in "".join(parsed.texts)


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    """A missing folder, and a folder in the place of a file, are told before anything is read, all at once."""
    files = Files(csv=tmp_path, png=None, html=tmp_path / "missing" / "r.html", title="t")
    found = [problem.removeprefix(str(tmp_path)) for problem in files.problems()]
    assert found == [": is a folder; name a file", f"/missing/r.html: there is no folder {tmp_path}/missing"]


def test_missing_members_are_told_everywhere() -> None:
    """Where a member could not be read, the table and the page say that the figures are not all."""
    report = replace(a_report("展会26"), unread=(StaffUserId("wang.wei"),))
    assert "without 1 member who could not be read" in " ".join(printed(report).split())
    assert "without 1 member who could not be read" in html_page(report, "t")


def from_the_journal(*names: str, lost: int) -> Report:
    """Return the same as a report from the journal, which knows that so many relations of each group have ended."""
    report = a_report(*names, days=7)
    cells = tuple(replace(cell, count=replace(cell.count, lost=lost)) for cell in report.cells)
    return replace(report, cells=cells, read_from=ReadFrom.JOURNAL)


@pytest.mark.parametrize("read_from", ReadFrom)
def test_only_the_journal_tells_who_was_lost(read_from: ReadFrom) -> None:
    """From WeCom nobody can tell, which is neither 0 nor a heading; from the journal it stands beside the others."""
    report = replace(from_the_journal("展会26", lost=3), read_from=read_from)
    known = read_from is ReadFrom.JOURNAL
    lost = report.total.lost
    assert lost > 0
    found = document(report, (), Coverage(read_from=read_from, relations=9, members=2))
    assert (found["source"], found["total"]["lost"]) == (read_from.value, lost if known else None)
    assert {row["lost"] for row in found["rows"]} == {lost if known else None}
    (row,) = report.rows(Dimension.CHANNEL)
    assert sheet_row(row, (Dimension.CHANNEL,), report)[-1] == (lost if known else "")
    text = printed(report)
    assert ("lost" in text) is known
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    (total,) = (line.split() for line in text.splitlines() if line.split()[:1] == ["total"])
    assert (total[5:6] == [str(lost)]) is known
    page = Page()
    page.feed(html_page(report, "t"))
    assert page.texts.count("lost") == (4 if known else 0)  # the figure on top, and in each of three tables
    assert customers_text(report) == (f"customers; {lost} relations lost" if known else "customers")
