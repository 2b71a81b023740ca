"""The five published vectors of callbacks: two official ones (doc 90968), three computed by somebody else's code."""

from dataclasses import dataclass

from shared.wecom.crypto import CallbackKeys

OFFICIAL = CallbackKeys(
    token="QDG6eK",
    aes_key="jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C",
    receive_id="wx5823bf96d3bd56c7",
)
OWN = CallbackKeys(
    token="chanMark01",
    aes_key="Kf7Qm2ZxT9bVw4LcR8sNyH3jDpG6uEaXo1CtBvMzWkA",
    receive_id="ww9f8e7d6c5b4a3210",
)


@dataclass(frozen=True, kw_only=True)
class Vector:
    """What was sent, and what is inside. ``random`` and ``message`` are None where the page does not give them."""

    name: str
    keys: CallbackKeys
    timestamp: str
    nonce: str
    encrypted: str
    signature: str
    length: int
    pad: int
    message: bytes | None = None
    random: bytes | None = None


OFFICIAL_CHECK = Vector(
    name="official URL check",
    keys=OFFICIAL,
    timestamp="1409659589",
    nonce="263014780",
    encrypted="P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==",
    signature="5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3",
    length=19,
    pad=7,
    message=b"1616140317555161061",
)
OFFICIAL_POST = Vector(
    name="official message",
    keys=OFFICIAL,
    timestamp="1409659813",
    nonce="1372623149",
    encrypted=(
        "RypEvHKD8QQKFhvQ6QleEB4J58tiPdvo+rtK1I9qca6aM/wvqnLSV5zEPeusUiX5L5X/0lWfrf0QADHHhGd3QczcdCUpj911L3vg3W/s"
        "YYvuJTs3TUUkSUXxaccAS0qhxchrRYt66wiSpGLYL42aM6A8dTT+6k4aSknmPj48kzJs8qLjvd4Xgpue06DOdnLxAUHzM6+kDZ+HMZfJ"
        "YuR+LtwGc2hgf5gsijff0ekUNXZiqATP7PF5mZxZ3Izoun1s4zG4LUMnvw2r+KqCKIw+3IQH03v+BCA9nMELNqbSf6tiWSrXJB3LAVGU"
        "callcrw8V2t9EL4EhzJWrQUax5wLVMNS0+rUPA3k22Ncx4XXZS9o0MBH27Bo6BpNelZpS+/uh9KsNlY6bHCmJU9p8g7m3fVKn28H3KDY"
        "A5Pl/T8Z1ptDAVe0lXdQ2YoyyH2uyPIGHBZZIs2pDBS8R07+qN+E7Q=="
    ),
    signature="477715d11cdb4164915debcba66cb864d751f3e6",
    length=284,
    pad=30,
)
OWN_CHECK = Vector(
    name="own URL check",
    keys=OWN,
    timestamp="1767225600",
    nonce="480215937",
    encrypted="tih6l2fH45zEElxFEjk9FxhuHdGSlvbdt42reltPJCzOQUHzrRa2nG2czWcIxKLPRQ03ofBF/PAVCqmTxcaNkg==",
    signature="8b930b4d5b0105ce2414f138fa87df647e68279e",
    length=13,
    pad=13,
    message=b"8150029374461",
    random=b"0123456789abcdef",
)
OWN_POST = Vector(
    name="own message, pad 20",
    keys=OWN,
    timestamp="1767225601",
    nonce="913370042",
    encrypted=(
        "v+xVYJwmBShwOhNDbkiLufmU1T5Xz/U7l7I3yMjumD70pVr/TVARvHQu1cSJOCL10T6SFfyLZxS2vzx86wdO6nNmRYl0IYDmiBvEZ3hr"
        "1dUsguKgJiZxLswIEwmekbMvJoW0T3O4woybuvsqROXT3gGcIXQ1q6QtuPJmXAkJjpg="
    ),
    signature="c86758b69b5170a4c1feb496d662d5d3e23cbc0c",
    length=70,
    pad=20,
    message=b"<xml><ToUserName>ww9f8e7d6c5b4a3210</ToUserName><Event>t</Event></xml>",
    random=b"fedcba9876543210",
)
OWN_FULL_PAD = Vector(
    name="own URL check, pad 32",
    keys=OWN,
    timestamp="1767225602",
    nonce="1",
    encrypted=(
        "v+xVYJwmBShwOhNDbkiLuT6dMqXBJaVSTzpJEL64OTehIPXszTOzeVzCVUf5MjUe2hiA7yqIFZFxbwduqVW2ZJ1XqH0iEge7sODE9/TZ"
        "qRM2GXUHV0kn+j2tWr3sptP7"
    ),
    signature="e004ebcf0c22559b0c3e6344c7bbb8bff73733ee",
    length=26,
    pad=32,
    message=b"x" * 26,
    random=b"fedcba9876543210",
)
VECTORS = (OFFICIAL_CHECK, OFFICIAL_POST, OWN_CHECK, OWN_POST, OWN_FULL_PAD)
