"""Who may read, and who may change: by token, by session, by where the request comes from; and what is written down."""

import itertools

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from tests.thunderctl.api.serving import BEARER, TOKEN, served
from thunderctl.api.audit import REFUSED_EVERY_S
from thunderctl.api.auth import SESSION_S, Auth, cookie_of, deployment_token
from thunderctl.api.guard import AUDIT, AUTH, session_cookie
from thunderctl.api.handlers import public
from thunderctl.secrets import Secret

READS = ("/api/v1/status", "/api/v1/events", "/api/v1/live", "/metrics")
CHANGES = ("/api/v1/rebalance", "/api/v1/drain", "/api/v1/up", "/api/v1/down")


@pytest.fixture
async def api(tmp_path):
    async with served(tmp_path) as made:
        yield made


@pytest.fixture
async def exposed(tmp_path):
    """As off loopback: everybody could come."""
    async with served(tmp_path, is_open=False) as made:
        yield made


@pytest.mark.parametrize("path", CHANGES)
async def test_no_change_is_made_without_the_token(api, path):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": ""}):
        said = await api.post(path, {}, 401, headers)
        assert "token" in said["error"]["message"]
    assert TOKEN not in str(api.source.told)


async def test_on_loopback_reading_needs_no_token_but_a_wrong_one_is_refused(api):
    await api.get("/api/v1/status")
    await api.get("/api/v1/status", headers=BEARER)
    await api.get("/api/v1/status", 401, headers={"Authorization": "Bearer wrong"})


@pytest.mark.parametrize("path", READS)
async def test_off_loopback_reading_needs_the_token_too(exposed, path):
    assert (await exposed.get(path, 401))["error"]["kind"] == "Unauthorized"
    async with exposed.http.get(exposed.url + path, headers=BEARER) as response:
        assert response.status == 200


async def test_who_looks_at_a_page_off_loopback_is_sent_to_sign_in(exposed):
    async with exposed.http.get(f"{exposed.url}/", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/login")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8100", "127.0.0.1.evil.example", "10.0.0.1", ""])
async def test_a_name_that_was_made_to_mean_loopback_reads_nothing(api, host):
    async with api.http.get(f"{api.url}/api/v1/status", headers={"Host": host}) as response:
        assert response.status in (400, 403)


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1:2", "[::1]:3", "127.9.9.9"])
async def test_loopback_may_be_called_as_it_likes_and_reached_through_a_tunnel(api, host):
    await api.get("/api/v1/status", headers={"Host": host})


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
async def test_a_page_of_another_origin_is_refused_whatever_it_bears(api, origin):
    said = await api.post("/api/v1/down", {}, 403, {**BEARER, "Origin": origin})
    assert origin in said["error"]["message"]
    await api.get("/api/v1/status", 403, headers={"Origin": origin})


async def test_no_page_of_another_origin_is_told_that_it_may_ask(api):
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with api.http.options(f"{api.url}/api/v1/down", headers=asked) as response:
        assert response.status == 403
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


async def test_a_session_may_change_from_a_page_of_this_server_alone(api):
    word = api.app[AUTH].open_session().reveal()
    cookie = {"Cookie": f"{cookie_of(URL(api.url).port)}={word}"}
    await api.post("/api/v1/drain", {}, 403, cookie)
    await api.post("/api/v1/drain", {}, 403, {**cookie, "Origin": "https://evil.example"})
    await api.post("/api/v1/drain", {}, 400, {**cookie, "Origin": api.url})
    api.app[AUTH].close_session(word)
    await api.post("/api/v1/drain", {}, 401, {**cookie, "Origin": api.url})


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1:8100", "thunder_session_8100"),
        ("[::1]:9000", "thunder_session_9000"),
        ("localhost", "thunder_session"),
        ("localhost:x", "thunder_session"),
        ("localhost:99999", "thunder_session"),
    ],
)
def test_a_session_is_named_by_the_port_that_the_browser_calls(host, name):
    assert session_cookie(make_mocked_request("GET", "/", headers={"Host": host})) == name


def test_sessions_end_and_are_not_many():
    at = 0.0
    auth = Auth(Secret(TOKEN), now=lambda: at)
    words = [auth.open_session().reveal() for _ in range(150)]
    assert sum(map(auth.is_session, words)) == 100
    assert auth.is_session(words[-1])
    at = SESSION_S + 1
    assert not auth.is_session(words[-1])
    assert not auth.is_session("")


async def test_a_page_may_be_for_everybody(tmp_path):
    @public
    async def hello(_):
        return web.Response(text="sign in here")

    mount = [web.get("/login", hello), web.post("/login", hello)]
    async with served(tmp_path, is_open=False, mounts=(lambda app: app.add_routes(mount),)) as api:
        async with api.http.get(f"{api.url}/login") as response:
            assert response.status == 200
        async with api.http.post(f"{api.url}/login") as response:
            assert response.status == 200


async def test_refused_attempts_are_written_down_but_fill_no_store(api):
    at = itertools.count(0.0, 0.001)
    api.app[AUDIT].now = lambda: next(at)
    for _ in range(200):
        await api.post("/api/v1/down", {}, 401, {"Authorization": "Bearer guess"})
    assert len(api.source.told) == 1
    assert "POST /api/v1/down refused" in api.source.told[0]["message"]
    api.app[AUDIT].now = lambda: REFUSED_EVERY_S + 1
    await api.post("/api/v1/down", {}, 401, {})
    assert "(199 more were refused before it)" in api.source.told[1]["message"]
    async with api.http.get(f"{api.url}/metrics") as response:
        assert 'thunder_audits_total{action="any",outcome="refused"} 201.0' in await response.text()


async def test_who_is_refused_hears_no_less_where_the_store_is_down(api):
    api.source.down = "its disk is full"
    await api.post("/api/v1/down", {}, 401, {})


def test_the_token_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    token = deployment_token(tmp_path / "controller")
    path = tmp_path / "controller" / "api.token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(token.reveal()) >= 32
    assert deployment_token(tmp_path / "controller") == token
    path.write_text("\n")
    assert len(deployment_token(tmp_path / "controller").reveal()) >= 32, "else a bearer of nothing might do all"
    assert token.reveal() not in f"{token} {token!r}"
