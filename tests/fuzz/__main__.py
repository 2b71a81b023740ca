"""
``python -m tests.fuzz [TARGET …] --seconds 600``: bytes that look for the way to an error nobody has named.

What breaks a target is kept in ``tests/fuzz/found/TARGET``, where every run of the tests reads it from then on.
"""

import argparse
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final

import atheris

FOUND: Final = Path(__file__).parent / "found"
LONGEST: Final = 20_000
"""Bytes of the longest input."""


def main() -> int:
    """Fuzz one target after the other, each in a process of its own; return 0 when none broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="all unless said otherwise")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with atheris.instrument_imports(include=["shared"]):
        from tests.fuzz.targets import TARGETS
    names = options.targets or list(TARGETS)
    if options.one:
        _fuzz(TARGETS[names[0]], options.one.split())
    return max(_run(name, TARGETS[name].seeds, options.seconds) for name in names)


def _run(name: str, seeds: tuple[bytes, ...], seconds: int) -> int:
    """Fuzz *name* in a process of its own, from *seeds* on."""
    kept = FOUND / name
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder)
        for seed in (*seeds, *(path.read_bytes() for path in kept.glob("*"))):
            (corpus / sha256(seed).hexdigest()[:16]).write_bytes(seed)
        kept.mkdir(parents=True, exist_ok=True)
        quiet = "-verbosity=0 -print_final_stats=1"
        limits = f"{quiet} -max_total_time={seconds} -max_len={LONGEST} -artifact_prefix={kept}/ {corpus}"
        print(f"{name}: {seconds} s", flush=True)
        done = subprocess.run([sys.executable, "-m", "tests.fuzz", name, "--one", limits], check=False)
    if not list(kept.iterdir()):
        kept.rmdir()
    return int(done.returncode != 0)


def _fuzz(target: object, limits: list[str]) -> None:
    """Never returns."""
    atheris.Setup([sys.argv[0], *limits], target)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
