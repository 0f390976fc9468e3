"""What every request passes: the host it names, where a browser says it comes from, and who asks.

On loopback the name in `Host` must be loopback's: else a page of the web whose name was made to mean 127.0.0.1 could
read along (DNS rebinding). What a browser says to come from another origin is refused whatever it bears.
"""

import logging
from urllib.parse import urlsplit

from aiohttp import web

from planner.errors import ThunderError
from runtime.listening import is_loopback
from thunderctl.api.audit import Audit
from thunderctl.api.auth import Auth, Caller, cookie_of
from thunderctl.api.handlers import Handler, is_public
from thunderctl.api.refusals import Refusal, refusal_of

AUTH = web.AppKey("auth", Auth)
AUDIT = web.AppKey("audit", Audit)
CALLER = web.RequestKey("caller", Caller)
READING = ("GET", "HEAD")
LOGIN = "/login"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

log = logging.getLogger(__name__)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse whom it must, and put what goes wrong into words."""
    try:
        _check_place(request)
        _check_caller(request)
        answer = await handler(request)
    except Refusal as refusal:
        if request.method not in READING and refusal.status in (401, 403):
            await request.app[AUDIT].refused(request.remote or "", f"{request.method} {request.path}", refusal.message)
        answer = refusal.response()
    except ThunderError as error:
        answer = refusal_of(error).response()
    except web.HTTPException as said:
        answer = _in_our_form(said)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        answer = Refusal(500, "Bug", "A bug in the controller's API, which goes on.", "See its log.").response()
    return answer


async def protect(_: web.Request, answer: web.StreamResponse) -> None:
    """Headers that every answer bears, unless it has its own."""
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)


def session_cookie(request: web.Request) -> str:
    """The name of the cookie that a session of this server has, at the address that the request is for."""
    try:
        return cookie_of(urlsplit(f"//{request.host}").port)
    except ValueError:
        return cookie_of(None)


def _check_place(request: web.Request) -> None:
    host = _host_of(f"//{request.host}")
    if request.app[AUTH].is_open and not is_loopback(host):
        raise Refusal(
            403,
            "Forbidden",
            f"The request is for the host {host!r}; expected 127.0.0.1 or localhost, where the controller listens.",
        )
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() not in _origins_of(request):
        raise Refusal(403, "Forbidden", f"The request comes from a page of {origin!r}; expected one of this server.")


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _origins_of(request: web.Request) -> tuple[str, ...]:
    """What a browser calls this server; behind a proxy that ends TLS it says https."""
    return tuple(f"{scheme}://{request.host.lower()}" for scheme in ("http", "https"))


def _check_caller(request: web.Request) -> None:
    if is_public(request.match_info.handler):
        return
    cookie = request.cookies.get(session_cookie(request))
    caller = request.app[AUTH].caller(request.headers.get("Authorization"), cookie, request.remote or "")
    if caller is None and request.path.startswith(("/api/", "/metrics")):
        raise Refusal(401, "Unauthorized", _UNKNOWN, _WHERE, {"WWW-Authenticate": "Bearer"})
    if caller is None:
        raise web.HTTPSeeOther(LOGIN)
    if request.method not in READING:
        _check_change(request, caller)
    request[CALLER] = caller


def _check_change(request: web.Request, caller: Caller) -> None:
    if not caller.may_change:
        raise Refusal(401, "Unauthorized", _UNKNOWN, _WHERE, {"WWW-Authenticate": "Bearer"})
    if caller.via == "session" and request.headers.get("Origin") is None:
        raise Refusal(403, "Forbidden", "A browser's request has no Origin; expected that of this server.")


def _in_our_form(said: web.HTTPException) -> web.StreamResponse:
    if said.status < 400:
        return web.Response(status=said.status, headers=said.headers)
    kept = {name: said.headers[name] for name in ("Allow",) if name in said.headers}
    return Refusal(said.status, said.reason.replace(" ", ""), said.text or said.reason, headers=kept).response()


_UNKNOWN = "The request bears no token, or a wrong one."
_WHERE = "Send `Authorization: Bearer TOKEN`; the token is in api.token in the controller's folder."
