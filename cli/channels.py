"""`qudao channels`: contact ways as code: plan, apply, list, import, and the QR files to hand out."""

import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress

from cli.channel_tables import (
    failure_lines,
    import_document,
    list_rows,
    list_table,
    outcome_document,
    plan_document,
    plan_table,
    skeleton,
    unknown_table,
)
from cli.compose import CLOCK, open_api, open_deployment, read_channels, stopped_by_signal
from cli.failures import FAILED, MISCONFIGURED, UNSAFE, fail, run_async
from cli.output import print_json, print_line
from cli.qr_files import Card, write_cards
from shared.domain.channel_file import place_of
from shared.domain.channel_lock import Lock
from shared.domain.channels import Channel, ChannelKey, Channels
from shared.domain.contact_ways import BUTTON
from shared.domain.errors import ConfigurationError, ConfigurationNeeded, StaffBlocked
from shared.domain.events import Lane
from shared.domain.ids import StaffUserId
from shared.domain.plans import Action, ActionKind, Imported, Plan, make_plan, rebuild
from shared.domain.spelling import did_you_mean
from shared.logs import configure_logging
from shared.settings import Need, Settings, load_settings
from shared.wecom.client import WeCom
from workers.channels import Apply, Outcome
from workers.lock_file import LockFile, lock_path
from workers.staff_check import able_staff, inabilities
from workers.way_reader import WayReader

app = typer.Typer(no_args_is_help=True, help="Contact ways as code: from channels.toml to QR codes.")

