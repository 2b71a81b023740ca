"""The environment is what the locks say, to the last package, and the locks name everything that is required."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.locks import Installed, Pin, environment, problems, read_lock
from tests.postgres import programs

ROOT = Path(__file__).parents[2]
DEV, RUN = ROOT / "requirements-dev.txt", ROOT / "requirements.txt"
EXTRAS = ("dev", "install")

HASH = "    --hash=sha256:00\n"
LOCK = f"coverage==7.17.3 \\\n{HASH}pytest-cov==7.1.0 \\\n{HASH}"


def _installed(name: str, version: str, *requires: str) -> Installed:
    return Installed(name=name, version=version, requires=tuple(map(Requirement, requires)))


def test_what_is_installed_is_exactly_what_is_locked() -> None:
    """Nobody installed anything by hand, and nothing was resolved anew: else run `make clean` and `make setup`."""
    assert problems(read_lock(DEV.read_text()), environment(), EXTRAS) == []


def test_the_lock_for_running_pins_the_same_versions() -> None:
    """`make demo` and the image run what the tests ran."""
    run, dev = read_lock(RUN.read_text()), read_lock(DEV.read_text())
    assert {name: pin.version for name, pin in run.items()} == {name: dev[name].version for name in run}


def test_the_lock_for_running_names_all_that_running_requires() -> None:
    """What it leaves out is required by tests alone."""
    run = read_lock(RUN.read_text())
    there = [each for each in environment() if each.name in run or each.name == "qudao"]
    assert problems(run, there, ("install",)) == []


@pytest.mark.parametrize("lock", [DEV, RUN], ids=lambda path: path.name)
def test_a_lock_names_no_registry(lock: Path) -> None:
    """Where packages come from is the machine's business."""
    assert "://" not in lock.read_text()


def test_another_version_than_the_locked_one_is_a_problem() -> None:
    """As on the day when pip took a newer coverage than the lock's."""
    there = [_installed("coverage", "7.17.4"), _installed("pytest-cov", "7.1.0")]
    assert problems(read_lock(LOCK), there, ()) == ["coverage==7.17.4: is installed, and the lock says 7.17.3"]


def test_a_package_that_is_not_locked_is_a_problem() -> None:
    """Whatever brought it."""
    there = [_installed("coverage", "7.17.3"), _installed("pytest-cov", "7.1.0"), _installed("tomli", "2.0")]
    assert problems(read_lock(LOCK), there, ()) == ["tomli==2.0: is installed, and the lock does not name it"]


def test_a_locked_package_that_is_missing_is_a_problem() -> None:
    """An interrupted installation is no installation."""
    assert problems(read_lock(LOCK), [_installed("coverage", "7.17.3")], ()) == [
        "pytest-cov==7.1.0: is locked, and not installed"
    ]


def test_an_extra_that_a_package_asks_of_another_must_be_locked_too() -> None:
    """`coverage[toml]` asks for tomli, though nobody asks for tomli by name."""
    there = [
        _installed("qudao", "0.1.0", 'pytest-cov; extra == "dev"'),
        _installed("pytest-cov", "7.1.0", "coverage[toml]>=7.10.6"),
        _installed("coverage", "7.17.3", 'tomli; extra == "toml"'),
    ]
    assert problems(read_lock(LOCK), there, ("dev",)) == [
        'tomli; extra == "toml": wanted by coverage, and the lock does not name it'
    ]
    assert problems(read_lock(LOCK), there, ()) == []


def test_a_locked_version_must_satisfy_who_requires_it() -> None:
    """A lock edited by hand is found out."""
    there = [_installed("qudao", "0.1.0", "coverage>=8"), _installed("coverage", "7.17.3")]
    lock = {"coverage": Pin(name="coverage", version="7.17.3", hashes=1)}
    assert problems(lock, there, ()) == ["coverage>=8: wanted by qudao, and the lock says 7.17.3"]


def test_a_pin_without_a_hash_is_a_problem() -> None:
    """A registry that is broken into must not reach a machine of ours."""
    lock = read_lock("coverage==7.17.3\n")
    assert problems(lock, [_installed("coverage", "7.17.3")], ()) == ["coverage==7.17.3: has no hash in the lock"]


def test_a_pin_for_other_machines_does_not_count() -> None:
    """A universal lock names what this machine never installs."""
    assert read_lock(f"pywin32==312 ; sys_platform == 'none of these' \\\n{HASH}") == {}


@pytest.mark.parametrize("line", ["coverage>=7", "-e .", "git+https://example.invalid/x", "coverage"])
def test_a_line_that_pins_nothing_is_refused(line: str) -> None:
    """Nothing comes in through a lock unlocked."""
    with pytest.raises(ValueError, match="neither a pin nor a hash"):
        read_lock(line)


@pytest.mark.parametrize("lock", sorted(programs.LOCKS.glob("*.txt")), ids=lambda path: path.stem)
def test_each_postgresql_is_one_locked_wheel(lock: Path) -> None:
    """With its hashes, and of the version that the lock is named for."""
    [pin] = read_lock(lock.read_text(encoding="utf-8")).values()
    assert pin.hashes
    assert pin.version.partition(".")[0] == lock.stem
