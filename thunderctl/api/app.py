"""The API's application: everything is put together here. Whatever `Source` it is given, it serves in the same way."""

from collections.abc import Callable, Iterable

from aiohttp import web

from thunderctl.api.audit import Audit
from thunderctl.api.auth import Auth
from thunderctl.api.bounds import BOUNDS, Bounds, Limits
from thunderctl.api.changing import Changes
from thunderctl.api.guard import AUDIT, AUTH, guard, protect
from thunderctl.api.jobs import Jobs
from thunderctl.api.live import Live
from thunderctl.api.numbers import Numbers
from thunderctl.api.reading import Reading
from thunderctl.api.source import Source

SOURCE = web.AppKey("source", Source)
CHANGES = web.AppKey("changes", Changes)
NUMBERS = web.AppKey("numbers", Numbers)
LIVE = web.AppKey("live", Live)
MOST_BODY_BYTES = 64 * 1024

Mount = Callable[[web.Application], None]


def create_app(
    source: Source,
    auth: Auth,
    jobs: Jobs,
    *,
    numbers: Numbers | None = None,
    limits: Limits | None = None,
    mounts: Iterable[Mount] = (),
) -> web.Application:
    """The application. `mounts` add routes of their own, such as the web page's; all pass the same guard."""
    numbers = numbers or Numbers()
    bounds = Bounds(limits or Limits(), numbers.connections.set)
    app = web.Application(middlewares=[numbers.count, guard, bounds.serve], client_max_size=MOST_BODY_BYTES)
    app[BOUNDS] = bounds
    audit = Audit(source, numbers)
    reading, live = Reading(source, numbers), Live(source, numbers)
    changes = Changes(source, jobs, audit)
    app[SOURCE], app[AUTH], app[AUDIT], app[NUMBERS], app[LIVE], app[CHANGES] = (
        source,
        auth,
        audit,
        numbers,
        live,
        changes,
    )
    app.router.add_routes([*reading.routes(), *live.routes(), *changes.routes()])
    for mount in mounts:
        mount(app)
    app.cleanup_ctx.append(live.running)
    app.on_response_prepare.append(protect)
    app.on_shutdown.append(live.end)
    return app
