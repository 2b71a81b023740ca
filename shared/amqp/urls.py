"""A broker's URL, which may name several hosts."""

from typing import Final

from yarl import URL

from shared.domain.errors import ConfigurationError

HEARTBEAT: Final = 10
"""Seconds; a link that swallows everything is noticed after about three of them (aiormq waits (10 + 1) x 3)."""


def hosts_in(url: str) -> list[URL]:
    """
    Return *url* once for each host it names.

    Raises:
        ConfigurationError: It is no such URL. The text does not quote it: it holds a password.
    """
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    return [_parse_one(f"{scheme}://{login}{at}{host}{slash}{path}") for host in hosts.split(",")]


def _parse_one(url: str) -> URL:
    try:
        parsed = URL(url)
        valid = parsed.scheme in ("amqp", "amqps") and bool(parsed.host) and parsed.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(
            ["the queue's URL must look like amqp://user:password@host:5672/vhost, its host a list such as a,b:5672"]
        )
    return parsed if "heartbeat" in parsed.query else parsed.update_query(heartbeat=str(HEARTBEAT))
