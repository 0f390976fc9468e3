"""The pages' routes, for the API's application: they pass the same guard, and read from the same source."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from planner.errors import ThunderError
from thunderctl.api.app import SOURCE
from thunderctl.api.guard import AUTH, CALLER
from thunderctl.api.handlers import public
from thunderctl.api.source import Document, Source
from thunderctl.web import drawing
from thunderctl.web.assets import asset
from thunderctl.web.comparison import Comparison, compare
from thunderctl.web.drawing import THEMES, Viewer
from thunderctl.web.seen import Seen, Sight
from thunderctl.web.signing import Signing

THEME = "thunder_theme"
LONGEST_ONLY = 80
FOR_A_YEAR = "public, max-age=31536000, immutable"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # under the API's no-referrer a browser's form would not say where it comes from
    "Cross-Origin-Opener-Policy": "same-origin",
}


def mount(app: web.Application) -> None:
    """Put the pages into an application that has a source and a guard."""
    pages = Pages(app[SOURCE])
    signing = Signing(answer, viewer_of)
    app.router.add_routes([*pages.routes(), *signing.routes()])


def answer(html: str, status: int = 200) -> web.Response:
    """A page, with headers under which a browser runs nothing but our own files."""
    return web.Response(text=html, status=status, content_type="text/html", headers=HEADERS)


def viewer_of(request: web.Request) -> Viewer:
    caller = request.get(CALLER)
    theme = request.cookies.get(THEME, "")
    return Viewer(
        is_signed_in=caller is not None and caller.may_change,
        theme=theme if theme in THEMES else "",
        must_sign_in=not request.app[AUTH].is_open,
        only=request.query.get("only", "").strip().lower()[:LONGEST_ONLY],
    )


class Pages:
    """Handlers over a source."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._sight = Sight(source)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.overview),
            web.get("/sections", self.sections),
            web.get("/plans", self.plans),
            web.get("/static/{name}", self.static),
        ]

    async def overview(self, request: web.Request) -> web.Response:
        viewer = viewer_of(request)
        try:
            seen = await self._sight.look()
        except ThunderError as error:
            return answer(drawing.problem(error.message, error.hint, viewer), 503)
        return answer(await self._drawn(drawing.overview, seen, viewer))

    async def sections(self, request: web.Request) -> web.Response:
        """Raises ThunderError where nothing can be read: the script shows what it says above what was there."""
        viewer = viewer_of(request)
        return answer(await self._drawn(drawing.sections, await self._sight.look(), viewer))

    async def plans(self, request: web.Request) -> web.Response:
        viewer, asked = viewer_of(request), (request.query.get("a", ""), request.query.get("b", ""))
        try:
            listed = (await self._source.history())["plans"]
            a, b = _chosen(listed, *asked)
            comparison, wrong = await self._compared(a, b)
        except ThunderError as error:
            return answer(drawing.problem(error.message, error.hint, viewer), 503)
        return answer(drawing.plans(listed, a, b, comparison, wrong, viewer), 404 if wrong else 200)

    @public
    async def static(self, request: web.Request) -> web.Response:
        found = asset(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return web.Response(
            body=found.body, content_type=found.content_type, charset="utf-8", headers={"Cache-Control": FOR_A_YEAR}
        )

    async def _drawn(self, draw: Callable[[Seen, Viewer], str], seen: Seen, viewer: Viewer) -> str:
        """Drawn in a thread: a large fleet takes 100 ms, and the controller ticks meanwhile."""
        key = (draw.__name__, viewer)
        return await asyncio.to_thread(self._sight.drawn, seen, key, lambda now: draw(now, viewer))

    async def _compared(self, a: str, b: str) -> tuple[Comparison | None, str]:
        """Both, or why there is nothing to compare."""
        if not (a and b):
            return None, ""
        try:
            both: list[Document] = [await self._source.plan(one) for one in (a, b)]
        except LookupError as error:
            return None, str(error.args[0])
        return compare(*both), ""


def _chosen(listed: list[Document], a: str, b: str) -> tuple[str, str]:
    """What was asked for; else the plan before the newest, and the newest."""
    ids = [str(one["plan_id"]) for one in listed]
    newest = ids[0] if ids else ""
    return (a or (ids[1] if len(ids) > 1 else "")), (b or newest)
