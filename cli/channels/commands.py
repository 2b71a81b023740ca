"""`qudao channels`: contact ways as code: plan, apply, list, import, and the QR files to hand out."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli.channels.apply import apply_plan, show_plan
from cli.channels.desk import ask_who_is_able, open_bulk_api, open_desk, way_reader, writing
from cli.channels.lock_file import export_file, import_file
from cli.channels.qr import Card, Format, centimetres_in, write_cards
from cli.channels.tables import import_document, list_rows, list_table, shortened, skeleton, unknown_table
from cli.compose.deployment import kept_ways
from cli.failures import FAILED, MISCONFIGURED, fail, run_async
from cli.options import AsJson, DryRun
from cli.output import print_json, print_line, print_table
from cli.progress import new_progress
from cli.times import CLOCK
from shared.domain.channels.lock import LockedWays
from shared.domain.channels.model import Channel, ChannelKey, Channels
from shared.domain.channels.plans import Imported, rebuild
from shared.domain.errors import ConfigurationError
from shared.domain.spelling import did_you_mean

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Contact ways as code: from channels.toml to QR codes."
)

Prune = Annotated[bool, typer.Option("--prune", help="Delete ways of ours that no channel has any more.")]
Refresh = Annotated[bool, typer.Option("--refresh", help="Read our ways too, to see what others changed in them.")]


@app.command()
def plan(prune: Prune = False, refresh: Refresh = False, as_json: AsJson = False) -> None:
    """Show what `apply` would do."""
    run_async(lambda: show_plan(prune=prune, refresh=refresh, as_json=as_json))


@app.command()
def apply(
    prune: Prune = False,
    refresh: Refresh = False,
    force: Annotated[bool, typer.Option("--force", help="Apply a plan that is thought unsafe.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where nobody can answer.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """
    Make and change contact ways so that they are as the file says.

    Shows the plan, asks, and does exactly that. May be interrupted, even killed, and run again.
    """
    if dry_run:
        run_async(lambda: show_plan(prune=prune, refresh=refresh, as_json=as_json))
    run_async(lambda: apply_plan(prune=prune, refresh=refresh, force=force, yes=yes, as_json=as_json))


@app.command("list")
def list_channels(as_json: AsJson = False) -> None:
    """List the channels with their contact ways, as the state has them. Asks WeCom nothing."""
    run_async(lambda: _list(as_json=as_json))


@app.command("import")
def import_ways(
    from_: Annotated[
        Path | None, typer.Option("--from", help="Take the ways from this export instead.", metavar="FILE")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --from: replace the ways that are kept.")] = False,
    dry_run: DryRun = False,
    as_toml: Annotated[bool, typer.Option("--toml", help="Print channels for the ways that the file lacks.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild what is kept of our contact ways from WeCom alone, and tell which of its ways the file does not know."""
    if as_toml and (as_json or from_):
        fail(MISCONFIGURED, "--toml alone, not with --json or --from")
    if from_ is not None:
        run_async(lambda: import_file(from_, force=force, dry_run=dry_run, as_json=as_json))
    run_async(lambda: _import(dry_run=dry_run, as_toml=as_toml, as_json=as_json))


@app.command()
def export(
    out: Annotated[Path | None, typer.Option(help="Write them to this file: channels.lock.json.")] = None,
) -> None:
    """Print our contact ways as a JSON document, for version control; `import --from` takes it back."""
    run_async(lambda: export_file(out))


