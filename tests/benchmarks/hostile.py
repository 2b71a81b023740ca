"""
Attack an ingress with what anybody can send, and see what honest callbacks notice of it.

    python -m tests.benchmarks.hostile [--seconds 15] [--rate 50] [--only header-line,slowloris]

One real ingress over the embedded queue; the attackers are processes of their own and begin anew whenever they are cut
off. Beside them valid callbacks come at a steady rate, half of them on kept-alive connections. Told are, for each
attack, how long those took, and take when it is over, how many failed, and what the ingress took of the machine. On one
machine attackers take the processor from who is attacked, as they would not from afar: they run at a low priority.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from shared.tasks import beside
from tests.benchmarks.callers import Callers
from tests.benchmarks.rig import percentiles, print_result, resident_mb
from tests.callback_vectors import OWN
from tests.e2e.processes import Process, qudao

Speaker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

BLOCK: Final = 64 * 1024
HEAD: Final = b"POST /wecom/callback?msg_signature=x&timestamp=1&nonce=1 HTTP/1.1\r\nHost: x\r\n"
CHUNKED: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB: Final = zlib.compress(bytes(10_000_000), wbits=31)
REST: Final = 10.0
GIVEN_BACK_AFTER: Final = 10.0


def endless(head: bytes, block: bytes, *, blocks: int = sys.maxsize) -> Speaker:
    """Return who sends *head* and then *block* as long as anybody reads it."""

    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(blocks):
            writer.write(block)
            await writer.drain()

    return speak


def slow(head: bytes, text: bytes) -> Speaker:
    """Return who sends *head*, and *text* letter by letter, and waits for the end."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for letter in text:
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await reader.read()
                    return
            writer.write(bytes([letter]))
        await reader.read()

    return speak


ATTACKS: Final[Mapping[str, tuple[tuple[int, Speaker], ...]]] = {
    "header-line": ((20, endless(HEAD + b"X: ", b"a" * BLOCK)),),
    "headers": ((20, endless(HEAD, b"X: y\r\n" * 10_000)),),
    "request-line": ((20, endless(b"GET /", b"a" * BLOCK)),),
    "body": ((20, endless(HEAD + b"Content-Length: 10000000\r\n\r\n", b"a" * BLOCK, blocks=153)),),
    "chunked-body": ((20, endless(CHUNKED, b"10000\r\n" + b"a" * BLOCK + b"\r\n", blocks=153)),),
    "chunks": ((20, endless(CHUNKED, b"1\r\na\r\n" * 10_000)),),
    "chunk-extensions": ((20, endless(CHUNKED + b"1;", b"a" * BLOCK)),),
    "trailers": ((20, endless(CHUNKED + b"0\r\n", b"X: y\r\n" * 10_000)),),
    "malformed-chunks": ((20, endless(CHUNKED + b"5\r\n<xml>\r\n", b"nonsense\r\n" * 6_000)),),
    "gzip-bomb": ((20, endless(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB), BOMB)),),
    "pipelined": ((20, endless(b"", HEAD.replace(b"POST", b"GET") + b"\r\n")),),
    "slowloris": (
        (1000, slow(b"", b"")),
        (1000, slow(HEAD, b"X: " + b"a" * 600)),
        (1000, slow(HEAD + b"Content-Length: 600\r\n\r\n", b"a" * 600)),
    ),
}


async def attack(name: str, port: int) -> None:
    """Attack until killed."""

    async def one(speaker: Speaker) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                with suppress(OSError):
                    await speaker(reader, writer)
                writer.transport.abort()
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for times, speaker in ATTACKS[name]:
            for _ in range(times):
                group.create_task(one(speaker))


@asynccontextmanager
async def attacked(name: str, port: int) -> AsyncIterator[None]:
    """Have the attack run while the context is open."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.hostile", "--attack", name, "--port", str(port)
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


class Machine:
    """What a process takes of the machine, and the most memory that it held, in MB."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak = 0.0

    def computed(self) -> float:
        """Return the seconds of a processor that it used so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def now(self) -> float:
        """Return what it holds now."""
        return resident_mb(self._pid)

    async def watch(self) -> None:
        """Note the peak, for ever."""
        while True:
            self.peak = max(self.peak, self.now())
            await asyncio.sleep(0.1)


async def measure(ingress: Process, given: argparse.Namespace) -> dict[str, Any]:
    """Run all attacks in turn."""
    line = await ingress.logged("ingress.listening")
    memory = Machine(ingress.process.pid)
    honest = Callers(line["port"], given.rate)
    figures: dict[str, Any] = {}
    async with beside(honest.run()):
        await asyncio.sleep(REST)
        figures["nobody"] = {"honest_seconds": percentiles(honest.seconds), "mb": memory.now()}
        for name in given.only.split(",") if given.only else ATTACKS:
            honest.reset()
            before, memory.peak, logged, computed = memory.now(), 0.0, len(ingress.output), memory.computed()
            async with beside(memory.watch()), attacked(name, line["port"]):
                await asyncio.sleep(given.seconds)
                figures[name] = {
                    "honest_seconds": percentiles(honest.seconds),
                    "honest": len(honest.seconds),
                    "failures": honest.failures,
                    "share_of_a_processor": round((memory.computed() - computed) / given.seconds, 2),
                }
            honest.reset()
            await asyncio.sleep(GIVEN_BACK_AFTER)
            refused = [line for line in ingress.output[logged:].splitlines() if b"callback.accepted" not in line]
            figures[name] |= {
                "mb": {"before": before, "peak": memory.peak, "after": memory.now()},
                "honest_seconds_afterwards": percentiles(honest.seconds),
                "log_bytes_beside_honest": sum(map(len, refused)),
            }
            print(name, figures[name], flush=True)
    return figures


async def run(given: argparse.Namespace) -> dict[str, Any]:
    """Start the ingress and measure."""
    with tempfile.TemporaryDirectory() as name:
        env = {
            "QUDAO_CORP_ID": OWN.receive_id,
            "QUDAO_CALLBACK_TOKEN": OWN.token,
            "QUDAO_CALLBACK_AES_KEY": OWN.aes_key,
            "QUDAO_LISTEN": "127.0.0.1:0",
            "QUDAO_ADMIN_LISTEN": "127.0.0.1:0",
        }
        async with qudao("ingress", folder=Path(name), env=env) as ingress:
            return await measure(ingress, given)


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each attack lasts")
    parser.add_argument("--rate", type=float, default=50.0, help="honest callbacks a second")
    parser.add_argument("--only", default="", help="some of: " + ",".join(ATTACKS))
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.attack:
        os.nice(10)
        asyncio.run(attack(given.attack, given.port))
    else:
        print_result(asyncio.run(run(given)))


if __name__ == "__main__":
    main()
