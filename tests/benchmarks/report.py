"""
A report from a large journal: how long does it take, and how much memory?

    python -m tests.benchmarks.report --rows 1000000 [--server postgresql://… | --sqlite]    (alone, it starts a server)

The rows are of customers who came over 400 days through 20 channels, a few other systems' codes (one for each customer)
and none, to 50 members; a tenth have two members, a twentieth were lost. The command is a process of its own.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import orjson

from shared.domain.ids import EventId, ExternalUserId, StaffUserId
from shared.postgres import Postgres
from shared.sqlite.database import Database
from shared.state.journal import CustomerJournal, JournalEntry
from shared.state.postgres.journal import PostgresJournal
from shared.state.sqlite.journal import SqliteJournal
from tests.benchmarks.rig import own_prefix, print_result
from tests.postgres.servers import running_server

QUDAO = Path(sys.executable).with_name("qudao")
DAYS = 400
CHANNELS, MEMBERS = 20, 50
AT_ONCE = 5000
PERIODS = ("1d", "30d", f"{DAYS}d")


def entries(rows: int, now: float) -> Iterator[JournalEntry]:
    """Yield so many entries, about as a worker writes them."""
    random = Random(1)
    made = 0
    while made < rows:
        customer = ExternalUserId(f"wm{random.getrandbits(150):032x}")
        came = now - random.random() * DAYS * 86_400
        members = random.sample(range(MEMBERS), 2 if random.random() < 0.1 else 1)
        state = random.choices((f"qd_c{random.randrange(CHANNELS)}", f"crm-{random.getrandbits(40)}", ""), (8, 1, 1))[0]
        result, reason = random.choices((("marked", ""), ("skipped", "person_wrote"), ("parked", "no")), (90, 8, 2))[0]
        for member in members:
            fields = {"staff": StaffUserId(f"member.{member}"), "customer": customer}
            given = {
                "created_at": int(came),
                "at": came + 1,
                "state": state,
                "digest": f"{random.getrandbits(128):032x}",
            }
            yield entry(made, task="mark", result=result, reason=reason, **fields, **given)
            made += 1
            if random.random() < 0.05:
                went = came + random.random() * (now - came)
                yield entry(
                    made, task="lost", result="lost", reason="by_customer", created_at=int(went), at=went, **fields
                )
                made += 1


def entry(number: int, **given: Any) -> JournalEntry:
    """Return an entry of an event of its own."""
    return JournalEntry(event_id=EventId(f"{number:032x}"), **given)


@asynccontextmanager
async def opened(url: str, corp: str, began: float) -> AsyncIterator[CustomerJournal]:
    """Yield the journal at *url*, kept since *began*."""
    if url.startswith("sqlite"):
        async with Database(Path(url.removeprefix("sqlite:///"))) as database:
            journal: CustomerJournal = SqliteJournal(database)
            await journal.prepare()
            await database.write(lambda c: c.execute("UPDATE journal_kept SET since = ?", (began,)))
            yield journal
        return
    async with Postgres(url) as server:
        journal = PostgresJournal(server, corp)
        await journal.prepare()
        await server.execute("UPDATE qudao_journal_kept SET since = $2 WHERE corp = $1", corp, began)
        yield journal


async def fill(url: str, corp: str, rows: int) -> None:
    """Write *rows* entries, as many at once as a busy deployment does not."""
    now = time.time()
    async with opened(url, corp, now - (DAYS + 2) * 86_400) as journal:
        all_entries = entries(rows, now)
        while some := list(islice(all_entries, AT_ONCE)):
            async with asyncio.TaskGroup() as group:
                for each in some:
                    group.create_task(journal.note(each))


def report(folder: Path, url: str, corp: str, since: str) -> dict[str, Any]:
    """Run the command and return what it cost, and a word on what it found."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "QUDAO_CORP_ID": corp, "QUDAO_STATE_URL": url}
    out = folder / "report.json"
    with out.open("wb") as file:
        began = time.monotonic()
        process = subprocess.Popen([QUDAO, "report", "--json", "--since", since], cwd=folder, env=env, stdout=file)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, "the report failed"
    document = orjson.loads(out.read_bytes())
    assert document["source"] == "journal"
    return {
        "since": since,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(used.ru_maxrss / 1024),
        "relations": document["total"]["relations"],
        "customers": document["total"]["customers"],
        "lost": document["total"]["lost"],
    }


def measure(folder: Path, url: str, rows: int) -> dict[str, Any]:
    """Fill a journal and ask for reports of one day, a month, and all."""
    corp = own_prefix()
    channels = "".join(f'[channels.c{number}]\nname = "渠道{number}"\n' for number in range(CHANNELS))
    (folder / "channels.toml").write_text(f'[defaults]\nstaff = ["member.0"]\n{channels}', encoding="utf-8")
    asyncio.run(fill(url, corp, rows))
    return {"rows": rows, "reports": [report(folder, url, corp, since) for since in PERIODS]}


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--server", help="postgresql:// URL")
    parser.add_argument("--sqlite", action="store_true", help="keep the journal in a file")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if arguments.sqlite:
            url = f"sqlite:///{folder / 'state.db'}"
        else:
            url = arguments.server or stack.enter_context(running_server()).url
        print_result(measure(folder, url, arguments.rows))


if __name__ == "__main__":
    main()
