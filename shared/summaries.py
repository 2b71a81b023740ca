"""Log lines that may be many: the first of a kind at once, the rest in sums."""

from collections.abc import Callable, Hashable
from time import monotonic
from typing import Final

EVERY: Final = 5.0
"""Seconds between two lines of one kind."""


class _Kind:
    """What is known of one kind of line."""

    __slots__ = ("said", "say", "times")

    def __init__(self) -> None:
        self.said = float("-inf")
        self.times = 0
        self.say: Callable[[int], None] = lambda _times: None


class Summaries:
    """
    Says each kind of thing at most once in *every* seconds, and how many *times* it was since the last line.

    Kinds are constants: they are kept for ever.
    """

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._kinds: dict[Hashable, _Kind] = {}

    def note(self, kind: Hashable, say: Callable[[int], None], *, times: int = 1) -> None:
        """
        Have *say* called with how often this *kind* came, now so many *times*.

        At once if it is the first for long, else with a later one or at a flush.
        """
        known = self._kinds.setdefault(kind, _Kind())
        known.times += times
        known.say = say
        self._say_if_due(known, self._every)

    def flush(self, *, all_of_it: bool = False) -> None:
        """Say what was kept back and is due, or *all_of_it*."""
        for known in self._kinds.values():
            if known.times:
                self._say_if_due(known, 0.0 if all_of_it else self._every)

    def _say_if_due(self, known: _Kind, every: float) -> None:
        now = monotonic()
        if now - known.said >= every:
            times, known.times, known.said = known.times, 0, now
            known.say(times)
