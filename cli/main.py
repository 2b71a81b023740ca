"""The `qudao` command: which commands there are, and where each of them lives."""

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a command lives, ``module:function``, or ``module:app`` for a family; and the first line of its help."""

    target: str
    summary: str

    def load(self, name: str) -> Any:  # noqa: ANN401 - the group's own type is not public
        """Return the command, importing all that it needs; it is called *name*."""
        module, _, attribute = self.target.partition(":")
        target = getattr(import_module(module), attribute)
        if not isinstance(target, typer.Typer):
            target, function = typer.Typer(add_completion=False), target
            target.command(name)(function)
        return typer.main.get_command(target)


COMMANDS: Final = {
    "demo": _Place(
        "cli.demo.command:demo", "Show the whole main job against the bundled WeCom simulator, in about 20 seconds."
    ),
    "run": _Place("cli.serve:run", "Receive callbacks and mark customers, in one process."),
    "ingress": _Place("cli.serve:ingress", "Receive callbacks and publish them to the queue."),
    "worker": _Place("cli.serve:worker", "Take events from the queue and mark customers."),
    "simulate": _Place("cli.simulate:simulate", "Serve a WeCom that behaves like the real one, until stopped."),
    "status": _Place(
        "cli.status:status", "Show what waits in the queue, what is used of the quota, and which APIs are held back."
    ),
    "channels": _Place("cli.channels.commands:app", "Contact ways as code: from channels.toml to QR codes."),
    "backfill": _Place(
        "cli.surveys.backfill:backfill", "Mark existing customers by the state of the channel code they came through."
    ),
    "reconcile": _Place(
        "cli.surveys.reconcile:reconcile_command",
        "Find customers who should be marked and are not, have them marked, and count the lost callbacks.",
    ),
    "report": _Place("cli.report.command:report", "Tell where customers came from, by channel, day and member."),
    "parked": _Place("cli.parked:app", "What failed for good, why, and again."),
    "journal": _Place("cli.journal:app", "What was done to a customer: ids and ends, no names and no texts."),
    "state": _Place(
        "cli.state:app",
        "What the processes of a deployment share beside messages: quota, holds, journal, contact ways.",
    ),
    "api": _Place("cli.api:api", "Make one WeCom call and print the answer; explain the errcode if it is refused."),
}
"""Importing all of them takes a second and 80 MB, and each run needs one: so only that one is imported."""


class _Commands(TyperGroup):
    """Knows the commands by name, and imports the one that is called."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - whatever typer gives a group
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=place.summary) for name, place in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - as above
        name, command, rest = super().resolve_command(ctx, args)
        return name, COMMANDS[name].load(name) if name in COMMANDS else command, rest


app = typer.Typer(
    name="qudao",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a pretty traceback prints local variables, and so secrets
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(version("qudao"))
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


if __name__ == "__main__":
    main()
