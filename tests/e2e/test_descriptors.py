"""An ingress that runs out of file descriptors."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from tests.callback_vectors import OWN
from tests.e2e.processes import qudao
from tests.rigs.ingress import added

ENV = {
    "QUDAO_CORP_ID": OWN.receive_id,
    "QUDAO_CALLBACK_TOKEN": OWN.token,
    "QUDAO_CALLBACK_AES_KEY": OWN.aes_key,
    "QUDAO_LISTEN": "127.0.0.1:0",
    "QUDAO_ADMIN_LISTEN": "127.0.0.1:0",
}


@contextmanager
def none_left(pid: int) -> Iterator[None]:
    """Let the process *pid* open nothing more while the context is open."""
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 1, usual[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)


async def test_it_takes_what_it_may_have(tmp_path: Path):
    """A limit that is only the usual one is raised: nobody needs to know of it."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, usual[1]))
    try:
        async with qudao("ingress", folder=tmp_path, env=ENV) as ingress:
            await ingress.logged("ingress.listening")
            assert resource.prlimit(ingress.process.pid, resource.RLIMIT_NOFILE)[0] > 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)


async def test_it_says_so_and_goes_on_by_itself(tmp_path: Path):
    """A line, a metric and readiness say so while it lasts; callers wait and are served once it is over."""
    async with qudao("ingress", folder=tmp_path, env=ENV) as ingress, aiohttp.ClientSession() as session:
        line = await ingress.logged("ingress.listening")
        admin = await ingress.logged("admin.listening")
        url, operators = f"http://127.0.0.1:{line['port']}", f"http://127.0.0.1:{admin['port']}"

        async def ready() -> tuple[int, str]:
            async with session.get(f"{operators}/readyz", headers={"Connection": "close"}) as response:
                return response.status, await response.text()

        async def deliver(number: int) -> int:
            sent = added(number)
            async with session.post(url + sent.path, data=sent.body) as response:
                return response.status

        assert await deliver(0) == 200
        assert await ready() == (200, "ready\n")
        with none_left(ingress.process.pid):
            silent = [await asyncio.open_connection("127.0.0.1", line["port"]) for _ in range(20)]
            said = await ingress.logged("accept.failed")
            assert "ulimit" in said["remedy"]
            assert await ready() == (503, "no file descriptors left\n")
            async with session.get(f"{operators}/metrics", headers={"Connection": "close"}) as response:
                assert "\nqudao_descriptors_short 1.0\n" in await response.text()
            assert [await deliver(number) for number in range(1, 4)] == [200] * 3
        async with asyncio.timeout(10):
            while await ready() != (200, "ready\n"):
                await asyncio.sleep(0.1)
        assert await deliver(4) == 200
        assert len([each for each in ingress.lines if each["event"] == "accept.failed"]) < 10
        for _, writer in silent:
            writer.close()
