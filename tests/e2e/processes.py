"""Qudao as real processes, each with its own environment, and a simulator to judge them."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from simulator import Simulator

QUDAO = Path(sys.executable).with_name("qudao")

CHANNELS = """
[defaults]
staff = ["lin.qiao", "zhou.yi"]
remark = "{channel}-{name}"

[channels.expo26]
name = "展会26"
tags = ["来源/展会"]
welcome = "你好，欢迎！"

[channels.shop]
name = "南京路店"
"""


class Process:
    """One `qudao` process; ``lines`` holds what it logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.output = b""
        self._news = asyncio.Event()
        self._ended = False

    async def read(self) -> None:
        """Collect the log until the process ends."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.output += line
            if line.startswith(b"{"):
                self.lines.append(orjson.loads(line))
            self._news.set()
        await self.process.wait()
        self._ended = True
        self._news.set()

    async def logged(self, event: str, **fields: str) -> dict[str, Any]:
        """Return the first log line of this kind and with these fields, waiting for it."""
        while True:
            self._news.clear()
            for line in self.lines:
                if line["event"] == event and fields.items() <= line.items():
                    return line
            if self._ended:
                raise AssertionError(f"ended with {self.process.returncode}: {self.output.decode()[-2000:]}")
            await self._news.wait()

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()

    async def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


def children(pid: int) -> list[int]:
    """Return the processes that *pid* began, as Linux knows them."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


async def ready(admin: str) -> None:
    """Wait until the service whose operators are served at *admin* is ready."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(30):
        while True:
            async with session.get(f"{admin}/readyz") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def qudao(*arguments: str, folder: Path, env: Mapping[str, str]) -> AsyncIterator[Process]:
    """Run `qudao` in *folder* with *env* and nothing of this process's own; kill it at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        QUDAO,
        *arguments,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "QUDAO_LOG_FORMAT": "json", **env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    running = Process(process)
    async with asyncio.TaskGroup() as group:
        group.create_task(running.read())
        try:
            yield running
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def run_to_end(*arguments: str, folder: Path, env: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a command to its end; return exit code, stdout, stderr."""
    async with qudao(*arguments, folder=folder, env=env) as process:
        assert process.process.stdout is not None
        out = await process.process.stdout.read()
        code = await process.process.wait()
    return code, out.decode(), process.output.decode()


def settings(simulator: Simulator, url: str, folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a deployment against *simulator*, with its channels file in *folder*."""
    (folder / "channels.toml").write_text(CHANNELS, encoding="utf-8")
    return {
        **simulator.settings(url),
        "QUDAO_LISTEN": "127.0.0.1:0",
        "QUDAO_ADMIN_LISTEN": "127.0.0.1:0",
        **more,
    }


async def receives(process: Process, simulator: Simulator) -> None:
    """Point the simulator's callbacks at *process* once it listens."""
    line = await process.logged("ingress.listening")
    simulator.app.callback_url = f"http://{line['host']}:{line['port']}/wecom/callback"


async def until(condition: Any, *, seconds: float = 60.0) -> None:
    """Wait until *condition* holds; fail after *seconds*."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
