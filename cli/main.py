"""The `qudao` command."""

from importlib.metadata import version
from typing import Annotated

import typer

from cli import parked
from cli.api import api
from cli.channels import commands as channels
from cli.demo.command import demo
from cli.output import print_line
from cli.report.command import report
from cli.serve import ingress, run, worker
from cli.simulate import simulate
from cli.status import status
from cli.surveys.backfill import backfill
from cli.surveys.reconcile import reconcile_command

app = typer.Typer(
    name="qudao",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a pretty traceback prints local variables, and so secrets
)
for command in (demo, run, ingress, worker, simulate, status):
    app.command()(command)
app.command()(backfill)
app.command("reconcile")(reconcile_command)
app.command()(report)
app.add_typer(parked.app, name="parked")
app.add_typer(channels.app, name="channels")
app.command("api")(api)


def _print_version(asked: bool) -> None:
    if asked:
        print_line(version("qudao"))
        raise typer.Exit


@app.callback()
def qudao(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Mark every customer gained through a WeCom channel code with the channel they came from."""


def main() -> None:
    """Run the command line."""
    app()
