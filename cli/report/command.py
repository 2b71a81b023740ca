"""`qudao report`: where customers came from, as the journal remembers it, or asked of WeCom itself."""

import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from cli.compose.deployment import open_deployment, open_state
from cli.compose.files import read_channels
from cli.compose.services import open_api
from cli.failures import FAILED, fail, run_async
from cli.options import AsJson, Channel, Staff
from cli.output import moment, print_json
from cli.progress import Bar
from cli.report.data import Coverage, document
from cli.report.files import Files
from cli.report.table import print_report
from cli.times import CLOCK
from shared.domain.channels.model import Channels
from shared.domain.errors import ConfigurationError
from shared.domain.events import Lane
from shared.domain.reports.census import Census
from shared.domain.reports.figures import Dimension, Period, ReadFrom
from shared.logs import configure_logging
from shared.settings import Need, Settings, load_settings
from shared.state.journal import CustomerJournal
from workers.jobs.backfill import choose_channels
from workers.jobs.report import begins_at, count_customers, recollect
from workers.jobs.walk import Walk

_LAST_DAYS: Final = 30
_WECOM_BEGAN: Final = date(2016, 1, 1)
_DAYS: Final = re.compile(r"(\d{1,5})d")

By = Annotated[list[Dimension] | None, typer.Option(help="Group by this; repeat it to group by several at once.")]
FirstDay = Annotated[str | None, typer.Option(help="First day: 2026-11-01, or 7d for the last 7 days. [default: 30d]")]
LastDay = Annotated[str | None, typer.Option(help="Last day: 2026-11-30. [default: today]")]
TableCsv = Annotated[Path | None, typer.Option("--csv", help="Write the table to this CSV file.")]
Png = Annotated[Path | None, typer.Option("--png", help="Write a chart for a slide to this PNG file.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write a page with charts and tables to this file.")]
FromWeCom = Annotated[bool, typer.Option("--from-wecom", help="Ask WeCom, though the journal could tell.")]
Title = Annotated[str, typer.Option(help="Title of the chart and the page.")]


