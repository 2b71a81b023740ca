"""What fuzzing found once, and some thousand inputs made from what is right; ``make fuzz`` looks for more."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

FOUND = Path(__file__).parent / "found"


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_right_is_read(name: str) -> None:
    """Each target's seeds are read without an error, so that what is made from them gets far."""
    for seed in TARGETS[name].seeds:
        if name not in {"ciphertext", "url-check"}:  # only who has the key makes one that is right
            TARGETS[name].read(seed)


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name[:14]}")
def test_what_was_found_is_mended(path: Path) -> None:
    """An input that broke its target once breaks it no more."""
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_nothing_unnamed_is_raised(name: str, data: st.DataObject) -> None:
    """Whatever bytes come: pieces of what is right, cut, doubled and mixed with others."""
    (seed, *_) = TARGETS[name].seeds
    raw = bytearray(seed)
    for _ in range(data.draw(st.integers(0, 6))):
        at, until = sorted((data.draw(st.integers(0, len(raw))), data.draw(st.integers(0, len(raw)))))
        raw[at:until] = data.draw(st.one_of(st.binary(max_size=8), st.just(bytes(raw[at:until]) * 2)))
    TARGETS[name](bytes(raw))
