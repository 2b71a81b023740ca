"""`qudao state`: move what the processes of a deployment share to another database."""

from typing import Annotated

import typer

from cli.compose.deployment import open_state, state_queue
from cli.compose.workers import running_processes
from cli.failures import UNSAFE, fail, run_async
from cli.options import AsJson, DryRun
from cli.output import print_json, print_line
from cli.progress import Bar
from shared.logs import configure_logging
from shared.settings import Settings, load_settings
from shared.state.copying import COUNTED, copy_state
from shared.state.port import SharedState

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="What the processes of a deployment share beside messages: quota, holds, journal, contact ways.",
)


@app.callback()
def state() -> None:
    """Keep the name of the one command there is."""


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="sqlite:///path or postgresql://…")],
    target: Annotated[str, typer.Argument(metavar="[TO]", help="Without it the one that QUDAO_STATE_URL names.")] = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """
    Copy the state from one database to another, which has none yet; stop all processes before.

    May be interrupted and run again. FROM stays as it is; what was copied is compared by counts.
    """
    run_async(lambda: _copy(source, target, dry_run=dry_run, as_json=as_json))


async def _copy(source: str, target: str, *, dry_run: bool, as_json: bool) -> int:
    settings = load_settings()
    configure_logging("warning", settings.log_format)
    here = settings.with_state(source, "FROM")
    there = settings.with_state(target, "TO") if target else settings
    if here.state_place == there.state_place:
        fail(UNSAFE, "FROM and TO are the same database")
    async with open_state(here) as old, open_state(there) as new:
        for name, opened in (("FROM", old), ("TO", new)):
            await _require_idle(name, opened)
        counts = {table.sqlite: await old.tables.count(table) for table in COUNTED}
        if not dry_run:
            with Bar("copying") as bar:
                counts = dict(await copy_state(old.tables, new.tables, advance=lambda done, of: _show(bar, done, of)))
    if as_json:
        print_json({"copied": counts, "dry_run": dry_run})
        return 0
    said = ", ".join(f"{count:,} {_WORDS[name]}" for name, count in counts.items())
    print_line(f"{said} {'would be' if dry_run else 'are'} copied")
    if not dry_run:
        print_line(_next(there))
    return 0


_WORDS = {
    "journal": "entries of the journal",
    "journal_forgotten": "proofs of forgetting",
    "way": "rows of contact ways",
    "way_of_others": "states of others",
}


async def _require_idle(name: str, opened: SharedState) -> None:
    """Exit with 3 when somebody uses the state: what they do would be missing in the copy."""
    busy = [process.name for process in await running_processes(opened)]
    if busy:
        fail(UNSAFE, f"{name}: {len(busy)} processes use it or did until just now ({', '.join(busy)}); stop them first")


def _show(bar: Bar, done: int, total: int) -> None:
    bar.show(f"{done:,} of {total:,} entries of the journal", done=done, total=total)


def _next(settings: Settings) -> str:
    said = "name the new database in QUDAO_STATE_URL everywhere, then start"
    if settings.queue_file is None:
        return f"now delete the queue {state_queue(settings)} at the broker, which remembers the old one, {said}"
    return f"now {said}"
