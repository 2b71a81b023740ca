"""The ceiling: an aiohttp handler that reads the body and answers 200."""

import uvloop
from aiohttp import web

from tests.benchmarks.receivers.given import PORT


async def receive(request: web.Request) -> web.Response:
    await request.read()
    return web.Response()


app = web.Application()
app.router.add_post("/wecom/callback", receive)

if __name__ == "__main__":
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=PORT, access_log=None)
