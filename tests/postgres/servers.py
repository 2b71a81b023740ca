"""
Bring up a real PostgreSQL for the tests: a private server on a free port that ends with this process.

Its programs are those of ``tests/postgres/programs.py``. ``QUDAO_TEST_POSTGRES_URL`` names a server that is there
already instead, for all tests but those that kill theirs.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.postgres import programs
from tests.postgres.programs import NoServerError
from tests.rabbitmq.node import free_ports

STARTED_WITHIN = 30.0


class Server:
    """A PostgreSQL server of our own. Whatever it commits outlives a kill, of the process if not of the machine."""

    def __init__(self, programs: Path, primary: "Server | None" = None) -> None:
        """Make an empty server, or a standby that follows *primary*."""
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="qudao-postgres-"))
        self.port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None
        self.password = primary.password if primary else secrets.token_hex(8)
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"postgresql://qudao:{self.password}@{self.address}/postgres"
        if owner():
            shutil.chown(self._folder, owner(), None)
        if primary:
            follow = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync")
            self._run("pg_basebackup", f"--dbname={primary.url}", *follow, "--pgdata")
        else:
            self._initialise()

    def _initialise(self) -> None:
        secret = self._folder / "password"
        secret.write_text(self.password, encoding="utf-8")
        if owner():
            shutil.chown(secret, owner(), None)
        self._run("initdb", "--username=qudao", f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync", "--pgdata")

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def start(self) -> None:
        """Start the server and return when it answers."""
        log = (self._folder / "log").open("ab")
        options = {
            "fsync": "off",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
        }
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._data, "-p", str(self.port), *given],
            stdout=log,
            stderr=log,
            user=owner() or None,
        )
        log.close()
        end = time.monotonic() + STARTED_WITHIN
        while time.monotonic() < end:
            ready = subprocess.run(
                [self._programs / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port)],
                capture_output=True,
                check=False,
            )
            if ready.returncode == 0:
                return
            time.sleep(0.05)
        raise NoServerError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()[-2000:]}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: at once and in order, or as by a power cut with SIGQUIT."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """Let *number* reach the server and each process of its own, of which every one leads a group of its own."""
        assert self._process is not None
        server = self._process.pid
        children = subprocess.run(["pgrep", "-P", str(server)], capture_output=True, text=True, check=False)
        for process in [server, *map(int, children.stdout.split())]:
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def restart(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the server and start it again."""
        self.stop(how)
        self.start()

    def promote(self) -> None:
        """Make a standby a server that writes, and return when it is one."""
        self._run("pg_ctl", "promote", "--pgdata")

    def close(self) -> None:
        """End it and remove what it wrote."""
        if self._process is not None:
            self.send(signal.SIGKILL)
            self.stop(signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments, self._data],
            capture_output=True,
            text=True,
            check=False,
            user=owner() or None,
            cwd=self._folder,
        )
        if done.returncode:
            raise NoServerError(f"{program} failed: {done.stderr[-2000:]}")


@contextmanager
def running_server() -> Iterator[Server]:
    """Start a server of our own and end it with the context."""
    with _running(Server(programs.provide().folder)) as server:
        yield server


@contextmanager
def running_standby(primary: Server) -> Iterator[Server]:
    """Start a server that follows *primary*, which runs, and can take its place."""
    with _running(Server(programs.provide().folder, primary)) as standby:
        yield standby


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.close()


def owner() -> str:
    """Return whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return ""
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"
