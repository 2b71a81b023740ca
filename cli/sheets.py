"""CSV files that open right in a spreadsheet: UTF-8 with a byte order mark, and no cell that is taken for a formula."""

import csv
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shared.domain.errors import ConfigurationError

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes a spreadsheet compute a cell, the wide forms included, which some of them fold."""

_PARTED: Final = re.compile(rf"(;\s*|(?<=\S)[\t\r\n]\s*)(?=[{re.escape(''.join(_FORMULA))}])")
"""Where a cell begins to a spreadsheet that parts them by semicolons or tabs, as it does in half of Europe."""

Row = Sequence[str | int]


@contextmanager
def sheet(path: Path, headings: Sequence[str]) -> Iterator[Callable[[Row], None]]:
    """
    Yield a function that adds a row to the CSV file *path*, which is there once the context ends well, and only then.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    if path.is_dir():
        raise ConfigurationError([f"{path}: is a folder; name a file"])
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        # for its owner's eyes: such files hold customers' names
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8-sig", newline="") as file:  # noqa: PTH123 - a descriptor, no path
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(headings)
            yield lambda row: writer.writerow([_cell(value) for value in row])
        unfinished.replace(path)
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"]) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _cell(value: str | int) -> str | int:
    """Return *value*, as text with an apostrophe wherever a spreadsheet would compute it."""
    if not isinstance(value, str):
        return value
    value = _PARTED.sub(r"\1'", value)
    return f"'{value}" if value.lstrip(" ").startswith(_FORMULA) else value
