"""The agent's port: the calls of docs/architecture.md, each open to the certificate names that table gives it."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum

from aiohttp import web

from planner.errors import KvTransferError, Refused, SpecError
from runtime.agent.contact import Contact
from runtime.agent.metrics import agent_metrics
from runtime.agent.proxy import EngineProxy
from runtime.agent.supervisor import Supervisor
from runtime.messages import AGENT_SUFFIX, CONTROLLER_NAME, ROUTER_NAME, AgentHealth, EngineSpec
from runtime.metrics import CONTENT_TYPE
from runtime.relay.relay import Relay
from runtime.relay.reverse import ReverseDial
from runtime.relay.server import add_relay_routes
from runtime.relay.ticket import AgentAddress
from runtime.tls import peer_names

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Caller(StrEnum):
    """Who calls, by the name in their certificate."""

    CONTROLLER = "controller"
    ROUTER = "router"
    AGENT = "agent"


CONTROLLER = frozenset({Caller.CONTROLLER})
OPERATION = frozenset({Caller.CONTROLLER, Caller.ROUTER})

ALLOWED = {
    "/health": OPERATION,
    "/metrics": OPERATION,
    "/engines": CONTROLLER,
    "/engines/{replica}": CONTROLLER,
    "/engines/{replica}/log": CONTROLLER,
    "/shutdown": CONTROLLER,
    "/r/{replica}/{path}": OPERATION,
    "/kv/drop": OPERATION,
    "/kv/peers": CONTROLLER,
}
"""Who may make each call. What is not named here is nobody's; agents ask each other on streams only (`pulls.py`)."""


class Agent:
    """Handlers over the supervisor and the relay of one instance."""

    def __init__(
        self,
        instance: str,
        version: str,
        supervisor: Supervisor,
        relay: Relay,
        reverse: ReverseDial,
        contact: Contact,
        *,
        shut_down: Callable[[], None],
    ) -> None:
        self._instance = instance
        self._version = version
        self._supervisor = supervisor
        self._relay = relay
        self._reverse = reverse
        self._contact = contact
        self._shut_down = shut_down

    def app(self) -> web.Application:
        """The application. Run it with `handler_cancellation=True`: a caller that goes cancels what it asked for."""
        app = web.Application(middlewares=[self._authorise])
        app.router.add_get("/health", self.health)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_post("/engines", self.start_engine)
        app.router.add_delete("/engines/{replica}", self.stop_engine)
        app.router.add_get("/engines/{replica}/log", self.engine_log)
        app.router.add_post("/shutdown", self.shutdown)
        proxy = EngineProxy(self._supervisor)
        self._relay.on_refusal, self._relay.on_ticket = proxy.refuse, proxy.tell
        app.router.add_route("*", "/r/{replica}/{path:.*}", proxy.handle)
        app.router.add_put("/kv/peers", self.dial_peers)
        add_relay_routes(app, self._relay)
        return app

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response((await self._health()).to_json())

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=agent_metrics(await self._health()), headers={"Content-Type": CONTENT_TYPE})

    async def start_engine(self, request: web.Request) -> web.Response:
        try:
            spec = EngineSpec.from_json(json.loads(await request.read()))
            self._supervisor.start(spec)
        except (ValueError, TypeError, AttributeError) as error:
            return _error(400, f"The engine's specification can't be read: {error}.")
        except SpecError as error:
            return _error(400, error.message)
        except Refused as error:
            return _error(409, error.message)
        except OSError as error:
            return _error(507, f"Engine {spec.replica} can't be launched: {error}.")
        return web.json_response({"replica": spec.replica}, status=202)

    async def stop_engine(self, request: web.Request) -> web.Response:
        """Answer once it is gone. A caller that does not wait for that does not keep it alive."""
        await asyncio.shield(self._supervisor.stop(request.match_info["replica"]))
        return web.json_response({"replica": request.match_info["replica"]})

    async def engine_log(self, request: web.Request) -> web.Response:
        replica = request.match_info["replica"]
        lines = request.query.get("lines", "100")
        if not lines.isdecimal():
            return _error(400, f"lines is {lines!r}; expected a number.")
        if not self._supervisor.knows(replica):
            return _error(404, f"Replica {replica} has no log here.")
        return web.Response(text=self._supervisor.log(replica, int(lines)))

    async def dial_peers(self, request: web.Request) -> web.Response:
        """The agents to keep streams open to from now on, which then can ask this one though they can't dial it."""
        try:
            peers = [AgentAddress.from_json(peer) for peer in json.loads(await request.read())["peers"]]
            self._reverse.keep(peers)
        except (ValueError, TypeError, KeyError) as error:
            return _error(400, f"The peers can't be read: {error!r}.")
        except (KvTransferError, SpecError) as error:
            return _error(400, error.message)
        return web.json_response({"peers": len(peers)})

    async def shutdown(self, request: web.Request) -> web.Response:
        self._shut_down()
        return web.json_response({"instance": self._instance}, status=202)

    @web.middleware
    async def _authorise(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        call = resource.canonical if resource is not None else ""
        who = callers(peer_names(request.transport))
        if who & OPERATION:
            self._contact.renew()
        if who & ALLOWED.get(call, frozenset()):
            return await handler(request)
        log.warning("refused %s %s to %s", request.method, call or "an unknown call", ", ".join(who) or "a stranger")
        return _error(403, f"{request.method} {request.path} is not open to this certificate.")

    async def _health(self) -> AgentHealth:
        kv = self._relay.health
        return AgentHealth(
            instance=self._instance,
            version=self._version,
            engines=await self._supervisor.health(),
            pool_bytes=kv.pool_bytes,
            pool_used_bytes=kv.pool_used_bytes,
            tickets=kv.tickets,
            kv=kv.kv,
            links=kv.links,
        )


def callers(names: frozenset[str]) -> frozenset[Caller]:
    """Who the holder of a certificate with these names is."""
    known = {CONTROLLER_NAME: Caller.CONTROLLER, ROUTER_NAME: Caller.ROUTER}
    found = {known[name] for name in names if name in known}
    return frozenset(found | {Caller.AGENT for name in names if name.endswith(AGENT_SUFFIX)})


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)
