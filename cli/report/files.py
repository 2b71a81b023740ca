"""The files a report is written to: all of them can be written, or nothing is read."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.report.data import headings, sheet_row
from cli.sheets import sheet
from shared.domain.errors import ConfigurationError
from shared.domain.reports.figures import BY_CHANNEL, Dimension, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where to write a report to; None for what was not asked for."""

    csv: Path | None
    png: Path | None
    html: Path | None
    title: str

    def problems(self) -> list[str]:
        """Return why files cannot be made: a folder is missing or closed, or there is no font."""
        problems = [problem for path in (self.csv, self.png, self.html) if path and (problem := _obstacle(path))]
        if self.png:
            from cli.fonts import cjk_font_file  # noqa: PLC0415 - imaging is slow to import, and seldom asked for

            try:
                cjk_font_file()
            except ConfigurationError as error:
                problems += [f"--png: {problem}" for problem in error.problems]
        return problems

    def write(self, report: Report, by: Sequence[Dimension]) -> None:
        """
        Write the files that were asked for, and say so on stderr.

        Raises:
            ConfigurationError: One cannot be written after all.
        """
        if self.csv:
            dimensions = by or BY_CHANNEL
            with sheet(self.csv, headings(dimensions)) as add:
                for row in report.rows(*dimensions):
                    add(sheet_row(row, dimensions, report))
            _say_written(self.csv)
        if self.png:
            from cli.report.png import png_bytes  # noqa: PLC0415 - matplotlib is slow to import, and seldom asked for

            _write(self.png, png_bytes(report, self.title))
        if self.html:
            from cli.report.html import html_page  # noqa: PLC0415 - seldom asked for

            _write(self.html, html_page(report, self.title).encode())


def _obstacle(path: Path) -> str:
    """Return why *path* cannot be written, or nothing."""
    if path.is_dir():
        return f"{path}: is a folder; name a file"
    if not path.parent.is_dir():
        return f"{path}: there is no folder {path.parent}"
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return f"{path}: the folder {path.parent} cannot be written to"
    return ""


def _write(path: Path, contents: bytes) -> None:
    """Put *contents* in the place of *path* whole: a viewer that watches the file never sees half of it."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        unfinished.write_bytes(contents)
        unfinished.replace(path)
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"]) from error
    finally:
        unfinished.unlink(missing_ok=True)
    _say_written(path)


def _say_written(path: Path) -> None:
    sys.stderr.write(f"qudao: wrote {path}\n")
