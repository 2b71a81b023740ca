"""`qudao channels export`, and `import --from`: the contact ways as a file, for version control and another state."""

import sys
from pathlib import Path

from cli.channels.desk import writing
from cli.compose.deployment import kept_ways, open_state
from cli.failures import UNSAFE, fail
from cli.output import print_json, print_line
from shared.domain.channels.lock import LockedWays
from shared.logs import configure_logging
from shared.settings import Settings, load_settings
from workers.jobs.lock_file import lock_document, read_lock, write_lock


def _settings() -> Settings:
    settings = load_settings()
    configure_logging("error", settings.log_format)
    return settings


async def export_file(out: Path | None) -> int:
    """Print the ways, or write them to *out*."""
    lock = await kept_ways(_settings())
    if out is None:
        sys.stdout.write(lock_document(lock).decode())
    else:
        write_lock(out, lock)
        print_line(f"{_count(lock)} contact ways are in {out}")
    return 0


async def import_file(path: Path, *, force: bool, dry_run: bool, as_json: bool) -> int:
    """Keep the ways that the file *path* has; exit with 3 when others are kept already."""
    settings = _settings()
    lock = read_lock(path, settings.corp_id)
    async with open_state(settings) as state:
        before = await state.ways.read()
        if before not in (lock, LockedWays(corp_id=settings.corp_id)) and not force:
            fail(UNSAFE, f"{_count(before)} contact ways are kept already, and not as in {path}; --force replaces them")
        if not dry_run:
            async with writing(state, before) as write:
                await write(before, lock)
    if as_json:
        print_json({"ways": _count(lock), "replaced": _count(before), "dry_run": dry_run})
    else:
        print_line(f"{_count(lock)} contact ways {'would be' if dry_run else 'are'} taken from {path}")
    return 0


def _count(lock: LockedWays) -> int:
    return len(list(lock.ways()))
