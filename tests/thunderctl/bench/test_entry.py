"""The way in: who is there, and who is shown a key."""

import pytest
from aiohttp import web

from planner.errors import HostError, SpecError
from thunderctl.bench.entry import enter
from thunderctl.secrets import Secret


@pytest.fixture
async def endpoint():
    """An endpoint that takes these keys (none: everybody), and what it was shown."""
    runners, shown = [], []

    async def start(*keys, body=None, content_type="application/json"):
        async def models(request):
            shown.append(request.headers.get("Authorization", ""))
            if keys and shown[-1].removeprefix("Bearer ") not in keys:
                return web.json_response({"error": {"message": "no"}}, status=401)
            said = body if body is not None else '{"data": [{"id": "tiny"}]}'
            return web.Response(text=said, content_type=content_type)

        app = web.Application()
        app.router.add_get("/v1/models", models)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/v1", shown

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_a_key_is_shown_to_nobody_who_does_not_ask_for_one(endpoint):
    url, shown = await endpoint()
    door, model = await enter(url, Secret("sk-somebody-elses"))
    assert (model, bool(door.api_key), shown) == ("tiny", False, [""])


async def test_a_key_is_used_where_one_is_asked_for(endpoint):
    url, shown = await endpoint("sk-1")
    door, model = await enter(url, Secret("sk-1"))
    assert (model, door.api_key.reveal(), shown) == ("tiny", "sk-1", ["", "Bearer sk-1"])


@pytest.mark.parametrize(("key", "said"), [("", "none was given"), ("sk-2", "does not take the key")])
async def test_no_key_or_a_wrong_one_is_said_with_how_to_make_one(endpoint, key, said):
    url, _ = await endpoint("sk-1")
    with pytest.raises(SpecError, match=said) as raised:
        await enter(url, Secret(key))
    assert "keys create" in raised.value.hint


@pytest.mark.parametrize(
    ("body", "content_type"), [("hello", "text/plain"), ("{}", "application/json"), ("[", "application/json")]
)
async def test_who_is_no_endpoint_is_said(endpoint, body, content_type):
    url, _ = await endpoint(body=body, content_type=content_type)
    with pytest.raises(HostError, match=r"and no model|can't be reached"):
        await enter(url, Secret(""))


async def test_nobody_there_is_said(unused_tcp_port):
    with pytest.raises(HostError, match="can't be reached"):
        await enter(f"http://127.0.0.1:{unused_tcp_port}/v1", Secret(""))
