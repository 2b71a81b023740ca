"""
Where the programs of a PostgreSQL server come from: this machine, a wheel of ``tests/postgres/locks``, or Debian.

``QUDAO_TEST_POSTGRES`` says which major version: a number, or ``oldest`` or ``newest`` of those that Qudao supports;
without it the newest. A number is what is used, or the tests fail. For ``oldest`` and ``newest`` the nearest version
that can be had here is used; the end of the test run says which it was.

A wheel is fetched by pip from whatever registry this machine's pip goes by, compared with the hash in the lock, and
unpacked beside the temporary files, where the user that the server runs as can read it. Nothing of it is imported.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests import debian

ENDS = {"oldest": 13, "newest": 18}
"""What Qudao supports."""

LOCKS = Path(__file__).with_name("locks")
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")


class NoServerError(Exception):
    """There is no PostgreSQL for the tests; the text says what to do."""


@dataclass(frozen=True, kw_only=True)
class Programs:
    """A server's programs."""

    version: int
    folder: Path


def asked_for() -> int:
    """Return the version that the tests are to use, if it can be had."""
    said = os.environ.get("QUDAO_TEST_POSTGRES") or "newest"
    return ENDS.get(said) or int(said)


@cache
def provide() -> Programs:
    """
    Return the programs of the version that is asked for, having installed them where that is possible.

    Raises:
        NoServerError: They cannot be had.
    """
    if os.environ.get("QUDAO_TEST_POSTGRES", "").isdigit():
        return _of(asked_for())
    missing = []
    supported = range(ENDS["oldest"], ENDS["newest"] + 1)
    for version in sorted(supported, key=lambda version: abs(version - asked_for())):
        try:
            return _of(version)
        except NoServerError as error:
            missing.append(str(error))
    raise NoServerError(f"no PostgreSQL for the tests: {'; '.join(missing)}; or set QUDAO_TEST_POSTGRES_URL")


def _of(version: int) -> Programs:
    """Return the programs of *version* and no other."""
    found = _on_this_machine(version) or _from_a_wheel(version) or _from_debian(version)
    if found is None:
        raise NoServerError(f"PostgreSQL {version} is not on this machine, and cannot be installed here")
    return Programs(version=version, folder=found)


def _on_this_machine(version: int) -> Path | None:
    folders = [folder for place in PLACES for folder in Path("/").glob(place.lstrip("/"))]
    if in_path := shutil.which("initdb"):
        folders.append(Path(in_path).resolve().parent)
    for folder in folders:
        if (folder / "postgres").exists() and _version_of(folder) == version:
            return folder
    return None


def _version_of(folder: Path) -> int:
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"\(PostgreSQL\) (\d+)", said)
    assert match is not None, said
    return int(match[1])


def _from_a_wheel(version: int) -> Path | None:
    """Return where the locked wheel of *version* is unpacked; None when there is none for this platform."""
    lock = LOCKS / f"{version}.txt"
    if not lock.exists():
        return None
    # named for the lock: a new one is a new folder
    name = f"qudao-postgresql-{version}-{os.getuid()}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    home = Path(tempfile.gettempdir()) / name
    if not home.exists():
        with tempfile.TemporaryDirectory() as folder:
            wheel = _download(lock, Path(folder))
            if wheel is None:
                return None
            _unpack(wheel, home)
    if home.stat().st_uid != os.getuid():
        raise NoServerError(f"{home} is somebody else's: remove it")
    [postgres] = home.glob("**/bin/postgres")
    return postgres.parent


def _download(lock: Path, folder: Path) -> Path | None:
    """Let pip fetch the one wheel of *lock*, whatever Python it was built for: only its programs are used."""
    python = re.search(r"^# python (\S+)$", lock.read_text(encoding="utf-8"), re.MULTILINE)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--require-hashes", "--only-binary", ":all:", "--dest", folder, "--requirement", lock),
            *(("--python-version", python[1]) if python else ()),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(f"{lock.name}: {done.stderr.strip()[-500:]}\n")
        return None
    [wheel] = folder.glob("*.whl")
    return wheel


def _unpack(wheel: Path, home: Path) -> None:
    """Unpack *wheel* into *home*, all of it or nothing, readable by everybody."""
    making = Path(tempfile.mkdtemp(prefix=f"{home.name}-", dir=home.parent))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(making)
    for program in making.glob("**/bin/*"):
        program.chmod(0o755)
    making.chmod(0o755)
    making.rename(home)


def _from_debian(version: int) -> Path | None:
    if not debian.can_install():
        return None
    try:
        debian.install(f"postgresql-{version}")
    except debian.AptFailedError as error:
        sys.stderr.write(f"postgresql-{version}: {error}\n")
        return None
    return _on_this_machine(version)
