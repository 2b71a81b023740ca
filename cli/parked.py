"""`qudao parked`: what failed for good, why, and again."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import tzinfo
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.compose.deployment import open_queue
from cli.compose.files import read_channels
from cli.failures import FAILED, MISCONFIGURED, fail, run_async
from cli.options import AsJson, DryRun
from cli.output import moment, print_json, print_line, print_table
from cli.progress import new_progress
from cli.times import CLOCK, instant
from shared.domain.channels.model import ChannelKey
from shared.logs import configure_logging
from shared.queue.port import EventQueue, Parked
from shared.settings import Settings, load_settings
from shared.wecom.errcodes import ERRCODES
from workers.jobs.parked import Selection, move, select, state_of, work_of

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What failed for good, why, and again.")

Ids = Annotated[list[str] | None, typer.Argument(help="Ids as `qudao parked list` shows them.")]
Errcode = Annotated[int | None, typer.Option(help="Only those that failed with this errcode.")]
OfChannel = Annotated[str | None, typer.Option(help="Only those of this channel (its key, or a state).")]
ParkedSince = Annotated[str | None, typer.Option(help="Only those parked since: 2h, 3d, or 2026-11-22T08:00.")]
ParkedUntil = Annotated[str | None, typer.Option(help="Only those parked before: 2h, 3d, or 2026-11-22T08:00.")]
Everything = Annotated[bool, typer.Option("--all", help="All of them: needed when nothing else is chosen.")]

_Action = Callable[[EventQueue], Callable[[Sequence[str]], Awaitable[int]]]


@app.command("list")
def list_parked(
    errcode: Errcode = None,
    channel: OfChannel = None,
    since: ParkedSince = None,
    until: ParkedUntil = None,
    as_json: AsJson = False,
) -> None:
    """List what is parked, oldest first, with the reason."""
    run_async(lambda: _list(_Chosen(None, errcode, channel, since, until), as_json=as_json))


@app.command()
def show(id: Annotated[str, typer.Argument(help="As `qudao parked list` shows it.")], as_json: AsJson = False) -> None:  # noqa: A002 - the user's word
    """Show one parked message: the event, the reason, the remedy."""
    run_async(lambda: _show(id, as_json=as_json))


def _mover(done: str, action: _Action) -> Callable[..., None]:
    """Return a command that carries out *action* on what its options choose."""

    def command(
        ids: Ids = None,
        errcode: Errcode = None,
        channel: OfChannel = None,
        since: ParkedSince = None,
        until: ParkedUntil = None,
        everything: Everything = False,
        dry_run: DryRun = False,
        as_json: AsJson = False,
    ) -> None:
        chosen = _Chosen(ids, errcode, channel, since, until)
        chosen.require(everything=everything)
        run_async(lambda: _move(done, chosen, action, dry_run=dry_run, as_json=as_json))

    return command


app.command(
    "replay", help="Send parked messages to work again, behind everything else. Safe to repeat and to interrupt."
)(_mover("replayed", lambda queue: queue.replay))
app.command("drop", help="Remove parked messages for good.")(_mover("dropped", lambda queue: queue.drop))


class _Chosen:
    """What the options of a command choose, before the channels file is read."""

    def __init__(
        self,
        ids: list[str] | None,
        errcode: int | None,
        channel: str | None,
        since: str | None,
        until: str | None,
    ) -> None:
        self._ids = frozenset(ids or ())
        self._errcode = errcode
        self._channel = channel
        self._since = since
        self._until = until

    def require(self, *, everything: bool) -> None:
        """Refuse a command that changes things and chooses nothing, unless it says *everything*."""
        options = (self._ids, self._errcode, self._channel, self._since, self._until)
        if not everything and not any(option is not None and option != frozenset() for option in options):
            fail(MISCONFIGURED, "name ids, or choose with --errcode, --channel, --since, --until, or say --all")

    def selection(self, settings: Settings) -> Selection:
        """
        Return the selection.

        Raises:
            ConfigurationError: A time cannot be read, or no channel is called so.
        """
        return Selection(
            ids=self._ids,
            errcode=self._errcode,
            state=None if self._channel is None else _state(self._channel, settings),
            since=_time(self._since, "--since", settings.time_zone),
            until=_time(self._until, "--until", settings.time_zone),
        )


def _state(channel: str, settings: Settings) -> str:
    """Return the state of the channel with this key; anything else is taken as a state itself."""
    if not settings.channels.exists():
        return channel
    known = read_channels(settings.channels, settings.time_zone).by_key.get(ChannelKey(channel))
    return known.state if known else channel


def _time(text: str | None, option: str, zone: tzinfo) -> float | None:
    return None if text is None else instant(text, option, now=CLOCK.time(), zone=zone)


async def _list(chosen: _Chosen, *, as_json: bool) -> None:
    async with _queue() as (settings, queue):
        found = [parked async for parked in select(queue, chosen.selection(settings))]
    if as_json:
        print_json([_document(parked, settings.time_zone) for parked in found])
        return
    table = Table(title=f"{len(found)} parked", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("id", "parked at", "lane", "state", "staff", "attempts", "errcode", "why"):
        table.add_column(heading, no_wrap=heading not in ("staff", "why"), overflow="fold")
    for parked in found:
        document = _document(parked, settings.time_zone)
        shown = ("id", "parked_at", "lane", "state", "staff", "attempts", "errcode", "reason")
        table.add_row(*(escape(str(document[name] if document[name] is not None else "")) for name in shown))
    print_table(table)


async def _show(id: str, *, as_json: bool) -> int:  # noqa: A002 - the user's word
    async with _queue() as (settings, queue):
        found = [parked async for parked in select(queue, Selection(ids=frozenset([id])))]
    if not found:
        fail(FAILED, f"nothing parked has the id {id}; `qudao parked list` shows the ids")
    document = _document(found[0], settings.time_zone)
    if as_json:
        print_json(document)
    else:
        for name, value in document.items():
            Console().print(f"{name:>18}  {value}", highlight=False, markup=False)
    return 0


async def _move(done: str, chosen: _Chosen, action: _Action, *, dry_run: bool, as_json: bool) -> int:
    async with _queue() as (settings, queue):
        selection = chosen.selection(settings)
        ids = [parked.id async for parked in select(queue, selection)]
        unknown = sorted(selection.ids - set(ids))
        moved = 0
        if not dry_run:
            with new_progress() as progress:
                task = progress.add_task(done, total=len(ids))
                moved = await move(ids, action(queue), lambda count: progress.advance(task, count))
    if as_json:
        print_json({"found": len(ids), done: moved, "unknown_ids": unknown, "dry_run": dry_run})
    else:
        print_line(f"{len(ids)} would be {done}" if dry_run else f"{moved} {done}")
    if unknown:
        fail(FAILED, *(f"nothing parked has the id {each}, or not any more" for each in unknown))
    return 0


@asynccontextmanager
async def _queue() -> AsyncIterator[tuple[Settings, EventQueue]]:
    settings = load_settings()
    configure_logging("warning", settings.log_format)
    async with open_queue(settings) as queue:
        yield settings, queue


def _document(parked: Parked, zone: tzinfo) -> dict[str, Any]:
    """Return *parked* as plain data. The WelcomeCode stays out: it is worth nothing by now, and nobody else's."""
    work = work_of(parked)
    failure = parked.failure
    reading = ERRCODES.get(failure.errcode) if failure.errcode is not None else None
    return {
        "id": parked.id,
        "parked_at": moment(parked.parked_at, zone),
        "first_seen": moment(parked.message.first_seen, zone),
        "lane": parked.lane.value,
        "attempts": parked.message.attempts,
        "reason": failure.reason,
        "errcode": failure.errcode,
        "remedy": reading.remedy if reading else "",
        "endpoint": failure.endpoint,
        "hint": failure.hint,
        "event_id": parked.message.event_id,
        "kind": type(work).__name__ if work else "cannot be decoded",
        "state": state_of(parked),
        "staff": work.staff if work else "",
        "customer": work.customer if work else "",
        "created_at": moment(work.created_at, zone) if work else "",
    }
