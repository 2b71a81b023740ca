"""The command line as a whole."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from cli.main import COMMANDS, app

HEAVY = ("aiohttp", "aio_pika", "apsw", "matplotlib", "orjson", "PIL", "prometheus_client", "pydantic", "structlog")
"""What no command line needs before a command runs."""

COUNT = """
import sys
from cli.main import main
try:
    main()
except SystemExit as done:
    sys.stderr.write("\\n".join(sys.modules))
    raise
"""


def _imported(*words: str) -> list[str]:
    """Return the modules that are there after the command line *words* was run in a process of its own."""
    done = subprocess.run([sys.executable, "-c", COUNT, *words], capture_output=True, text=True, check=True)
    assert done.stdout
    return done.stderr.splitlines()


def test_version():
    """`--version` prints the version of the installed package and does nothing else."""
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, version("qudao") + "\n")


@pytest.mark.parametrize(("words", "most"), [(["--version"], 200), (["--help"], 400)])
def test_help_and_version_import_no_command(words, most):
    """Neither waits for what a command needs: no library of ours, and no room but the command line's own."""
    imported = _imported(*words)
    assert [name for name in imported if name.startswith(HEAVY)] == []
    assert [name for name in imported if name.split(".")[0] in {"shared", "workers", "ingress", "simulator"}] == []
    assert [name for name in imported if name.startswith("cli.")] == ["cli.main"]
    assert len(imported) < most


def test_a_command_on_a_file_imports_no_broker(tmp_path):
    """Embedded commands never load AMQP, and those that call no API no HTTP client."""
    imported = _imported("parked", "--help")
    assert [name for name in imported if name.startswith(("aio_pika", "aiormq", "aiohttp"))] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    """`--help` says what a command is for and what each option means."""
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0
    assert len(done.output.splitlines()) > 5


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_each_command_what_its_own_help_says(name):
    """The list is written down apart from the commands, so that it imports none of them; both say the same."""
    command = COMMANDS[name].load(name)
    assert (command.help or "").split("\n")[0].startswith(COMMANDS[name].summary)


def test_an_unknown_command_is_told_its_neighbours():
    """A slip gets the names that look like it."""
    done = CliRunner().invoke(app, ["reprot"])
    assert done.exit_code == 2
    assert "report" in done.output
