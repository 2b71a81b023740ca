"""
Bring up a real PostgreSQL for the tests: a private server on a free port that ends with this process.

Sought in this order: ``QUDAO_TEST_POSTGRES_URL``; a server's programs on this machine; Debian's package, when we are
root. If none can be had, the tests fail and say what to install.
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
from contextlib import contextmanager
from pathlib import Path

from tests import debian
from tests.rabbitmq.node import free_ports

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")
STARTED_WITHIN = 30.0


class NoServerError(Exception):
    """There is no PostgreSQL for the tests; the text says what to do."""


class Server:
    """A PostgreSQL server of our own. Whatever it commits outlives a kill, of the process if not of the machine."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="qudao-postgres-"))
        self._port = free_ports(1)[0]
        self._password = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://qudao:{self._password}@127.0.0.1:{self._port}/postgres"
        secret = self._folder / "password"
        secret.write_text(self._password, encoding="utf-8")
        if _owner():
            shutil.chown(self._folder, _owner(), None)
            shutil.chown(secret, _owner(), None)
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
            [self._programs / "postgres", "-D", self._data, "-p", str(self._port), *given],
            stdout=log,
            stderr=log,
            user=_owner() or None,
        )
        log.close()
        end = time.monotonic() + STARTED_WITHIN
        while time.monotonic() < end:
            ready = subprocess.run(
                [self._programs / "pg_isready", "-h", "127.0.0.1", "-p", str(self._port)],
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

    def restart(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the server and start it again."""
        self.stop(how)
        self.start()

    def close(self) -> None:
        """Stop it and remove what it wrote."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments, self._data],
            capture_output=True,
            text=True,
            check=False,
            user=_owner() or None,
            cwd=self._folder,
        )
        if done.returncode:
            raise NoServerError(f"{program} failed: {done.stderr[-2000:]}")


@contextmanager
def running_server() -> Iterator[Server]:
    """Start a server of our own and end it with the context."""
    programs = provide()
    assert programs is not None, "there is no server of somebody else's"
    server = Server(programs)
    try:
        server.start()
        yield server
    finally:
        server.close()


def provide() -> Path | None:
    """
    Return where the server's programs are, having installed them where that is possible.

    Raises:
        NoServerError: There are none.
    """
    if os.environ.get("QUDAO_TEST_POSTGRES_URL"):
        return None
    found = _found()
    if found is None and debian.can_install():
        debian.install("postgresql")
        found = _found()
    if found is None:
        raise NoServerError(
            "no PostgreSQL for the tests: install the server (Debian: postgresql), or set QUDAO_TEST_POSTGRES_URL"
        )
    return found


def _found() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path and (real := Path(on_path).resolve().parent / "postgres").exists():
        return real.parent
    folders = [folder for place in PLACES for folder in Path("/").glob(place.lstrip("/"))]
    return max((folder for folder in folders if (folder / "postgres").exists()), default=None)


def _owner() -> str:
    """Return whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return ""
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"
