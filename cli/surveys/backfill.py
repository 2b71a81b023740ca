"""`qudao backfill`: mark the customers who are there already."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from cli.compose.deployment import open_deployment
from cli.compose.files import read_channels
from cli.compose.services import open_surveyor
from cli.compose.workers import file_document, file_line, running_workers
from cli.failures import FAILED, MISCONFIGURED, fail, run_async
from cli.options import AsJson, ChangesCsv, Channel, DryRun, Staff
from cli.output import print_json, print_line, print_table
from cli.surveys.findings import Watch, change_sheet, document, findings_table, stranger_lines, unread_lines
from cli.times import CLOCK, instant
from shared.domain.events import Replaces
from shared.logs import configure_logging
from shared.settings import Need, load_settings
from workers.jobs.backfill import choose_channels, choose_staff, drained
from workers.jobs.survey import CHANGES, Scope, Tally

AddedSince = Annotated[str | None, typer.Option(help="Only customers added since: 2h, 30d, or 2026-11-22T08:00.")]
RefreshMarks = Annotated[
    bool, typer.Option("--refresh-marks", help="Replace a remark that another of the channels made, too.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the workers have emptied the bulk lane.")]


def backfill(
    channel: Channel = None,
    staff: Staff = None,
    since: AddedSince = None,
    csv: ChangesCsv = None,
    refresh_marks: RefreshMarks = False,
    wait: Wait = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Mark existing customers by the state of the channel code they came through."""
    if wait and dry_run:
        fail(MISCONFIGURED, "--wait: a dry run queues nothing to wait for")
    replaces = Replaces.OURS if refresh_marks else Replaces.BY_CHANNEL
    run_async(
        lambda: _backfill(
            channel or [], staff or [], since, replaces, csv=csv, wait=wait, dry_run=dry_run, as_json=as_json
        )
    )


async def _backfill(
    keys: list[str],
    members: list[str],
    since: str | None,
    replaces: Replaces,
    *,
    csv: Path | None,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    settings = load_settings(Need.API)
    channels = read_channels(settings.channels, settings.time_zone)
    chosen = choose_channels(channels, keys)
    added_since = None if since is None else instant(since, "--since", now=CLOCK.time(), zone=settings.time_zone)
    configure_logging("warning", settings.log_format)
    tally = Tally()
    async with (
        open_deployment(settings) as deployment,
        open_surveyor(settings, deployment, channels) as surveyor,
    ):
        with Watch(tally) as watch, change_sheet(csv, channels) as on_change:
            walk = await surveyor.survey(
                Scope(
                    staff=await choose_staff(
                        surveyor.wecom, members, channels, notify=watch.notify, sleep=asyncio.sleep
                    ),
                    channels=chosen,
                    since=added_since,
                    replaces=replaces,
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
        pruned = (await deployment.state.ways.read()).pruned
    workers = await running_workers(settings)
    if as_json:
        print_json(document(tally, walk, channels) | {"dry_run": dry_run} | file_document(workers, channels))
    else:
        print_table(findings_table(tally, channels))
        for line in stranger_lines(tally, channels, pruned):
            print_line(line)
        print_line(_conclusion(tally, waited=wait, dry_run=dry_run))
        print_line(file_line(workers, channels))
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
