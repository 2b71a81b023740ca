"""A private RabbitMQ node as a child process: own port, own data, own epmd, gone when this process is."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 60.0
EVALUATE_SECONDS = 20.0

_CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
default_user = {user}
default_pass = {password}
loopback_users = none
log.console = false
log.file.level = info
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 64000000
"""


class NoBrokerError(RuntimeError):
    """No RabbitMQ could be had; the text says what to install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Where a RabbitMQ lives: its start script, and the environment it needs to find its own Erlang."""

    script: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    def find(self, program: str) -> str:
        """Return the path of one of Erlang's programs as this installation sees it."""
        found = shutil.which(program, path=self.environ.get("PATH", os.environ.get("PATH", "")))
        if found is None:
            raise NoBrokerError(f"RabbitMQ is here but Erlang's {program} is not: install erlang-base")
        return found


class Broker:
    """
    A private RabbitMQ node: own port, own data folder, own epmd.

    The node's Erlang shell reads our pipe: :meth:`evaluate` asks it in milliseconds where rabbitmqctl takes
    seconds, and it halts when the pipe closes, so no node outlives a test run, even one that was killed.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._folder = Path(tempfile.mkdtemp(prefix="qudao-rabbitmq-"))
        self._port, self._epmd_port, self._dist_port = free_ports(3)
        self._password = secrets.token_hex(8)
        self._beam: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._questions = 0
        self._cookie = secrets.token_hex(16)
        self._peers: list[str] = []
        self._name = f"qudao-test-{self._port}@localhost"

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"amqp://qudao-test:{self._password}@127.0.0.1:{self._port}/"

    def join(self, nodes: "Sequence[Broker]") -> None:
        """Be one of *nodes*, which all start together later on; the first of them has the epmd."""
        first = nodes[0]
        self._peers = [node._name for node in nodes]
        self._password, self._cookie, self._epmd_port = first._password, first._cookie, first._epmd_port

    def start(self) -> None:
        """Start on the same data as before, unless it runs, and return when it accepts connections."""
        if self._beam is not None and self._beam.poll() is None:
            return
        if self._epmd is None and self._peers[:1] in ([], [self._name]):
            self._epmd = self._start_epmd()
        self._configure()
        with (self._folder / "console.log").open("ab") as console:
            self._beam = subprocess.Popen(
                [self._installation.script],
                env=self._environ(),
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        try:
            wait_until(self._accepts, START_SECONDS, "RabbitMQ accepts connections")
        except BaseException as error:
            error.add_note(f"the node's output:\n{(self._folder / 'console.log').read_text()[-3000:]}")
            self.kill()
            raise

    def stop(self) -> None:
        """Stop in good order: clients are told, data is flushed."""
        if self._beam is not None and self._beam.poll() is None:
            self._tell("rabbit:stop_and_halt().")
            with suppress(subprocess.TimeoutExpired):
                self._beam.wait(30)
        self.kill()

    def kill(self) -> None:
        """Kill the node with SIGKILL, as a power cut would."""
        if self._beam is not None:
            _end(self._beam)
            self._beam = None

    def restart(self) -> None:
        """Stop and start again on the same data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let the node's process stand still: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen node go on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End the node and its epmd and remove its data."""
        self.kill()
        if self._epmd is not None:
            _end(self._epmd)
            self._epmd = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def evaluate(self, expression: str) -> str:
        """Return what the Erlang *expression* evaluates to inside the node, printed on one line."""
        self._questions += 1
        answer = self._folder / f"answer.{self._questions}"
        self._tell(
            f'file:write_file("{answer}.tmp", io_lib:format("~0p", [catch (fun() -> {expression} end)()])), '
            f'file:rename("{answer}.tmp", "{answer}").'
        )
        wait_until(answer.exists, EVALUATE_SECONDS, f"the node evaluates {expression}")
        text = answer.read_text()
        answer.unlink()
        return text

    def _signal(self, number: signal.Signals) -> None:
        assert self._beam is not None
        os.killpg(self._beam.pid, number)

    def _tell(self, line: str) -> None:
        assert self._beam is not None
        assert self._beam.stdin is not None
        self._beam.stdin.write(line.encode() + b"\n")
        self._beam.stdin.flush()

    def _accepts(self) -> bool:
        if self._beam is None or self._beam.poll() is not None:
            raise NoBrokerError("RabbitMQ ended while starting")
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as link:
                link.settimeout(5)
                link.sendall(b"AMQP\x00\x00\x09\x01")
                return link.recv(1) == b"\x01"
        except OSError:
            return False

    def _start_epmd(self) -> subprocess.Popen[bytes]:
        """Start Erlang's port mapper as our child: one that the node starts would outlive everything."""
        script = '"$0" -port "$1" -address 127.0.0.1 & cat >/dev/null; kill $!'
        return subprocess.Popen(
            ["/bin/sh", "-c", script, self._installation.find("epmd"), str(self._epmd_port)],
            env=self._environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _configure(self) -> None:
        text = _CONFIGURATION.format(port=self._port, user="qudao-test", password=self._password)
        if self._peers:
            text += "cluster_formation.peer_discovery_backend = classic_config\n"
        text += "".join(
            f"cluster_formation.classic_config.nodes.{n} = {name}\n" for n, name in enumerate(self._peers, 1)
        )
        (self._folder / "rabbitmq.conf").write_text(text)
        cookie = self._folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(self._cookie)
            cookie.chmod(0o400)
        (self._folder / "enabled_plugins").write_text("[].\n")
        (self._folder / "rabbitmq-env.conf").write_text("")

    def _environ(self) -> dict[str, str]:
        folder = self._folder
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
        return {
            **inherited,
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "node.pid"),
            **self._installation.environ,
        }


def free_ports(count: int) -> list[int]:
    """Return *count* different free TCP ports on loopback."""
    links = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [link.getsockname()[1] for link in links]
    for link in links:
        link.close()
    return ports


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Return as soon as *holds*; fail naming *what* after *seconds*."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s until {what}")
        time.sleep(0.005)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill *process* and all it started, and close our end of its pipe."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
