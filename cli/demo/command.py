"""
`qudao demo`: the whole main job on one machine, against the simulator, judged by the simulator.

Contact ways are created through the API, customers scan them, callbacks arrive encrypted, some twice and some early,
and WeCom has its moods: a busy answer now and then, a revoked token. At the end every customer must be right.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.compose.deployment import open_deployment
from cli.compose.files import LiveChannels
from cli.compose.services import open_api
from cli.demo.verdict import Verdict, judge
from cli.failures import FAILED, run_async
from cli.serve import serve_until
from cli.times import CLOCK
from shared.domain.addresses import Address
from shared.domain.channels.file import load_channels
from shared.domain.channels.model import Channels
from shared.domain.events import Lane
from shared.domain.ids import CorpId, StaffUserId
from shared.logs import configure_logging
from shared.settings import Settings
from simulator import Fault, Simulator, SimulatorConfig, run_simulator
from simulator.clients import Action
from simulator.scans import ScanOutcome
from simulator.server import Server
from simulator.verdict import broken_rules

CHANNELS: Final = """
[defaults]
staff = ["lin.qiao", "zhou.yi", "wang.fang"]
remark = "{channel}-{name}"
description = "{date} {time}"

[channels.expo26]
name = "展会26"
tags = ["来源/展会"]
welcome = "你好 {name}，欢迎来到展台！"

[channels.shop]
name = "南京路店"
tags = ["来源/门店", "城市/上海"]

[channels.weibo]
name = "微博"
welcome = "感谢关注！"
"""

FOREIGN_STATE: Final = "wb:1:4285486"
PATIENCE: Final = 120.0
"""Seconds that the last customers are given: an answer of "busy" is retried after ten, a second one after sixty."""

REFRESH: Final = 0.25


def demo(
    customers: Annotated[int, typer.Option(min=1, help="How many customers scan a code.")] = 240,
    rate: Annotated[float, typer.Option(min=0.1, help="Scans per second.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Repeats the same customers and the same mishaps.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Show the whole main job against the bundled WeCom simulator, in about 20 seconds."""
    run_async(lambda: _demo(customers, rate, seed, as_json=as_json))