@app.command()
def qr(
    out: Annotated[Path, typer.Option(help="Folder for the files; made when missing.", file_okay=False)],
    channel: Annotated[list[str] | None, typer.Option(help="Only this channel, by its key; again for more.")] = None,
    format_: Annotated[
        Format, typer.Option("--format", help="A picture each, a drawing each for any size, or one page to print.")
    ] = Format.PNG,
    size: Annotated[
        str | None, typer.Option(help="Width of a code, its white border included: 8cm, 80mm. Redrawn for print.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """
    Write a file for each channel's QR code, or one page with all.

    A PNG is WeCom's picture with the channel's name under it; with a size, and as SVG, the code is drawn anew, sharp.
    """
    run_async(lambda: _qr(out, channel or [], format_=format_, size=size, dry_run=dry_run, as_json=as_json))


async def _import(*, dry_run: bool, as_toml: bool, as_json: bool) -> int:
    desk = open_desk()
    async with open_bulk_api(desk.settings) as (wecom, state):
        before = await state.ways.read()
        with new_progress() as progress:
            await ask_who_is_able(wecom, progress)
            reader = way_reader(wecom, desk, progress)
            observed = await reader.observe(desk.channels, before, now=CLOCK.time(), everything=True, anew=True)
        imported = rebuild(desk.channels, before, observed)
        if not dry_run:
            async with writing(state, before) as write:
                await write(before, imported.lock)
    document = import_document(imported, desk.channels)
    if as_json:
        print_json({**document, "dry_run": dry_run})
    elif as_toml:
        sys.stdout.write(skeleton(imported.unknown, desk.channels.by_key))
    else:
        _show_import(imported, document["missing"], dry_run=dry_run)
    return 0


def _show_import(imported: Imported, missing: Sequence[str], *, dry_run: bool) -> None:
    found = len(imported.lock.channels)
    print_line(f"{found} contact ways {'would be' if dry_run else 'are'} those of channels")
    if missing:
        print_line(f"not made yet: {', '.join(missing)}")
    if imported.unknown:
        print_table(unknown_table(f"{len(imported.unknown)} that no channel has, left alone", imported.unknown))
    if imported.spare:
        title = f"{len(imported.spare)} more with the state of a channel that has one already, left alone"
        print_table(unknown_table(title, imported.spare))


async def _list(*, as_json: bool) -> None:
    desk = open_desk()
    rows = list_rows(desk.channels, await kept_ways(desk.settings))
    if as_json:
        print_json({"channels": rows})
    else:
        print_table(list_table(rows, desk.channels.zone))
        for row in rows:
            if row["config_id"]:
                print_line(f"{row['channel']}  {row['config_id']}  {row['qr_code']}".rstrip())


async def _qr(
    out: Path,
    keys: Sequence[str],
    *,
    format_: Format = Format.PNG,
    size: str | None = None,
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    centimetres = None if size is None else centimetres_in(size)
    desk = open_desk()
    chosen = _chosen(desk.channels, keys)
    cards = _cards(await kept_ways(desk.settings), chosen, out, format_)
    unmade = [card.channel for card in cards if not card.url]
    if dry_run:
        failures: dict[str, str] = {}
    else:
        with new_progress() as progress:
            task = progress.add_task("QR codes", total=len(cards) - len(unmade))
            failures = await write_cards(
                [card for card in cards if card.url],
                format_=format_,
                centimetres=centimetres,
                api_url=desk.settings.api_url,
                proxy=desk.settings.api_proxy.get_secret_value(),
                advance=lambda: progress.advance(task),
            )
    written = [card for card in cards if card.url and card.channel not in failures]
    if as_json:
        files = {card.channel: str(card.path) for card in written}
        print_json({"files": files, "not_applied": unmade, "failed": failures, "dry_run": dry_run})
    else:
        count = len({card.path for card in written})
        done = "would be written" if dry_run else "written"
        print_line(f"{len(written)} codes, {count} file{'s' if count != 1 else ''} {done} to {out}")
    problems = [f"channels.{key}: {reason}" for key, reason in failures.items()]
    problems += [f"channels.{key}: has no contact way yet; run `qudao channels apply`" for key in unmade]
    if problems:
        fail(FAILED, *problems)
    return 0


def _chosen(channels: Channels, keys: Sequence[str]) -> Sequence[Channel]:
    """Return the channels with these keys, or all; a button has no QR code and is only there when it is named."""
    unknown = [key for key in keys if ChannelKey(key) not in channels.by_key]
    known = [channels.by_key[ChannelKey(key)] for key in keys if key not in unknown]
    problems = [f"--channel {key}: no such channel{did_you_mean(key, channels.by_key)}" for key in unknown]
    problems += [
        f"--channel {channel.key}: {why} and has no QR code" for channel in known if (why := _codeless(channel))
    ]
    if problems:
        raise ConfigurationError(problems)
    if keys:
        return [channels.by_key[ChannelKey(key)] for key in dict.fromkeys(keys)]
    return [channel for channel in channels.all if not _codeless(channel)]


def _codeless(channel: Channel) -> str:
    """Say why *channel* has no QR code; "" when it has one."""
    if not channel.has_way:
        return "has no contact way (contact_way = false)"
    return "is a mini-program button (scene = 1) and has no QR code" if channel.way.is_button else ""


def _cards(lock: LockedWays, channels: Sequence[Channel], out: Path, format_: Format) -> list[Card]:
    cards = []
    for channel in channels:
        way = lock.channels.get(channel.key)
        # The code of an earlier state would lead customers to the wrong mark.
        url = way.qr_code if way is not None and way.state == channel.state else ""
        stem = "codes" if format_ is Format.HTML else channel.key
        cards.append(
            Card(
                channel=channel.key,
                name=channel.name,
                staff=shortened(channel.way.staff),
                url=url,
                path=out / f"{stem}.{format_}",
            )
        )
    return cards
