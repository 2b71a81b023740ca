"""The command line as a whole."""

from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from cli.main import app


def test_version():
    """`--version` prints the version of the installed package and does nothing else."""
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, version("qudao") + "\n")


@pytest.mark.parametrize("name", [command.name or command.callback.__name__ for command in app.registered_commands])
def test_every_command_explains_itself(name):
    """`--help` says what a command is for and what each option means."""
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0
    assert len(done.output.splitlines()) > 5
