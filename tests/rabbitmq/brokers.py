"""
Bring up a real RabbitMQ for the tests: a private node on a free port that ends with this process.

Sought in this order: ``QUDAO_TEST_AMQP_URL``; a ``rabbitmq-server`` on this machine; Debian's package, when we
are root; Docker. If none can be had, the tests fail and say what to install.

``QUDAO_TEST_RABBITMQ=4`` asks for RabbitMQ 4 whatever else is there, see ``tests/rabbitmq/version4.py``.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests import debian
from tests.rabbitmq import version4 as rabbitmq4
from tests.rabbitmq.node import Broker, Installation, NoBrokerError, free_ports

DELETE_QUEUES = """
AtLeastOnce = fun(Q) ->
    rabbit_misc:table_lookup(amqqueue:get_arguments(Q), <<"x-dead-letter-strategy">>) =:= {longstr, <<"at-least-once">>}
end,
Expected = length(lists:filter(AtLeastOnce, rabbit_amqqueue:list())),
Wait = fun(_, 0) -> late;
          (Again, Left) ->
    case catch proplists:get_value(active, supervisor:count_children(rabbit_fifo_dlx_sup)) of
        Expected -> timer:sleep(100);
        _ -> timer:sleep(20), Again(Again, Left - 1)
    end
end,
Wait(Wait, 250),
[rabbit_amqqueue:delete(Q, false, false, <<"test">>) || Q <- rabbit_amqqueue:list()],
ok
""".replace("\n", " ")
"""
Deletes every queue once those that dead-letter at least once have found their leader after a restart: RabbitMQ 3.10
loses the supervisor of dead-lettering when one is deleted in that moment, and fails with INTERNAL_ERROR for good.
"""


class DockerBroker:
    """The official image, where there is no rabbitmq-server but a Docker engine."""

    IMAGE = "rabbitmq:4"

    def __init__(self) -> None:
        (port,) = free_ports(1)
        self._port = port
        self._name = f"qudao-test-{secrets.token_hex(4)}"
        password = secrets.token_hex(8)
        self.url = f"amqp://qudao-test:{password}@127.0.0.1:{port}/"
        _run(
            *("docker", "create", "--name", self._name, "--publish", f"127.0.0.1:{port}:5672"),
            *(
                "--env",
                "RABBITMQ_DEFAULT_USER=qudao-test",
                "--env",
                f"RABBITMQ_DEFAULT_PASS={password}",
                self.IMAGE,
            ),
        )

    def start(self) -> None:
        _run("docker", "start", self._name)
        _run("docker", "exec", self._name, "rabbitmqctl", "await_startup", "--timeout", "60")

    def stop(self) -> None:
        _run("docker", "stop", self._name)

    def kill(self) -> None:
        _run("docker", "kill", self._name)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        _run("docker", "pause", self._name)

    def thaw(self) -> None:
        _run("docker", "unpause", self._name)

    def evaluate(self, expression: str) -> str:
        return _run("docker", "exec", self._name, "rabbitmqctl", "eval", f"{expression}.").strip()

    def close(self) -> None:
        subprocess.run(["docker", "rm", "--force", "--volumes", self._name], capture_output=True, check=False)


AnyBroker = Broker | DockerBroker


@contextmanager
def running_broker() -> Iterator[AnyBroker]:
    """Start a broker of our own and end it with the context."""
    broker = _make()
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@contextmanager
def running_url() -> Iterator[str]:
    """Yield the URL of a broker to test against: ``QUDAO_TEST_AMQP_URL``, or one started for the occasion."""
    given = os.environ.get("QUDAO_TEST_AMQP_URL", "")
    if given:
        yield given
        return
    with running_broker() as broker:
        yield broker.url


def provide() -> None:
    """Install what is missing; takes minutes where Debian's package has to be fetched, else nothing."""
    if not os.environ.get("QUDAO_TEST_AMQP_URL"):
        _make().close()


@contextmanager
def running_cluster(size: int) -> Iterator[list[Broker]]:
    """Start nodes of our own that are one cluster, and end them with the context."""
    found = _installation()
    if found is None:
        raise NoBrokerError("a cluster needs a RabbitMQ on this machine")
    nodes = [Broker(found) for _ in range(size)]
    for node in nodes:
        node.join(nodes)
    try:
        with ThreadPoolExecutor(size) as together:
            list(together.map(Broker.start, nodes))
        yield nodes
    finally:
        for node in reversed(nodes):
            node.close()


def _installation() -> Installation | None:
    if os.environ.get("QUDAO_TEST_RABBITMQ") == "4":
        return rabbitmq4.installation()
    return _on_this_machine() or _from_debian()


def _make() -> AnyBroker:
    installation = _installation()
    if installation is not None:
        return Broker(installation)
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        return DockerBroker()
    raise NoBrokerError(
        "The tests need a RabbitMQ. Install one (Debian, Ubuntu: apt-get install rabbitmq-server), or start "
        "Docker, or set QUDAO_TEST_AMQP_URL to a broker that may be filled and emptied."
    )


def _on_this_machine() -> Installation | None:
    """Return an installed RabbitMQ; never Debian's wrapper in the PATH, which changes user and uses /var."""
    folders = [
        Path("/usr/lib/rabbitmq/bin"),
        *sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin")),
    ]
    in_path = shutil.which("rabbitmq-server")
    if in_path is not None:
        folders.append(Path(in_path).resolve().parent)
    for folder in folders:
        script = folder / "rabbitmq-server"
        if (folder / "rabbitmq-env").exists() and os.access(script, os.X_OK):
            return Installation(script=script)
    return None


def _from_debian() -> Installation | None:
    """Install Debian's package without letting it start a system service."""
    if not debian.can_install():
        return None
    try:
        debian.install("rabbitmq-server")
    except debian.AptFailedError as error:
        raise NoBrokerError(f"The tests need a RabbitMQ, and Debian's package cannot be installed: {error}") from error
    return _on_this_machine()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoBrokerError(f"{command[0]} {command[1]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


if __name__ == "__main__":
    provide()
