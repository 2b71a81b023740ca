"""How commands end badly: what is printed, and the exit code."""

import pytest
import typer

from cli.failures import fail, run_async
from shared.domain.errors import ConfigurationError, QueueUnavailable, UnsafePlan


def ending(error, capsys):
    """Run a command that raises *error*; return its exit code and what it printed on stderr."""

    async def main() -> int:
        raise error

    with pytest.raises(typer.Exit) as caught:
        run_async(main)
    return caught.value.exit_code, capsys.readouterr().err


def test_every_problem_is_printed(capsys):
    """A configuration error prints each of its problems on a line of its own; exit code 2."""
    code, err = ending(ConfigurationError(["one", "two"]), capsys)
    assert (code, err) == (2, "qudao: one\nqudao: two\n")


def test_codes(capsys):
    """An unsafe plan ends with 3, any other named error with 1."""
    assert ending(UnsafePlan("too many"), capsys) == (3, "qudao: too many\n")
    assert ending(QueueUnavailable("away"), capsys) == (1, "qudao: away\n")


def test_groups_are_unpacked(capsys):
    """Errors of several tasks are printed together, each once, under the gravest code."""
    group = ExceptionGroup("", [QueueUnavailable("away"), ExceptionGroup("", [ConfigurationError(["one", "one"])])])
    assert ending(group, capsys) == (2, "qudao: away\nqudao: one\n")


def test_bugs_keep_their_traceback():
    """An error that nobody named is not dressed up."""

    async def main() -> int:
        raise ExceptionGroup("", [QueueUnavailable("away"), ZeroDivisionError()])

    with pytest.raises(ExceptionGroup):
        run_async(main)


def test_success():
    """The code that a command returns is its exit code; None is 0."""

    async def main() -> None:
        return

    with pytest.raises(typer.Exit) as caught:
        run_async(main)
    assert caught.value.exit_code == 0
    with pytest.raises(typer.Exit) as caught:
        fail(1, "no")
    assert caught.value.exit_code == 1
