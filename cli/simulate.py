"""``qudao simulate``: a WeCom to test against, with scripted customers and faults."""

import asyncio
import random
import signal
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import structlog
import typer

from cli.failures import fail, run_async
from shared.domain.errors import ConfigurationError
from simulator import Fault, FaultRule, Simulator, SimulatorConfig, run_simulator
from simulator.play import APP, CORP_ID
from simulator.server import Server

log = structlog.get_logger()

_FAULT_HELP = (
    "KIND[:CODE][@ENDPOINT]=RATE, again for more: errcode:-1=0.01, timeout_after@externalcontact/remark=0.02. "
    f"Kinds: {', '.join(Fault)}."
)


def simulate(
    *,
    listen: Annotated[str, typer.Option(help="HOST:PORT to serve on; port 0 takes a free one.")] = "127.0.0.1:8090",
    callback_url: Annotated[
        list[str] | None,
        typer.Option(help="Where the app under test receives callbacks; again for those of further corps, in order."),
    ] = None,
    corps: Annotated[int, typer.Option(min=1, help="Corps; all but the first have made-up ids and secrets.")] = 1,
    corp_id: Annotated[str, typer.Option(help="The corp.")] = CORP_ID,
    agent_id: Annotated[int, typer.Option(help="The app's agentid.")] = APP.agent_id,
    secret: Annotated[str, typer.Option(help="The app's secret.")] = APP.secret,
    token: Annotated[str, typer.Option(help="The app's callback Token.")] = APP.token,
    aes_key: Annotated[str, typer.Option(help="The app's EncodingAESKey.")] = APP.aes_key,
    staff: Annotated[int, typer.Option(min=1, help="Members with the customer-contact function.")] = 4,
    channel: Annotated[list[str] | None, typer.Option(help="State of a contact way to make; again for more.")] = None,
    channels: Annotated[int, typer.Option(min=0, help="Contact ways to make, with states demo1, demo2 …")] = 0,
    scan_rate: Annotated[float, typer.Option(min=0.0, help="New customers a second.")] = 0.0,
    existing: Annotated[int, typer.Option(min=0, help="Customers who were there before anybody listened.")] = 0,
    duration: Annotated[float, typer.Option(min=0.0, help="Stop after so many seconds; 0 runs until stopped.")] = 0.0,
    fault: Annotated[list[str] | None, typer.Option(help=_FAULT_HELP)] = None,
    latency_scale: Annotated[float | None, typer.Option(min=0.0, help="Factor on every API's latency.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of knobs; see the simulator's README.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print settings and channels as one JSON document.")] = False,
) -> NoReturn:
    """
    Serve a WeCom that behaves like the real one, until stopped.

    Prints the settings that point Qudao at it, and at the end the counters of what happened.
    """
    try:
        host, port = _address(listen)
        knobs = _knobs(config, {"latency_scale": latency_scale, "seed": seed})
        app = replace(APP, agent_id=agent_id, secret=secret, token=token, aes_key=aes_key)
        members = {f"staff{number}": f"员工{number}" for number in range(1, staff + 1)}
        urls = _each(callback_url or [], corps)
        simulator = Simulator(knobs, corp_id=corp_id, app=app, callback_url=urls[0], staff=members)
        for url in urls[1:]:
            simulator.add_corp(callback_url=url, staff=members)
        rules = [fault_rule(text) for text in fault or ()]
    except ValueError as error:
        fail(2, str(error))
    for corp in simulator.corps:
        for rule in rules:
            corp.faults.add(replace(rule))
        corp.populate(existing)
    states = [*(channel or ()), *(f"demo{number}" for number in range(1, channels + 1))]
    play = _Play(simulator, states, scan_rate=scan_rate, duration=duration, as_json=as_json)
    run_async(lambda: play.run(host, port))


