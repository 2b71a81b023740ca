"""The application that faces WeCom: it knows one path."""

from aiohttp import web
from aiohttp.typedefs import Handler

from ingress.callbacks import Callbacks
from ingress.refusals import PATH
from shared.wecom.fields import MAX_BODY


def create_app(callbacks: Callbacks) -> web.Application:
    """Return the application that faces WeCom: GET and POST of ``/wecom/callback``, with or without a slash behind."""

    @web.middleware
    async def notice(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return callbacks.lost(request)

    app = web.Application(client_max_size=MAX_BODY, middlewares=[notice])
    for path in (PATH, f"{PATH}/"):
        app.router.add_get(path, callbacks.check_url, allow_head=False)
        app.router.add_post(path, callbacks.receive)
    app.on_response_prepare.append(_hide_versions)
    return app


async def _hide_versions(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "qudao"
