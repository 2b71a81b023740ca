"""
RabbitMQ 4 beside whatever this machine has: Debian 13's packages in a folder, with their own Erlang and libc.

``python -m tests.rabbitmq.version4`` fetches it once into ``var/rabbitmq-4`` and starts it to see that it works;
afterwards ``QUDAO_TEST_RABBITMQ=4 pytest`` runs the suite against it. Needs apt, whose own sources say where
packages come from.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import debian
from tests.rabbitmq.node import Broker, Installation, NoBrokerError

SUITE = "trixie"
FOLDER = Path("var/rabbitmq-4")

_WRAPPER = """\
#!/bin/sh
# Starts a program with the libraries it was built with instead of this machine's.
exec "{loader}" --library-path "{libraries}" "{program}" "$@"
"""


def installation() -> Installation:
    """Return RabbitMQ 4, fetched first if it is not there yet."""
    root = FOLDER.resolve() / "root"
    if not (root / "ready").exists():
        shutil.rmtree(FOLDER, ignore_errors=True)
        _unpack(_download(FOLDER.resolve()), root)
        _adapt(root)
        (root / "ready").touch()
    [script] = root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-4.*/sbin/rabbitmq-server")
    binaries = root / "usr/lib/erlang/bin"
    return Installation(script=script, environ={"PATH": f"{binaries}:{os.environ.get('PATH', '')}"})


def _download(folder: Path) -> list[Path]:
    """Let apt fetch RabbitMQ and all it needs from this machine's Debian mirror, without touching this machine."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb {_mirror()} {SUITE} main\n")
    options = [
        *("-o", f"Dir::Etc::sourcelist={folder}/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null"),
        *("-o", f"Dir::State={folder}/state", "-o", f"Dir::State::status={folder}/status"),
        *("-o", f"Dir::Cache={folder}/cache", "-o", "Debug::NoLocking=1"),
        *("-o", f"APT::Sandbox::User={'root' if os.geteuid() == 0 else ''}"),
    ]
    debian.apt_get(*options, "update")
    debian.apt_get(*options, "install", "--yes", "--download-only", "--no-install-recommends", "rabbitmq-server")
    return sorted((folder / "cache/archives").glob("*.deb"))


def _mirror() -> str:
    """Return where this machine's apt gets Debian from."""
    listed = debian.apt_get("indextargets", "--format", "$(LABEL) $(COMPONENT) $(CREATED_BY) $(REPO_URI)")
    for line in listed.splitlines():
        label, component, kind, uri = line.split(" ", 3)
        if (label, component, kind) == ("Debian", "main", "Packages"):
            return uri
    raise NoBrokerError("this machine's apt has no Debian mirror (or never ran apt-get update)")


def _unpack(packages: list[Path], root: Path) -> None:
    root.mkdir(parents=True)
    for package in packages:
        if package.name.startswith(("erlang-", "rabbitmq-server_", "lib")):
            _run("dpkg-deb", "--extract", str(package), str(root))


def _adapt(root: Path) -> None:
    """Make the programs run from *root*: each with its own loader and libraries, Erlang with its new home."""
    [loader] = [*root.glob("usr/lib64/ld-linux-*"), *root.glob("usr/lib/ld-linux-*")][:1]
    libraries = ":".join(str(path) for path in root.glob("usr/lib/*-linux-gnu*"))
    home = root / "usr/lib/erlang"
    for program in [*home.glob("erts-*/bin/*"), *home.glob("lib/*/priv/bin/*")]:
        if program.is_file() and not program.is_symlink() and program.read_bytes()[:4] == b"\x7fELF":
            original = program.with_name(f"{program.name}.original")
            program.rename(original)
            program.write_text(_WRAPPER.format(loader=loader, libraries=libraries, program=original))
            program.chmod(0o755)
    for start in [*home.glob("bin/erl"), *home.glob("erts-*/bin/erl")]:
        text = start.read_text().replace("/usr/lib/erlang", str(home))
        start.unlink()  # one of them is a link to the other
        start.write_text(text)
        start.chmod(0o755)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoBrokerError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout


if __name__ == "__main__":
    broker = Broker(installation())
    try:
        broker.start()
        sys.stdout.write(f"RabbitMQ {broker.evaluate('rabbit_misc:version()')} works\n")
    finally:
        broker.close()
