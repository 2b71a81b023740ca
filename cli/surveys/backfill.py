"""`qudao backfill`: mark the customers who are there already."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.compose import CLOCK, open_deployment, open_surveyor, read_channels
from cli.failures import FAILED, MISCONFIGURED, fail, run_async
from cli.output import print_json, print_line
from cli.surveys.findings import Watch, change_sheet, document, findings_table, stranger_lines, unread_lines
from cli.times import instant
from shared.logs import configure_logging
from shared.settings import Need, load_settings
from workers.jobs.backfill import choose_channels, choose_staff, drained
from workers.jobs.survey import CHANGES, Scope, Tally

Channel = Annotated[list[str] | None, typer.Option(help="Only customers of this channel (its key); may be repeated.")]
Staff = Annotated[list[str] | None, typer.Option(help="Only customers of this member (userid); may be repeated.")]
Since = Annotated[str | None, typer.Option(help="Only customers added since: 2h, 30d, or 2026-11-22T08:00.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="Write what would change to this CSV file.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the workers have emptied the bulk lane.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and queue nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def backfill(
    channel: Channel = None,
    staff: Staff = None,
    since: Since = None,
    csv: Csv = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Mark existing customers by the state of the channel code they came through."""
    if wait and dry_run:
        fail(MISCONFIGURED, "--wait: a dry run queues nothing to wait for")
    run_async(
        lambda: _backfill(channel or [], staff or [], since, csv=csv, wait=wait, dry_run=dry_run, as_json=as_json)
    )


async def _backfill(
    keys: list[str],
    members: list[str],
    since: str | None,
    *,
    csv: Path | None,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    settings = load_settings(Need.API)
    channels = read_channels(settings.channels)
    chosen = choose_channels(channels, keys)
    added_since = None if since is None else instant(since, "--since", now=CLOCK.time())
    configure_logging("warning", settings.log_format)
    tally = Tally()
    async with (
        open_deployment(settings) as deployment,
        open_surveyor(settings, deployment, channels) as surveyor,
    ):
        with Watch(tally) as watch, change_sheet(csv, channels) as on_change:
            walk = await surveyor.survey(
                Scope(
                    staff=await choose_staff(surveyor.wecom, members, notify=watch.notify, sleep=asyncio.sleep),
                    channels=chosen,
                    since=added_since,
                ),
                tally=tally,
                publish=not dry_run,
                on_walk=watch.on_walk,
                on_change=on_change,
                notify=watch.notify,
            )
        if wait:
            with Watch(Tally()) as watch:
                await drained(deployment.queue, watch.on_depth(), asyncio.sleep)
    if as_json:
        print_json(document(tally, walk, channels) | {"dry_run": dry_run})
    else:
        Console().print(findings_table(tally, channels))
        for line in stranger_lines(tally, channels):
            print_line(line)
        print_line(_conclusion(tally, waited=wait, dry_run=dry_run))
    if walk.unread:
        fail(FAILED, *unread_lines(walk))
    return 0


def _conclusion(tally: Tally, *, waited: bool, dry_run: bool) -> str:
    if dry_run:
        return f"{tally.found(*CHANGES):,} would be queued for marking"
    if not tally.queued:
        return "0 queued: nothing to change"
    if waited:
        return f"{tally.queued:,} queued, and the bulk lane is empty; retries, if any, are in `qudao status`"
    return f"{tally.queued:,} queued; a running worker marks them, `qudao status` shows the bulk lane"