def report(
    by: By = None,
    since: FirstDay = None,
    until: LastDay = None,
    channel: Channel = None,
    staff: Staff = None,
    csv: TableCsv = None,
    png: Png = None,
    html: Html = None,
    title: Title = "Customers by channel",
    from_wecom: FromWeCom = False,
    as_json: AsJson = False,
) -> None:
    """Tell where customers came from, by channel, day and member. Days are those of QUDAO_TIME_ZONE."""
    asked = _Asked(
        by=tuple(dict.fromkeys(by or ())),
        since=since,
        until=until,
        channels=channel or (),
        staff=staff or (),
        files=Files(csv=csv, png=png, html=html, title=title),
    )
    run_async(lambda: _report(asked, from_wecom=from_wecom, as_json=as_json))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the options say."""

    by: Sequence[Dimension]
    since: str | None
    until: str | None
    channels: Sequence[str]
    staff: Sequence[str]
    files: Files


async def _report(asked: _Asked, *, from_wecom: bool, as_json: bool) -> int:
    settings = load_settings(Need.API if from_wecom else Need.STATE)
    channels = read_channels(settings.channels, settings.time_zone)
    configure_logging("warning", settings.log_format)
    async with open_state(settings) as state:
        period, census = _census(asked, channels, (await state.ways.read()).pruned)
        coverage = None if from_wecom else await _from_journal(state.journal, channels, asked.staff, period, census)
    coverage = coverage or await _from_wecom(load_settings(Need.API), channels, asked.staff, census)
    found = replace(census.report(), read_from=coverage.read_from, unread=tuple(coverage.unread))
    if as_json:
        print_json(document(found, asked.by, coverage))
    else:
        print_report(found, asked.by, Console())
    asked.files.write(found, asked.by)  # last: a full disk does not take what was counted along
    if coverage.unread:
        fail(FAILED, *(f"{staff}: not counted, {reason}" for staff, reason in coverage.unread.items()))
    return 0


async def _from_journal(
    journal: CustomerJournal, channels: Channels, staff: Sequence[str], period: Period, census: Census
) -> Coverage | None:
    """Count what *journal* remembers; None, having said why, when it does not reach back to the first day."""
    kept_since = await journal.kept_since()
    if kept_since > begins_at(period, channels.zone):
        whole = datetime.fromtimestamp(kept_since, channels.zone).date() + timedelta(days=1)
        begins = moment(kept_since, channels.zone)
        sys.stderr.write(f"qudao: asking WeCom: the journal begins at {begins}, and does from --since {whole} on\n")
        return None
    members = await recollect(journal, census, period, staff, channels)
    return Coverage(read_from=ReadFrom.JOURNAL, relations=census.read, members=members)


async def _from_wecom(settings: Settings, channels: Channels, staff: Sequence[str], census: Census) -> Coverage:
    async with open_deployment(settings) as deployment, open_api(settings, deployment, Lane.BULK) as wecom:
        with _bar(census) as bar:
            walk = await count_customers(
                wecom,
                census,
                staff,
                channels,
                deployment.state.journal,
                on_walk=lambda walk: _show(bar, walk, census),
                notify=bar.notify,
            )
    return Coverage(read_from=ReadFrom.WECOM, relations=census.read, members=walk.members, unread=walk.unread)


def _census(asked: _Asked, channels: Channels, pruned: Collection[str]) -> tuple[Period, Census]:
    """
    Return the period and an empty census of what is asked for, having made sure that its outcome can be written.

    Raises:
        ConfigurationError: An option is wrong; the problems of all options.
    """
    problems: list[str] = []
    period, only = None, None
    try:
        period = period_of(asked.since, asked.until, today=datetime.fromtimestamp(CLOCK.time(), channels.zone).date())
    except ConfigurationError as error:
        problems += error.problems
    try:
        only = choose_channels(channels, asked.channels)
    except ConfigurationError as error:
        problems += error.problems
    problems += asked.files.problems()
    if problems or period is None:
        raise ConfigurationError(problems)
    return period, Census(channels, period, only or (), pruned)


def period_of(since: str | None, until: str | None, *, today: date) -> Period:
    """
    Return the days that two options name; the last 30 when neither does. A day in the future counts as *today*.

    Raises:
        ConfigurationError: One cannot be read, or there is no day between them; all problems.
    """
    problems: list[str] = []
    last = min(_day(until, "--until", today, problems), today) if until else today
    if last < _WECOM_BEGAN:
        problems.append(f"--until {last}: WeCom began in {_WECOM_BEGAN.year}")
    first = _day(since or f"{_LAST_DAYS}d", "--since", last, problems)
    if not problems and first > last:
        problems.append(f"--since {first}: comes after the last day, {last}")
    if problems:
        raise ConfigurationError(problems)
    return Period(since=max(first, _WECOM_BEGAN), until=last)


def _day(text: str, option: str, last: date, problems: list[str]) -> date:
    """Return the day that *text* names: a date, or how many days there are up to *last*, that one included."""
    count = _DAYS.fullmatch(text.strip())
    try:
        if count and option == "--since" and int(count[1]):
            return last - timedelta(days=int(count[1]) - 1)
        return date.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        example = "2026-11-01, or 7d for the last 7 days" if option == "--since" else "2026-11-30"
        problems.append(f"{option}: write a date such as {example}")
        return last


def _bar(census: Census) -> Bar:
    """Return a bar; where something goes wrong, it says that what was read so far is not shown."""
    return Bar(
        "asking for the members",
        lambda: (
            f"stopped after {census.read:,} relations; a part would be misleading, so nothing is shown"
            if census.read
            else ""
        ),
    )


def _show(bar: Bar, walk: Walk, census: Census) -> None:
    """Show how far *walk* is. WeCom never says how many relations there are, so the members are the measure."""
    text = f"{walk.members_read:,} of {walk.members:,} members, {census.read:,} relations"
    bar.show(text, done=walk.members_read, total=walk.members)
