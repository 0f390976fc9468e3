"""Signing in and out: the token for a session, in a cookie that no script and no other site can use."""

from collections.abc import Callable, Iterable

from aiohttp import web

from thunderctl.api.auth import SESSION_S
from thunderctl.api.guard import AUDIT, AUTH, session_cookie
from thunderctl.api.handlers import public
from thunderctl.web import drawing
from thunderctl.web.drawing import Viewer

Answer = Callable[[str, int], web.Response]
WRONG = "That is not the token. It is in api.token in the controller's folder."


class Signing:
    """Handlers. The guard has refused what comes from a page of another origin."""

    def __init__(self, answer: Answer, viewer: Callable[[web.Request], Viewer]) -> None:
        self._answer = answer
        self._viewer = viewer

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/login", self.ask),
            web.post("/login", self.sign_in),
            web.post("/logout", self.sign_out),
        ]

    @public
    async def ask(self, request: web.Request) -> web.Response:
        return self._answer(drawing.login(self._viewer(request)), 200)

    @public
    async def sign_in(self, request: web.Request) -> web.Response:
        auth = request.app[AUTH]
        if not auth.bears_token((await _token_in(request)).strip()):
            await request.app[AUDIT].refused(request.remote or "", "sign in", "a wrong token")
            return self._answer(drawing.login(self._viewer(request), wrong=WRONG), 401)
        word = auth.open_session()
        answer = _to_the_page()
        answer.set_cookie(
            session_cookie(request),
            word.reveal(),
            max_age=int(SESSION_S),
            httponly=True,
            samesite="Strict",
            secure=request.secure,
        )
        return answer

    async def sign_out(self, request: web.Request) -> web.Response:
        request.app[AUTH].close_session(request.cookies.get(session_cookie(request), ""))
        answer = _to_the_page()
        answer.del_cookie(session_cookie(request), httponly=True, samesite="Strict", secure=request.secure)
        return answer


async def _token_in(request: web.Request) -> str:
    """What the form has as the token; empty where it is none, or is in letters that nobody knows."""
    if request.content_type != "application/x-www-form-urlencoded":
        return ""
    try:
        said = (await request.post()).get("token", "")
    except (ValueError, LookupError):
        return ""
    return said if isinstance(said, str) else ""


def _to_the_page() -> web.Response:
    """Not raised but returned: what is raised loses its cookies on the way through the guard."""
    return web.Response(status=303, headers={"Location": "/"})
