"""PgBouncer between a server of ours and whoever comes: Debian's, as nobody else publishes its program."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests import debian
from tests.postgres.programs import NoServerError
from tests.postgres.servers import Server, owner
from tests.rabbitmq.node import free_ports, wait_until

_CONFIGURATION = """\
[databases]
postgres = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = {mode}
logfile = {folder}/log
"""


def provide() -> str:
    """
    Return the path of the program, having installed it where that is possible.

    Raises:
        NoServerError: It cannot be had.
    """
    places = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin"
    if shutil.which("pgbouncer", path=places) is None and debian.can_install():
        debian.install("pgbouncer")
    found = shutil.which("pgbouncer", path=places)
    if found is None:
        raise NoServerError("no PgBouncer for the tests: install it (Debian: pgbouncer)")
    return found


@contextmanager
def running_pooler(program: str, server: Server, mode: str) -> Iterator[str]:
    """Yield the URL of a pooler in front of *server* that works by *mode*: session, transaction or statement."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="qudao-pgbouncer-") as name:
        folder = Path(name)
        text = _CONFIGURATION.format(server_port=server.port, port=port, folder=folder, mode=mode)
        (folder / "pgbouncer.ini").write_text(text, encoding="utf-8")
        (folder / "users").write_text(f'"qudao" "{server.password}"\n', encoding="utf-8")
        for path in (folder, folder / "pgbouncer.ini", folder / "users"):
            if owner():
                shutil.chown(path, owner(), None)
        command = [program, "--quiet", str(folder / "pgbouncer.ini")]
        process = subprocess.Popen(command, user=owner() or None, stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: _accepts(port), 10.0, "PgBouncer accepts connections")
            yield server.url.replace(server.address, f"127.0.0.1:{port}")
        finally:
            process.kill()
            process.wait()


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
