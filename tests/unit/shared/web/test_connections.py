"""Whose connections are counted together."""

import pytest

from shared.web.connections import neighbourhood


@pytest.mark.parametrize(
    ("peer", "together"),
    [
        (("192.0.2.7", 4711), "192.0.2.7"),
        (("::ffff:192.0.2.7", 4711), "::ffff:192.0.2.7"),
        (("2001:db8:0:1::7", 4711), "2001:0db8:0000:0001"),
        (("2001:db8:0:1:ffff::8", 4711), "2001:0db8:0000:0001"),
        (("fe80::1%eth0", 4711), "fe80:0000:0000:0000"),
        (None, ""),
    ],
)
def test_neighbourhoods(peer: tuple[str, int] | None, together: str) -> None:
    """One address of IPv4, one customer's of IPv6: who has a /64 has as many addresses as they like."""
    assert neighbourhood(peer) == together
