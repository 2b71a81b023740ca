"""What every receiver is told by its environment, and the event in a callback as one reads it with wechatpy."""

import os
from typing import Any

PORT = int(os.environ["PORT"])
QUEUE_URL = os.environ["QUEUE_URL"]
QUEUE = os.environ["QUEUE"]
KEYS = os.environ["TOKEN"], os.environ["AES_KEY"], os.environ["CORP_ID"]


class Callbacks:
    """Reads callbacks."""

    def __init__(self) -> None:
        from wechatpy.enterprise.crypto import WeChatCrypto  # not needed by the ceiling

        self._crypto = WeChatCrypto(*KEYS)

    def event(self, body: bytes, query: Any) -> dict[str, Any]:
        """Return the event of a verified callback."""
        import xmltodict

        xml = self._crypto.decrypt_message(body, query["msg_signature"], query["timestamp"], query["nonce"])
        fields: dict[str, Any] = xmltodict.parse(xml)["xml"]
        return fields
