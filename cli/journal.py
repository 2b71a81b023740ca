"""`qudao journal`: what was done to a customer, and forgetting them."""

import sys
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from cli.compose.deployment import open_state
from cli.failures import FAILED, MISCONFIGURED, fail, run_async
from cli.options import AsJson, DryRun
from cli.output import moment, print_json, print_line, print_table
from cli.times import CLOCK
from shared.domain.ids import ExternalUserId
from shared.logs import configure_logging
from shared.settings import Settings, load_settings
from shared.state.journal import JournalEntry

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="What was done to a customer: ids and ends, no names and no texts."
)

Customer = Annotated[str, typer.Argument(metavar="EXTERNAL_USERID", help="The customer, as WeCom calls them.")]


@app.command()
def show(customer: Customer, as_json: AsJson = False) -> None:
    """Tell what happened to a customer, in order."""
    run_async(lambda: _show(ExternalUserId(customer), as_json=as_json))


@app.command()
def forget(
    customer: Customer,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where nobody can answer.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """
    Remove all that the journal has of a customer; that it was done, not for whom, is kept.

    A remark that was written to them reads as a person's from then on.
    """
    run_async(lambda: _forget(ExternalUserId(customer), yes=yes or dry_run, dry_run=dry_run, as_json=as_json))


def _settings() -> Settings:
    settings = load_settings()
    configure_logging("warning", settings.log_format)
    return settings


async def _show(customer: ExternalUserId, *, as_json: bool) -> int:
    settings = _settings()
    async with open_state(settings) as state:
        entries = await state.journal.story(customer)
    rows = [_row(entry, settings) for entry in entries]
    if as_json:
        print_json({"customer": customer, "entries": rows})
        return 0
    if not rows:
        fail(FAILED, f"{customer}: nothing is known; the id is the external_userid, upper and lower case count")
    table = Table(title=customer, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("at", "task", "result", "channel", "staff", "reason"):
        table.add_column(heading, no_wrap=heading != "reason", overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(row[name])) for name in ("at", "task", "result", "channel", "staff", "reason")))
    print_table(table)
    return 0


def _row(entry: JournalEntry, settings: Settings) -> dict[str, str]:
    return {
        "at": moment(entry.at, settings.time_zone),
        "task": entry.task,
        "result": entry.result,
        "channel": entry.channel,
        "staff": entry.staff,
        "state": entry.state,
        "reason": entry.reason,
        "event_id": entry.event_id,
    }


async def _forget(customer: ExternalUserId, *, yes: bool, dry_run: bool, as_json: bool) -> int:
    if not yes:
        if as_json or not sys.stdin.isatty():
            fail(MISCONFIGURED, "nobody can be asked whether to forget this customer: say --yes")
        if not typer.confirm(f"Forget {customer}?", err=True):
            fail(FAILED, "nothing was done")
    async with open_state(_settings()) as state:
        journal = state.journal
        count = len(await journal.story(customer)) if dry_run else await journal.forget(customer, CLOCK.time())
    if as_json:
        print_json({"customer": customer, "entries": count, "dry_run": dry_run})
    else:
        print_line(f"{count} entries of {customer} {'would be removed' if dry_run else 'removed'}")
    return 0