Prune = Annotated[bool, typer.Option("--prune", help="Delete ways of ours that no channel has any more.")]
Refresh = Annotated[bool, typer.Option("--refresh", help="Read our ways too, to see what others changed in them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    """What lies on the desk before WeCom is asked."""

    settings: Settings
    channels: Channels
    file: LockFile
    lock: Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """A plan, and what makes it impossible: members who cannot have customers."""

    plan: Plan
    problems: Sequence[str]


@app.command()
def plan(prune: Prune = False, refresh: Refresh = False, as_json: Json = False) -> None:
    """Show what `apply` would do."""
    run_async(lambda: _plan(prune=prune, refresh=refresh, as_json=as_json))


@app.command()
def apply(
    prune: Prune = False,
    refresh: Refresh = False,
    force: Annotated[bool, typer.Option("--force", help="Apply a plan that is thought unsafe.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where nobody can answer.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """
    Make and change contact ways so that they are as the file says.

    Shows the plan, asks, and does exactly that. May be interrupted, even killed, and run again.
    """
    if dry_run:
        run_async(lambda: _plan(prune=prune, refresh=refresh, as_json=as_json))
    run_async(lambda: _apply(prune=prune, refresh=refresh, force=force, yes=yes, as_json=as_json))


@app.command("list")
def list_channels(as_json: Json = False) -> None:
    """List the channels with their contact ways, as the lock has them. Asks WeCom nothing."""
    run_async(lambda: _list(as_json=as_json))


@app.command("import")
def import_ways(
    dry_run: DryRun = False,
    as_toml: Annotated[bool, typer.Option("--toml", help="Print channels for the ways that the file lacks.")] = False,
    as_json: Json = False,
) -> None:
    """Rebuild the lock from WeCom alone, and tell which of its contact ways the file does not know."""
    if as_toml and as_json:
        fail(MISCONFIGURED, "--toml or --json, not both")
    run_async(lambda: _import(dry_run=dry_run, as_toml=as_toml, as_json=as_json))


@app.command()
def qr(
    out: Annotated[Path, typer.Option(help="Folder for the files; made when missing.", file_okay=False)],
    channel: Annotated[list[str] | None, typer.Option(help="Only this channel, by its key; again for more.")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write a PNG for each channel: the QR code that WeCom made, with the channel's name under it."""
    run_async(lambda: _qr(out, channel or [], dry_run=dry_run, as_json=as_json))


# Before WeCom is asked


def _desk() -> _Desk:
    """
    Return settings, channels and lock.

    Raises:
        ConfigurationError: All problems of the two files at once.
    """
    settings = load_settings(Need.API)
    configure_logging("warning", settings.log_format)
    file = LockFile(path=lock_path(settings.channels), corp=settings.corp_id)
    problems: list[str] = []
    channels, lock = Channels(), Lock(corp_id=settings.corp_id)
    try:
        channels = read_channels(settings.channels)
    except ConfigurationError as error:
        problems += error.problems
    try:
        lock = file.read()
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return _Desk(settings=settings, channels=channels, file=file, lock=lock)


@contextmanager
def _held_desk() -> Iterator[_Desk]:
    """Yield what :func:`_desk` returns, with the lock held: nobody else changes it meanwhile."""
    desk = _desk()
    with desk.file.held():
        yield replace(desk, lock=desk.file.read())


# Plan and apply


async def _plan(*, prune: bool, refresh: bool, as_json: bool) -> None:
    desk = _desk()
    planned = await _planned(desk, prune=prune, refresh=refresh)
    if as_json:
        print_json(plan_document(planned.plan, planned.problems))
    else:
        _show(planned.plan)
        for reason in planned.plan.unsafe:
            sys.stderr.write(f"qudao: `apply` will refuse this without --force: {reason}\n")
    if planned.problems:
        fail(MISCONFIGURED, *planned.problems)


async def _apply(*, prune: bool, refresh: bool, force: bool, yes: bool, as_json: bool) -> int:
    with _held_desk() as desk:
        planned = await _planned(desk, prune=prune, refresh=refresh)
        plan = planned.plan
        if not as_json:
            _show(plan)
        if planned.problems:
            raise ConfigurationError(list(planned.problems))
        if plan.unsafe and not force:
            fail(UNSAFE, *plan.unsafe)
        if plan.steps() and not yes:
            _confirm(as_json=as_json)
        outcome = await _applied(desk, plan)
    if as_json:
        print_json({**plan_document(plan, ()), "applied": outcome_document(outcome)})
    elif plan.steps():
        print_line(_summary(outcome))
    if not outcome.complete:
        fail(FAILED, *failure_lines(outcome))
    return 0


async def _planned(desk: _Desk, *, prune: bool, refresh: bool) -> _Planned:
    """Ask WeCom what there is, beginning with a call that proves address, secret and permission; plan."""
    async with _wecom(desk.settings) as wecom:
        with _progress() as progress:
            able = await _able_staff(wecom, progress)
            reader = _reader(wecom, desk, progress)
            observed = await reader.observe(desk.channels, desk.lock, now=CLOCK.time(), anew=refresh)
            plan = make_plan(desk.channels, desk.lock, observed, prune=prune)
            wrong = await inabilities(wecom, _staff_of(plan), able, notify=_notify(progress))
    return _Planned(plan=plan, problems=_staff_problems(desk, plan, wrong))


async def _able_staff(wecom: WeCom, progress: Progress) -> frozenset[str]:
    try:
        return await able_staff(wecom, notify=_notify(progress))
    except StaffBlocked:
        raise
    except ConfigurationNeeded as error:
        raise ConfigurationError([str(error)]) from error


def _new_staff(action: Action) -> Sequence[StaffUserId]:
    """Return the members whom a step names to WeCom."""
    named = action.kind in (ActionKind.CREATE, ActionKind.REPLACE) or any(c.field == "staff" for c in action.changes)
    return action.fields.staff if named and action.fields else ()


def _staff_of(plan: Plan) -> list[StaffUserId]:
    return [userid for action in plan.actions for userid in _new_staff(action)]


def _staff_problems(desk: _Desk, plan: Plan, wrong: Mapping[StaffUserId, str]) -> list[str]:
    """Return a line for each wrong member of each channel that would need them, with its place in the file."""
    if not wrong:
        return []
    path = desk.settings.channels
    text = path.read_text(encoding="utf-8")
    return [
        f"{place_of('staff', desk.channels.by_key[action.key], text, source=str(path))}: {userid}: {wrong[userid]}"
        for action in plan.actions
        for userid in _new_staff(action)
        if userid in wrong
    ]


def _show(plan: Plan) -> None:
    Console().print(plan_table(plan))
    for note in plan.notes:
        sys.stderr.write(f"qudao: {note}\n")


def _confirm(*, as_json: bool) -> None:
    """Ask whether to go on; exit when the answer is no, or when nobody can be asked."""
    if as_json or not sys.stdin.isatty():
        fail(MISCONFIGURED, "nobody can be asked whether to apply this: say --yes (or --dry-run)")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the event loop would wait for an answer
    try:
        if not typer.confirm("Apply this?", err=True):
            fail(FAILED, "nothing was done")
    finally:
        signal.signal(signal.SIGINT, before)


async def _applied(desk: _Desk, plan: Plan) -> Outcome:
    async with _wecom(desk.settings) as wecom, stopped_by_signal() as stop:
        with _progress() as progress:
            task = progress.add_task("applying", total=len(plan.steps()))
            apply = Apply(
                wecom,
                _reader(wecom, desk, progress),
                save=desk.file.write,
                clock=CLOCK,
                stop=stop,
                at_once=desk.settings.quota_in_flight,
                notify=_notify(progress),
                advance=lambda _: progress.advance(task),
            )
            return await apply.run(plan)


def _summary(outcome: Outcome) -> str:
    counts = Counter(action.kind for action in outcome.done)
    parts = [f"{counts[kind]} {past}" for kind, past in _PAST.items() if counts[kind]]
    if outcome.duplicates:
        parts.append(f"{outcome.duplicates} made twice by calls without an answer, and deleted again")
    return ", ".join(parts) or "nothing was done"


_PAST: Final = {
    ActionKind.CREATE: "created",
    ActionKind.REPLACE: "replaced",
    ActionKind.UPDATE: "updated",
    ActionKind.DELETE: "deleted",
}


# Import


async def _import(*, dry_run: bool, as_toml: bool, as_json: bool) -> int:
    with _held_desk() as desk:
        async with _wecom(desk.settings) as wecom:
            with _progress() as progress:
                await _able_staff(wecom, progress)
                reader = _reader(wecom, desk, progress)
                observed = await reader.observe(desk.channels, desk.lock, now=CLOCK.time(), everything=True, anew=True)
        imported = rebuild(desk.channels, desk.lock, observed)
        if not dry_run:
            desk.file.write(imported.lock)
    document = import_document(imported, desk.channels)
    if as_json:
        print_json({**document, "dry_run": dry_run})
    elif as_toml:
        sys.stdout.write(skeleton(imported.unknown, desk.channels.by_key))
    else:
        _show_import(imported, document["missing"], desk, dry_run=dry_run)
    return 0


def _show_import(imported: Imported, missing: Sequence[str], desk: _Desk, *, dry_run: bool) -> None:
    found = len(imported.lock.channels)
    print_line(f"{found} contact ways {'would be' if dry_run else 'are'} in {desk.file.path}")
    if missing:
        print_line(f"not made yet: {', '.join(missing)}")
    if imported.unknown:
        Console().print(unknown_table(f"{len(imported.unknown)} that no channel has, left alone", imported.unknown))
    if imported.spare:
        title = f"{len(imported.spare)} more with the state of a channel that has one already, left alone"
        Console().print(unknown_table(title, imported.spare))


# List and QR files


async def _list(*, as_json: bool) -> None:
    desk = _desk()
    rows = list_rows(desk.channels, desk.lock)
    if as_json:
        print_json({"channels": rows})
    else:
        Console().print(list_table(rows))


async def _qr(out: Path, keys: Sequence[str], *, dry_run: bool, as_json: bool) -> int:
    desk = _desk()
    cards = _cards(desk, _chosen(desk.channels, keys), out)
    unmade = [card.channel for card in cards if not card.url]
    if dry_run:
        failures: dict[str, str] = {}
    else:
        with _progress() as progress:
            task = progress.add_task("QR codes", total=len(cards) - len(unmade))
            failures = await write_cards(
                [card for card in cards if card.url],
                api_url=desk.settings.api_url,
                advance=lambda: progress.advance(task),
            )
    written = [card for card in cards if card.url and card.channel not in failures]
    if as_json:
        files = {card.channel: str(card.path) for card in written}
        print_json({"files": files, "not_applied": unmade, "failed": failures, "dry_run": dry_run})
    else:
        print_line(f"{len(written)} files {'would be written' if dry_run else 'written'} to {out}")
    problems = [f"channels.{key}: {reason}" for key, reason in failures.items()]
    problems += [f"channels.{key}: has no contact way yet; run `qudao channels apply`" for key in unmade]
    if problems:
        fail(FAILED, *problems)
    return 0


def _chosen(channels: Channels, keys: Sequence[str]) -> Sequence[Channel]:
    """Return the channels with these keys, or all; a button has no QR code and is only there when it is named."""
    unknown = [key for key in keys if ChannelKey(key) not in channels.by_key]
    buttons = [key for key in keys if key not in unknown and channels.by_key[ChannelKey(key)].scene == BUTTON]
    problems = [f"--channel {key}: no such channel{did_you_mean(key, channels.by_key)}" for key in unknown]
    problems += [f"--channel {key}: is a mini-program button (scene = 1) and has no QR code" for key in buttons]
    if problems:
        raise ConfigurationError(problems)
    if keys:
        return [channels.by_key[ChannelKey(key)] for key in dict.fromkeys(keys)]
    return [channel for channel in channels.all if channel.scene != BUTTON]


def _cards(desk: _Desk, channels: Sequence[Channel], out: Path) -> list[Card]:
    cards = []
    for channel in channels:
        way = desk.lock.channels.get(channel.key)
        # The code of an earlier state would lead customers to the wrong mark.
        url = way.qr_code if way is not None and way.state == channel.state else ""
        cards.append(Card(channel=channel.key, name=channel.name, url=url, path=out / f"{channel.key}.png"))
    return cards


# What all of them need


@asynccontextmanager
async def _wecom(settings: Settings) -> AsyncIterator[WeCom]:
    async with open_deployment(settings) as deployment, open_api(settings, deployment, Lane.BULK) as wecom:
        yield wecom


def _reader(wecom: WeCom, desk: _Desk, progress: Progress) -> WayReader:
    task = progress.add_task("reading contact ways", total=None, visible=False)
    return WayReader(
        wecom,
        at_once=desk.settings.quota_in_flight,
        notify=_notify(progress),
        advance=lambda done, total: progress.update(task, completed=done, total=total, visible=True),
    )


def _progress() -> Progress:
    return Progress(console=Console(stderr=True), transient=True)


def _notify(progress: Progress) -> Callable[[str], None]:
    return lambda text: progress.console.print(text, markup=False, highlight=False)
