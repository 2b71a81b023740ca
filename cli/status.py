"""`qudao status`: how much waits where, and how old it is."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from cli.compose import open_deployment
from cli.failures import run_async
from cli.output import duration, print_json
from shared.logs import configure_logging
from shared.queue.port import Depth
from shared.settings import load_settings


def status(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Show the depth and age of every lane, retry tier and the parking."""
    run_async(lambda: _status(as_json=as_json))


async def _status(*, as_json: bool) -> None:
    settings = load_settings()
    configure_logging("warning", settings.log_format)
    async with open_deployment(settings) as deployment:
        depths = await deployment.queue.depths()
    if as_json:
        print_json({"queue": [_document(depth) for depth in depths]})
    else:
        Console().print(_table(depths))


def _document(depth: Depth) -> dict[str, Any]:
    return {"name": depth.name, "messages": depth.messages, "oldest_seconds": depth.oldest_seconds}


def _table(depths: Sequence[Depth]) -> Table:
    table = Table(title="Queue", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("place")
    table.add_column("messages", justify="right")
    table.add_column("oldest", justify="right")
    for depth in depths:
        table.add_row(depth.name, f"{depth.messages:,}", duration(depth.oldest_seconds))
    return table
