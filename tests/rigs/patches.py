"""Attributes that are something else for a while."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def patched(where: object, **values: object) -> Iterator[None]:
    """Let *where* have *values* for attributes within the context."""
    before = {name: getattr(where, name) for name in values}
    for name, value in values.items():
        setattr(where, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(where, name, value)
