"""What is asked, read before a request is let in: of how many sequences it is decides how many places it takes."""

from runtime.router import web
from runtime.router.access.bodies import await_body
from runtime.router.carrying.exchange import CLIENT
from runtime.router.legs.request import MalformedRequest, read_request
from runtime.router.settings import RouterSettings
from runtime.router.surface.apis import APIS
from runtime.router.surface.errors import error_response


async def read_asked(request: web.Request, settings: RouterSettings) -> web.Response | None:
    """Wait for what is asked and read it; the request keeps it (`CLIENT`). The refusal of what can't be read."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        return error_response(415, "The body is encoded; expected it as it is.")
    if refusal := await await_body(request, settings):
        return refusal
    if request.content_type != "application/json":  # as vLLM does; it also keeps other sites' pages from posting here
        return error_response(415, "The Content-Type must be application/json.")
    try:
        request[CLIENT] = read_request(await request.read(), APIS[request.path])
    except MalformedRequest as error:
        return error_response(400, f"The body can't be read: {error}.")
    return None
