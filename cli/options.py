"""The options that several commands have: the same words mean the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
Channel = Annotated[list[str] | None, typer.Option(help="Only customers of this channel (its key); may be repeated.")]
Staff = Annotated[list[str] | None, typer.Option(help="Only customers of this member (userid); may be repeated.")]
ChangesCsv = Annotated[Path | None, typer.Option("--csv", help="Write what would change to this CSV file.")]
