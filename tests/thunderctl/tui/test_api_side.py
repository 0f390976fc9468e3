"""The screen over a controller elsewhere: what it asks of the API, which is a real server here."""

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from planner.errors import Refused, SpecError, ThunderError
from tests.thunderctl.tui import worlds
from thunderctl.api.client import Api
from thunderctl.secrets import Secret
from thunderctl.tui.api_side import ApiFeed, ApiHands
from thunderctl.tui.decision import Wish


class Controller:
    """Answers as one does, and notes what it is asked. `jobs` are how a change stands, one look after the other."""

    def __init__(self, *jobs):
        self.jobs = list(jobs)
        self.asked = []

    def app(self):
        made = web.Application()
        changes = [web.post(f"/api/v1/{name}", self.rebalance) for name in ("rebalance", "undrain")]
        made.add_routes([web.get("/{path:.*}", self.read), *changes])
        return made

    async def read(self, request):
        self.asked.append(request.path_qs)
        assert request.headers["Authorization"] == "Bearer secret"
        if request.path.startswith("/api/v1/jobs/"):
            return web.json_response(self.jobs.pop(0))
        return web.json_response(
            {
                "/api/v1/status": worlds.serving(),
                "/api/v1/events": {"events": worlds.events()},
                "/api/v1/series": {"points": worlds.series()},
            }[request.path]
        )

    async def rebalance(self, request):
        body = await request.json()
        self.asked.append(body)
        if body["dry_run"]:
            return web.json_response(worlds.decided())
        return web.json_response(self.jobs.pop(0), status=202)


def job(state, code=None, result=None):
    return {"id": "j1", "state": state, "exit_code": code, "result": result, "said": "it said so"}


@pytest.fixture
async def started():
    servers = []

    async def start(*jobs):
        controller = Controller(*jobs)
        server = TestServer(controller.app())
        await server.start_server()
        servers.append(server)
        return controller, Api(str(server.make_url("")).rstrip("/"), Secret("secret"))

    yield start
    for server in servers:
        await server.close()


async def test_it_is_fed_by_the_documents_of_the_api(started):
    controller, api = await started()
    feed = ApiFeed(api)
    assert await feed.status() == json.loads(json.dumps(worlds.serving()))
    assert len(await feed.events()) == len(worlds.events())
    assert (await feed.series(900.0))[0]["at"] == worlds.series()[0]["at"]
    assert controller.asked == ["/api/v1/status", "/api/v1/events?limit=200", "/api/v1/series?seconds=900.0"]


async def test_a_rebalance_is_previewed_there_and_followed_to_its_end(started):
    controller, api = await started(job("running"), job("running"), job("done", 0, worlds.decided(epoch=8)))
    hands = ApiHands(api)
    assert (await hands.decide("coding", Wish(("r0",)), dry_run=True))["epoch"] == 7
    assert (await hands.decide("observed", Wish(), dry_run=False))["epoch"] == 8
    bodies = [one for one in controller.asked if isinstance(one, dict)]
    assert bodies[0] == {"workload": "coding", "without": ["r0"], "dry_run": True}
    assert bodies[1] == {"workload": "observed", "without": [], "dry_run": False}


async def test_what_was_drained_is_taken_back_there(started):
    controller, api = await started(job("done", 0, worlds.decided(epoch=8)))
    assert (await ApiHands(api).decide("observed", Wish(back="i2"), dry_run=False))["epoch"] == 8
    assert controller.asked == [{"instance": "i2", "workload": "observed", "dry_run": False}]


async def test_one_that_fails_there_is_raised_as_what_it_is(started):
    said = {"error": {"kind": "Refused", "message": "r1 is not ready", "hint": "thunderctl up"}}
    _, api = await started(job("failed", 4, said))
    with pytest.raises(Refused, match="r1 is not ready"):
        await ApiHands(api).decide("observed", Wish(), dry_run=False)
    _, api = await started(job("failed", 1))
    with pytest.raises(ThunderError, match="it said so"):
        await ApiHands(api).decide("observed", Wish(), dry_run=False)


async def test_logs_are_said_to_be_there(started):
    _, api = await started()
    with pytest.raises(SpecError) as told:
        await ApiHands(api).follow(("r0",), lambda *_: None, lambda _: None)
    assert told.value.hint == "There: thunderctl logs r0 -f"
