"""Disks that tests may fill."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """Yield a folder on a disk of *size*, such as ``80m``; only who may mount can have one, others skip."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "qudao", folder], check=False)
        if done.returncode:
            pytest.skip("only who may mount can make a disk that is full")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Leave nothing of the disk behind *folder*; return the file that has it."""
    path = folder / "ballast"
    with suppress(OSError), path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(65536))
    return path
