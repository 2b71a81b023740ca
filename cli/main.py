"""The `qudao` command."""

import typer

from cli import channels, parked
from cli.api import api
from cli.backfill import backfill
from cli.demo import demo
from cli.reconcile import reconcile_command
from cli.report import report
from cli.services import ingress, run, worker
from cli.simulate import simulate
from cli.status import status

app = typer.Typer(
    name="qudao",
    help="Marks every customer gained through a WeCom channel code with the channel they came from.",
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


def main() -> None:
    """Run the command line."""
    app()
