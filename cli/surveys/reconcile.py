"""`qudao reconcile`: mark the customers whose callback never came."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.compose.deployment import open_deployment
from cli.compose.files import read_channels
from cli.compose.services import open_surveyor
from cli.failures import FAILED, fail, run_async
from cli.options import AsJson, ChangesCsv, DryRun
from cli.output import print_json, print_line, print_table
from cli.surveys.findings import Watch, change_sheet, document, findings_table, stranger_lines, unread_lines
from cli.times import CLOCK, age, instant
from shared.logs import configure_logging
from shared.settings import Need, load_settings
from workers.jobs.reconcile import Reconciliation, reconcile
from workers.jobs.survey import Finding, Tally

AddedSince = Annotated[str, typer.Option(help="Look at customers added since: 2h, 30d, or 2026-11-22T08:00.")]
OlderThan = Annotated[str, typer.Option("--older-than", help="Leave out younger ones: their event may be on its way.")]


def reconcile_command(
    since: AddedSince = "7d",
    older_than: OlderThan = "10m",
    csv: ChangesCsv = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Find customers who should be marked and are not, have them marked, and count the lost callbacks."""
    run_async(lambda: _reconcile(since, older_than, csv=csv, dry_run=dry_run, as_json=as_json))


async def _reconcile(since: str, older_than: str, *, csv: Path | None, dry_run: bool, as_json: bool) -> int:
    settings = load_settings(Need.API)
    channels = read_channels(settings.channels, settings.time_zone)
    added_since = instant(since, "--since", now=CLOCK.time(), zone=settings.time_zone)
    youngest = age(older_than, "--older-than")
    configure_logging("warning", settings.log_format)
    tally = Tally()
    async with (
        open_deployment(settings) as deployment,
        open_surveyor(settings, deployment, channels) as surveyor,
    ):
        with Watch(tally) as watch, change_sheet(csv, channels) as on_change:
            done = await reconcile(
                surveyor,
                tally=tally,
                publish=not dry_run,
                since=added_since,
                older_than=youngest,
                on_walk=watch.on_walk,
                on_change=on_change,
                notify=watch.notify,
            )
        pruned = (await deployment.state.ways.read()).pruned
    if as_json:
        print_json(_document(done) | document(tally, done.walk, channels) | {"dry_run": dry_run})
    else:
        print_table(findings_table(tally, channels))
        for line in (*stranger_lines(tally, channels, pruned), *_conclusions(done, dry_run=dry_run)):
            print_line(line)
    if done.walk.unread:
        fail(FAILED, *unread_lines(done.walk))
    return 0


def _document(done: Reconciliation) -> dict[str, Any]:
    return {"lost_callbacks": done.lost, "waiting_in_queue": done.waiting}


def _conclusions(done: Reconciliation, *, dry_run: bool) -> list[str]:
    tally = done.tally
    lines = [f"{done.lost:,} callbacks were lost: nothing of these customers' mark is there"]
    if done.waiting:
        lines.append(f"or fewer: {done.waiting:,} messages waited in the queue, and some may be about them")
    if tally.found(Finding.INCOMPLETE):
        lines.append(f"{tally.found(Finding.INCOMPLETE):,} more bear a part of their mark")
    changes = done.lost + tally.found(Finding.INCOMPLETE)
    if dry_run:
        lines.append(f"{changes:,} would be queued for marking")
    elif changes:
        lines.append(f"{tally.queued:,} queued; a running worker marks them, `qudao status` shows the bulk lane")
    return lines
