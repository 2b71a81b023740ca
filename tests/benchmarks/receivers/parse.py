"""The same with verification, decryption and parsing as Qudao does them, and nothing done with the event."""

import uvloop
from aiohttp import web

from shared.wecom.callback import read_callback
from shared.wecom.crypto import Keyring
from tests.benchmarks.receivers.given import KEYS, PORT

TOKEN, AES_KEY, CORP_ID = KEYS
KEYRING = Keyring(tokens=(TOKEN,), aes_keys=(AES_KEY,), receive_id=CORP_ID)


async def receive(request: web.Request) -> web.Response:
    read_callback(KEYRING, request.rel_url.raw_query_string, await request.read())
    return web.Response()


app = web.Application()
app.router.add_post("/wecom/callback", receive)

if __name__ == "__main__":
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=PORT, access_log=None)