async def _demo(customers: int, rate: float, seed: int, *, as_json: bool) -> int:
    configure_logging("critical", "auto")  # what goes wrong here is staged, and the table tells how it ended
    channels = load_channels(CHANNELS)
    simulator = Simulator(_mishaps(seed))
    console = Console(stderr=as_json)
    started = CLOCK.time()
    async with run_simulator(simulator) as server, _qudao(server) as settings:
        ways = await _create_ways(settings, channels)
        console.print(
            f"WeCom simulator at {server.url}: {len(ways)} channel codes, {customers} customers to scan them."
        )
        async with asyncio.TaskGroup() as group:
            scanning = group.create_task(_scan(simulator, ways, customers, rate))
            verdict = await _watch(simulator, channels, console, customers, scanning)
    took = CLOCK.time() - started
    if as_json:
        sys.stdout.write(orjson.dumps(_document(verdict, simulator, took), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _print(console, verdict, simulator, took)
    return 0 if verdict.right else FAILED


def _mishaps(seed: int) -> SimulatorConfig:
    return SimulatorConfig(
        seed=seed,
        latency_scale=0.5,
        early_rate=0.05,
        early_seconds=(0.1, 2.0),
        duplicate_rate=0.10,
        reorder_rate=0.05,
        state_missing_in_event_rate=0.03,
        state_missing_in_get_rate=0.03,
        shuffle_envelope=True,
        unknown_fields=True,
    )


@asynccontextmanager
async def _qudao(server: Server) -> AsyncIterator[Settings]:
    """Run ingress and worker over a queue file of their own until the context is left."""
    with tempfile.TemporaryDirectory(prefix="qudao-demo-") as folder:
        settings = _settings(server, Path(folder))
        settings.channels.write_text(CHANNELS, encoding="utf-8")
        registry = CollectorRegistry()
        channels = LiveChannels(settings.channels, settings.time_zone, registry)
        stop = asyncio.Event()
        ready: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            group.create_task(
                serve_until(stop, settings, channels=channels, registry=registry, on_listening=ready.set_result)
            )
            address = await ready
            server.simulator.app.callback_url = f"http://{address.host}:{address.port}/wecom/callback"
            await server.verify_url()
            try:
                yield settings
            finally:
                stop.set()


def _settings(server: Server, folder: Path) -> Settings:
    app = server.simulator.app
    return Settings(
        corp_id=CorpId(server.simulator.corp.corp_id),
        corp_secret=SecretStr(app.secret),
        callback_token=SecretStr(app.token),
        callback_aes_key=SecretStr(app.aes_key),
        api_url=server.url,
        queue_url=SecretStr(f"sqlite:///{folder / 'queue.db'}"),
        channels=folder / "channels.toml",
        listen=Address("127.0.0.1", 0),
        admin_listen=Address("127.0.0.1", 0),
    )


async def _create_ways(settings: Settings, channels: Channels) -> list[str]:
    """Create a contact way for each channel, and one with another system's state; return their ids."""
    async with open_deployment(settings) as deployment, open_api(settings, deployment, Lane.BULK) as wecom:
        ways = [
            await wecom.add_contact_way(state=channel.state, users=channel.way.staff, remark=channel.name)
            for channel in channels.all
        ]
        foreign = await wecom.add_contact_way(state=FOREIGN_STATE, users=[StaffUserId("chen.wei")])
        return [way.config_id for way in (*ways, foreign)]


async def _scan(simulator: Simulator, ways: list[str], customers: int, rate: float) -> None:
    """Let customers scan one code after the other, with a mishap now and then."""
    chance = simulator.scenario.random
    simulator.fail(Fault.ERRCODE, code=-1, rate=0.005)
    begun = CLOCK.time()
    for number in range(customers):
        await asyncio.sleep(max(0.0, begun + number / rate - CLOCK.time()))
        if number in (customers // 3, customers * 2 // 3):
            simulator.revoke_tokens()
        way = ways[-1] if chance.random() < 0.05 else chance.choice(ways[:-1])
        scan = await simulator.scan(config_id=way)
        if scan.outcome is ScanOutcome.ADDED and chance.random() < 0.03:
            simulator.act(Action.WRITE_REMARK, scan.userid, scan.external_userid, remark="老客户，勿动")


async def _watch(
    simulator: Simulator, channels: Channels, console: Console, customers: int, scanning: asyncio.Task[None]
) -> Verdict:
    """Show what the simulator knows until every customer is right or patience ends; return the verdict."""
    deadline = float("inf")
    with Live(console=console, refresh_per_second=1 / REFRESH, transient=True) as live:
        while True:
            verdict = _judge(simulator, channels)
            live.update(_table(verdict, f"{_count(verdict)} of {customers} customers have scanned"))
            if scanning.done():
                deadline = min(deadline, CLOCK.time() + PATIENCE)
                if (verdict.right and not len(simulator.scenario.outbox)) or CLOCK.time() > deadline:
                    return verdict
            await asyncio.sleep(REFRESH)


def _judge(simulator: Simulator, channels: Channels) -> Verdict:
    names = {channel.state: channel.name for channel in channels.all}
    return judge(simulator.truth(), names, broken_rules(simulator.scenario))


def _count(verdict: Verdict) -> int:
    return sum(row.customers for row in verdict.channels)


def _table(verdict: Verdict, title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("channel", no_wrap=True)
    for heading in ("scanned", "marked", "welcomed", "waiting", "p50", "p99"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("left alone", no_wrap=True)
    for row in verdict.channels:
        table.add_row(
            row.channel,
            *(str(count) for count in (row.customers, row.marked, row.welcomed, row.waiting)),
            *(_seconds(row.percentile(share)) for share in (0.50, 0.99)),
            ", ".join(f"{count} {reason}" for reason, count in row.skipped.items()),
        )
    return table


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _document(verdict: Verdict, simulator: Simulator, took: float) -> dict[str, Any]:
    return {
        "right": verdict.right,
        "seconds": round(took, 2),
        "channels": [row.as_json() for row in verdict.channels],
        "wrongs": verdict.wrongs,
        "simulator": simulator.summary(),
    }


def _print(console: Console, verdict: Verdict, simulator: Simulator, took: float) -> None:
    summary = simulator.summary()
    answers = {
        code: sum(codes.get(code, 0) for codes in summary["errcodes"].values()) for code in ("84061", "-1", "40014")
    }
    console.print(_table(verdict, "Customers by channel; p50 and p99 from scan to mark"))
    console.print(
        f"{summary['events']} events in {sum(summary['callbacks'].values())} callbacks. On the way WeCom answered"
        f" {answers['84061']} times that it did not know the customer yet, {answers['-1']} times that it was busy,"
        f" and {answers['40014']} times that the token was revoked."
    )
    for wrong in verdict.wrongs[:20]:
        console.print(f"WRONG {wrong}", style="red")
    if verdict.right:
        console.print(f"Every customer is right, by the simulator's own record. Took {took:.0f} s.", style="green")
    else:
        console.print(
            f"{verdict.waiting} customers are not marked, {len(verdict.wrongs)} things are wrong.", style="red"
        )
