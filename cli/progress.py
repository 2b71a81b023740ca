"""Progress on stderr while something long runs: a bar at a terminal, nothing elsewhere, and lines in both places."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn


def new_progress(*columns: str | ProgressColumn) -> Progress:
    """Return a progress display for a terminal; elsewhere nothing is shown, for even an empty one prints a line."""
    terminal = Console(stderr=True).is_terminal
    console = Console(stderr=True, quiet=not terminal)
    return Progress(*columns, console=console, transient=True, disable=not terminal)


def printer(progress: Progress) -> Callable[[str], None]:
    """Return what prints a line on stderr, above *progress* where that is shown."""
    if progress.disable:
        return lambda text: print(f"qudao: {text}", file=sys.stderr)  # noqa: T201 - a line for the person who waits
    return lambda text: progress.console.print(f"qudao: {text}", markup=False, highlight=False, soft_wrap=True)


class Bar:
    """
    One bar whose text tells how far a long reading is.

    Attributes:
        notify: Prints a line above the bar.
    """

    def __init__(self, text: str, unfinished: Callable[[], str] = str) -> None:
        """Begin with *text*; *unfinished* returns the line for a reading that ended badly, or nothing."""
        self._unfinished = unfinished
        self._progress = new_progress(SpinnerColumn(), BarColumn(), TextColumn("{task.description}", markup=False))
        self._task = self._progress.add_task(text, total=None)
        self.notify = printer(self._progress)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the bar away; where something went wrong, say how far it came."""
        self._progress.stop()
        if kind is not None and (line := self._unfinished()):
            self.notify(line)

    def show(self, text: str, *, done: float, total: float | None) -> None:
        """Show *text*, and *done* of *total*; a *total* of None is not known yet."""
        self._progress.update(self._task, total=total, completed=done, description=text)
