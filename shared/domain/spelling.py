"""Guess what somebody meant to type, so that a message about a typo can name the right word."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'name'?"`` for the word of *known* nearest to *word*, or an empty string."""
    by_folded = {candidate.casefold(): str(candidate) for candidate in known}
    nearest = get_close_matches(word.casefold(), by_folded, n=1)
    return f"; did you mean {by_folded[nearest[0]]!r}?" if nearest else ""