class _Play:
    """One run of the simulator from the command line."""

    def __init__(
        self, simulator: Simulator, states: Sequence[str], *, scan_rate: float, duration: float, as_json: bool
    ) -> None:
        self._simulator = simulator
        self._states = states
        self._scan_rate = scan_rate
        self._duration = duration
        self._as_json = as_json
        self._stop = asyncio.Event()

    async def run(self, host: str, port: int) -> int:
        """Serve until a signal or the end of the duration; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        try:
            async with run_simulator(self._simulator, host, port) as server:
                await self._serve(server)
        except OSError as error:
            raise ConfigurationError([f"cannot listen on {host}:{port}: {error.strerror}"]) from error
        return 0

    async def _serve(self, server: Server) -> None:
        ways = [self._ways(corp) for corp in self._simulator.corps]
        self._introduce(server.url, ways)
        async with asyncio.TaskGroup() as group:
            scanning = group.create_task(self._scan([list(made.values()) for made in ways]))
            try:
                async with asyncio.timeout(self._duration or None):
                    await self._stop.wait()
            except TimeoutError:
                pass
            scanning.cancel()
        for corp in self._simulator.corps:
            log.info("simulator.stopped", corp_id=corp.corp.corp_id, **corp.summary())

    def _ways(self, corp: Simulator) -> dict[str, str]:
        """Make the contact ways of *corp* and return their ids by state."""
        return {state: corp.add_contact_way(state) for state in self._states}

    def _introduce(self, url: str, ways: Sequence[dict[str, str]]) -> None:
        corps = [
            {"settings": corp.settings(url), "contact_ways": made}
            for corp, made in zip(self._simulator.corps, ways, strict=True)
        ]
        if self._as_json:
            document = {"url": url, **corps[0]} | ({"more_corps": corps[1:]} if corps[1:] else {})
            sys.stdout.write(orjson.dumps(document).decode() + "\n")
        else:
            lines = [f"# WeCom simulator at {url}; control API below {url}/_simulator/"]
            for number, corp in enumerate(corps, start=1):
                lines += [f"# corp {number}: {corp['settings']['QUDAO_CORP_ID']}"] if number > 1 else []
                lines += [f"{name}={value}" for name, value in corp["settings"].items()]
                lines += [
                    f"# contact way {config_id} state {state}" for state, config_id in corp["contact_ways"].items()
                ]
            sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()

    async def _scan(self, ways: Sequence[list[str]]) -> None:
        """Let new customers scan at the rate asked for, evenly over the corps and their channels."""
        if not self._scan_rate:
            return
        chance = random.Random(self._simulator.config.seed)  # noqa: S311 - a scenario, no secret
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            corp, made = chance.choice(list(zip(self._simulator.corps, ways, strict=True)))
            known = made or list(corp.corp.ways)
            if known:
                await corp.scan(config_id=chance.choice(known))
            due += chance.expovariate(self._scan_rate)
            await asyncio.sleep(max(0.0, due - loop.time()))


def _each(callback_urls: Sequence[str], corps: int) -> list[str]:
    """Return the callback URL of each of so many corps, "" for those without."""
    if len(callback_urls) > corps:
        raise ValueError(f"--callback-url is given {len(callback_urls)} times for --corps {corps}")
    return [*callback_urls, *[""] * (corps - len(callback_urls))]


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"--listen {listen!r} is not HOST:PORT")
    return host, int(port)


def _knobs(path: Path | None, options: dict[str, Any]) -> SimulatorConfig:
    """Return the configuration from a file of knobs, with the options that were given on top."""
    try:
        from_file = tomllib.loads(path.read_text()) if path else {}
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    given = {name: value for name, value in options.items() if value is not None}
    return SimulatorConfig().changed(**from_file | given)


def fault_rule(text: str) -> FaultRule:
    """
    Return the rule that *text* describes: ``KIND[:CODE][@ENDPOINT]=RATE``.

    Raises:
        ValueError: It does not.
    """
    left, equals, rate = text.rpartition("=")
    head, at, endpoint = left.partition("@")
    kind, colon, code = head.partition(":")
    try:
        share = float(rate)
        rule = FaultRule(
            fault=Fault(kind), endpoint=endpoint if at else "*", code=int(code) if colon else 0, rate=share
        )
    except ValueError as error:
        raise ValueError(f"--fault {text!r} is not KIND[:CODE][@ENDPOINT]=RATE: {error}") from error
    if not equals or not 0 <= share <= 1:
        raise ValueError(f"--fault {text!r}: the rate is from 0 to 1")
    return rule
