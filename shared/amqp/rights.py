"""What a broker's user may not do, in words that a person can act on."""

import re
from typing import Final, Literal

from aiormq.exceptions import ChannelAccessRefused

Right = Literal["configure", "write", "read"]

_REFUSED: Final = re.compile(r"(?:(\w+) )?access to (\w+) '([^']*)' in vhost '([^']*)' refused for user '([^']*)'")
"""RabbitMQ says which right it missed from 3.11 on; 3.10 only says on what."""


def refusal(error: BaseException | None, right: Right) -> str:
    """Return which right is missing on what, and the command that grants it; "" when *error* is no refusal."""
    if not isinstance(error, ChannelAccessRefused):
        return ""
    match = _REFUSED.search(str(error))
    if match is None:
        return str(error)
    named, kind, name, vhost, user = match.groups()
    pattern = f"^{re.escape(name.partition('.')[0])}[.]"
    return (
        f"the broker's user {user} lacks the right to {named or right} the {kind} {name} in the vhost {vhost}. "
        f"Grant it: rabbitmqctl set_permissions -p '{vhost}' '{user}' '{pattern}' '{pattern}' '{pattern}'"
    )
