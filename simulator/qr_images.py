"""
The images of the QR codes: real ones, at the addresses that the contact ways name.

What WeCom puts into such a code is not documented; here it is an address that begins like WeCom's and names the image.
"""

from io import BytesIO

import segno
from aiohttp import web

from simulator.scenario import Scenario
from simulator.world import World

_PATH = "/wwpic/{image}/0"
_DOTS = 10


def new_image(scenario: Scenario) -> str:
    """Return the path of an image for a new contact way."""
    return _PATH.format(image=scenario.ids.config_id())


def image_url(scenario: Scenario, path: str) -> str:
    """Return where the image of *path* is served; an address of WeCom's while nothing is."""
    return f"{scenario.world.url or 'https://wework.qpic.cn'}{path}"


class QrImages:
    """Serves the images of the contact ways that there are, in whichever corp."""

    def __init__(self, world: World) -> None:
        self._world = world

    def add_routes(self, app: web.Application) -> None:
        """Serve the images under *app*."""
        app.router.add_get(_PATH, self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        if not any(way.image == request.path for corp in self._world.corps for way in corp.ways.values()):
            return web.Response(status=404)
        return web.Response(body=_draw(request.match_info["image"]), content_type="image/png")


def _draw(image: str) -> bytes:
    png = BytesIO()
    segno.make(f"https://work.weixin.qq.com/ca/{image}", error="m", micro=False).save(png, kind="png", scale=_DOTS)
    return png.getvalue()
