"""
Does a customer cost more when there is more: channels, members, rows in the journal, events that wait?

    python -m tests.benchmarks.growth [--events 1500] [--rounds 3] [--most-channels 10000] [--most-rows 1000000]

One worker over RabbitMQ and PostgreSQL as in ``tests.benchmarks.work``, in turn, round by round; CPU and rate are
of the customers marked. Each channel has a member of its own; the rows are of the same corp, an hour to eighty
days old.
"""

import argparse
import asyncio
from itertools import count
from typing import Any

import asyncpg

from simulator import Simulator, SimulatorConfig
from tests.benchmarks.rig import Way, against_first, broker_from, in_turn, own_prefix, print_result
from tests.benchmarks.work import measure
from tests.e2e.processes import QUDAO
from tests.postgres.servers import Server, running_server

_FILL = """
INSERT INTO qudao_journal
    (corp, event_id, at, task, result, staff, customer, reason, channel, state, digest, created_at)
SELECT $1, 'old' || n, extract(epoch FROM now()) - 3600 - (n % 6900) * 1000, 'mark', 'done', 'm' || n % 1000,
    'c' || n, '', 'shop', 'qd_shop', md5(n::text), 1700000000
FROM generate_series($2::bigint, $3::bigint) AS n
"""
_AT_ONCE = 100_000


async def filled(server: Server, rows: int) -> None:
    """Put *rows* into the journal, which a worker has made."""
    connection = await asyncpg.connect(server.url)
    try:
        for first in range(1, rows, _AT_ONCE):
            last = min(first + _AT_ONCE - 1, rows)
            await connection.execute(_FILL, Simulator(SimulatorConfig.quiet()).corp.corp_id, first, last)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


async def compare(url: str, given: argparse.Namespace) -> dict[str, Any]:
    """Measure few and many in turn; return the medians, and how many stands against few."""
    runs = count()
    with running_server() as server, running_server() as full:

        def way(events: int, state: Server, channels: int = 1) -> Way:
            return lambda: measure(
                QUDAO,
                events,
                {
                    "QUDAO_QUEUE_URL": url,
                    "QUDAO_QUEUE_PREFIX": f"{own_prefix()}.{next(runs)}",
                    "QUDAO_STATE_URL": state.url,
                },
                channels=channels,
            )

        await way(100, full)()  # which makes the tables
        await filled(full, given.most_rows)
        ways = {
            "little": way(given.events, server),
            f"{given.most_channels} channels and members": way(given.events, server, given.most_channels),
            f"{given.most_rows} rows in the journal": way(given.events, full),
            f"{given.events * 10} events wait": way(given.events * 10, server),
        }
        return against_first(await in_turn("growth", given.rounds, ways), "cpu_us_per_event", "cpu_ratio")


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most-channels", type=int, default=10_000)
    parser.add_argument("--most-rows", type=int, default=1_000_000)
    given = parser.parse_args()
    with broker_from(None) as url:
        print_result(asyncio.run(compare(url, given)))


if __name__ == "__main__":
    main()
