"""An operator at `qudao channels`, in the test's own event loop, against a simulator."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer

from cli import failures
from cli.channels.lock_file import export_file
from shared.domain.errors import QudaoError
from simulator import Simulator, SimulatorConfig, run_simulator

CHANNELS = """
[defaults]
staff = ["lin.qiao", "zhou.yi"]

[channels.expo26]
name = "展会26"

[channels.shop]
name = "南京路店"
memo = "Counter"
staff = ["wang.fang"]

[channels.button]
name = "Mini"
scene = 1
style = 2
"""
WRITES = ("add", "update", "del")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return orjson.loads(self.out)


@dataclass(kw_only=True)
class Desk:
    """A folder with a channels file, and the WeCom that it is about."""

    simulator: Simulator
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def write(self, text: str) -> None:
        (self.folder / "channels.toml").write_text(text, encoding="utf-8")

    async def lock(self) -> dict[str, Any]:
        """Return what the state keeps of our ways, as an export has it."""
        return (await self.say(export_file, None)).document

    def lose_state(self) -> None:
        """Lose all that was kept, as with a disk."""
        shutil.rmtree(self.folder / "var")

    def ways(self) -> list[tuple[str, str]]:
        """Return state and memo of every way that there is."""
        return sorted((w.fields["state"], w.fields["remark"]) for w in self.simulator.corp.ways.values())

    def calls(self, verb: str) -> int:
        """Return how many calls of add, get, list, update or del there were, however they ended."""
        return sum(self.simulator.journal.codes[f"externalcontact/{verb}_contact_way"].values())

    def writes(self) -> int:
        return sum(self.calls(verb) for verb in WRITES)

    async def say(self, command: Callable[..., Awaitable[int | None]], *arguments: Any, **options: Any) -> Said:
        """Run *command* as `qudao` does; options that are not given are off."""
        names = command.__kwdefaults__ or {}
        wanted = [name for name in command.__annotations__ if name not in ("return", "request", "out", "path", "keys")]
        given = {name: False for name in wanted if name not in names} | options
        self.capsys.readouterr()
        try:
            code = await command(*arguments, **given) or 0
        except typer.Exit as ended:
            code = ended.exit_code
        except (QudaoError, BaseExceptionGroup) as error:
            leaves = list(failures._leaves(error))
            if not all(isinstance(leaf, QudaoError) for leaf in leaves):
                raise
            code = max(failures._code(leaf) for leaf in leaves)
            self._print_problems(leaves)
        said = self.capsys.readouterr()
        return Said(code=code, out=said.out, err=said.err)

    def _print_problems(self, errors: list[Any]) -> None:
        try:
            failures.fail(1, *(text for error in errors for text in failures._texts(error)))
        except typer.Exit:
            return


@asynccontextmanager
async def desk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **knobs: Any
) -> AsyncIterator[Desk]:
    """Run a quiet simulator with *knobs*, and sit down in *folder* with the settings for it."""
    simulator = Simulator(SimulatorConfig.quiet(**knobs))
    for name in [name for name in os.environ if name.startswith("QUDAO_") and not name.startswith("QUDAO_TEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    async with run_simulator(simulator) as server:
        for name, value in {**simulator.settings(server.url), "QUDAO_API_TIMEOUT": "0.5"}.items():
            monkeypatch.setenv(name, value)
        sitting = Desk(simulator=simulator, folder=folder, capsys=capsys)
        sitting.write(CHANNELS)
        yield sitting
