"""The application that faces WeCom: it knows one path."""

from aiohttp import web

from ingress.callbacks import Callbacks
from shared.wecom.fields import MAX_BODY


def create_app(callbacks: Callbacks) -> web.Application:
    """Return the application that faces WeCom: GET and POST of ``/wecom/callback``, nothing else."""
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_get("/wecom/callback", callbacks.check_url, allow_head=False)
    app.router.add_post("/wecom/callback", callbacks.receive)
    app.on_response_prepare.append(_hide_versions)
    return app


async def _hide_versions(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "qudao"
