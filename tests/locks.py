"""What is wrong between the locks, the requirements of what they name, and what is installed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distributions

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ITSELF = "qudao"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: *; *([^\\]+?))? *\\?$")


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One package of a lock that is meant for this machine, and how many hashes it may have."""

    name: str
    version: str
    hashes: int


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A distribution as it lies in the environment, with what it requires."""

    name: str
    version: str
    requires: tuple[Requirement, ...] = field(default=())

    @classmethod
    def of(cls, distribution: Distribution) -> "Installed":
        return cls(
            name=canonicalize_name(distribution.metadata["Name"]),
            version=distribution.version,
            requires=tuple(map(Requirement, distribution.requires or ())),
        )


def environment() -> list[Installed]:
    """Return what is installed in this interpreter's environment."""
    return [Installed.of(distribution) for distribution in distributions()]


def read_lock(text: str) -> dict[str, Pin]:
    """
    Return the pins of a lock that apply to this machine, by name.

    Raises:
        ValueError: A line is neither a pin nor a hash nor a comment: something would be installed unlocked.
    """
    pins: dict[str, Pin] = {}
    name, hashes = "", 0
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.startswith("--hash=sha256:"):
            hashes += 1
            if name in pins:
                pins[name] = Pin(name=name, version=pins[name].version, hashes=hashes)
            continue
        match = _PINNED.match(stripped)
        if match is None:
            raise ValueError(f"neither a pin nor a hash: {stripped}")
        hashes = 0
        name = ""
        if not match[3] or Requirement(f"x; {match[3]}").marker.evaluate():  # type: ignore[union-attr]
            name = canonicalize_name(match[1])
            pins[name] = Pin(name=name, version=match[2], hashes=0)
    return pins


def problems(lock: Mapping[str, Pin], installed: Iterable[Installed], extras: Iterable[str]) -> list[str]:
    """
    Return what is not as *lock* says: installed but not locked, another version, missing, unlocked, without a hash.

    *extras* are those of the project itself that the lock is for. Extras that packages ask of each other, as
    pytest-cov asks for ``coverage[toml]``, count too.
    """
    there = {each.name: each for each in installed}
    found = [f"{pin.name}=={pin.version}: has no hash in the lock" for pin in lock.values() if not pin.hashes]
    for name, each in there.items():
        if name == ITSELF:
            continue
        if name not in lock:
            found.append(f"{name}=={each.version}: is installed, and the lock does not name it")
        elif lock[name].version != each.version:
            found.append(f"{name}=={each.version}: is installed, and the lock says {lock[name].version}")
    found += [f"{name}=={lock[name].version}: is locked, and not installed" for name in lock if name not in there]
    return found + _unlocked(lock, there, extras)


def _unlocked(lock: Mapping[str, Pin], there: Mapping[str, Installed], extras: Iterable[str]) -> list[str]:
    """Return the requirements, from the project's own on down, that *lock* does not satisfy."""
    found: list[str] = []
    seen: set[tuple[str, str]] = set()
    pending = [(ITSELF, extra) for extra in ("", *extras)]
    while pending:
        name, extra = pending.pop()
        if (name, extra) in seen or name not in there:
            continue
        seen.add((name, extra))
        for requirement in there[name].requires:
            if requirement.marker and not requirement.marker.evaluate({**default_environment(), "extra": extra}):
                continue
            wanted = canonicalize_name(requirement.name)
            pin = lock.get(wanted)
            if pin is None:
                found.append(f"{requirement}: wanted by {name}, and the lock does not name it")
            elif not requirement.specifier.contains(Version(pin.version), prereleases=True):
                found.append(f"{requirement}: wanted by {name}, and the lock says {pin.version}")
            pending += [(wanted, more) for more in ("", *requirement.extras)]
    return found
