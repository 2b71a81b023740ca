"""How a command ends badly: each problem on stderr, with its remedy, and the exit code of the design (0 1 2 3)."""

import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn

import typer
import uvloop

from shared.domain.errors import ConfigurationError, QudaoError, UnsafePlan

FAILED = 1
MISCONFIGURED = 2
UNSAFE = 3


def run_async(main: Callable[[], Coroutine[Any, Any, int | None]]) -> NoReturn:
    """Run *main* on uvloop and exit with the code it returns, or that of the error it raised."""
    try:
        code = uvloop.run(main())
    except (QudaoError, BaseExceptionGroup) as error:
        errors = list(_leaves(error))
        named = [leaf for leaf in errors if isinstance(leaf, QudaoError)]
        if len(named) < len(errors):
            raise
        fail(max(_code(leaf) for leaf in named), *(text for leaf in named for text in _texts(leaf)))
    raise typer.Exit(code or 0)


def fail(code: int, *problems: str) -> NoReturn:
    """Print each of *problems* once on stderr and exit with *code*."""
    for problem in dict.fromkeys(problems):
        sys.stderr.write(f"qudao: {problem}\n")
    raise typer.Exit(code)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for child in error.exceptions:
            yield from _leaves(child)
    else:
        yield error


def _code(error: QudaoError) -> int:
    match error:
        case ConfigurationError():
            return MISCONFIGURED
        case UnsafePlan():
            return UNSAFE
        case _:
            return FAILED


def _texts(error: QudaoError) -> list[str]:
    return error.problems if isinstance(error, ConfigurationError) else [str(error)]
