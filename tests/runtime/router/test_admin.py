"""Epochs: pushed, read again, kept by the requests that arrived in them; and the router as a process."""

import asyncio
import json
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from planner.errors import Refused, SpecError
from runtime.listening import bound_socket, parse_listen
from runtime.messages import ROUTER_NAME, agent_name
from runtime.processes import ProcessId, is_alive
from runtime.router.access.exposure import ClientTls, check_exposure
from runtime.router.app import create_app, open_routes
from runtime.router.serving import serving as serving_router
from runtime.router.settings import RouterSettings
from runtime.tls import client_context, server_context
from tests.fakes import FakeEngine, serving
from tests.runtime.router.processes import router_process
from tests.runtime.routing import PAIR, TOKEN, Running, routes_document, routing, soon
from tests.runtime.supervising import wait_for
from thunderctl.keys.certificates import ensure_authority, issue


@pytest.fixture
async def engines():
    engines = {"p0": FakeEngine("p0"), "d0": FakeEngine("d0"), "d1": FakeEngine("d1")}
    async with serving(*engines.values()):
        yield engines


async def test_a_pushed_epoch_is_obeyed_at_once_and_written_down(engines, tmp_path: Path):
    async with routing(tmp_path, routes_document(engines, PAIR)) as router:
        later = routes_document(engines, [("p0", "d1", 1.0, "raw")], epoch=2)
        assert await router.put(later) == (200, {"epoch": 2})
        await router.post(prompt="hi")
        assert len(engines["d1"].seen) == 1
        assert json.loads(router.path.read_text())["epoch"] == 2
        assert (await router.observed())["epoch"] == 2


async def test_of_replicas_that_are_gone_the_metrics_say_nothing(engines, tmp_path: Path):
    async def gauged(router: Running) -> set[str]:
        async with router.http.get(f"{router.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        gauges = ("thunder_replica_up{", "thunder_in_flight{", "thunder_requests_beyond{")
        return {line.split('"')[1] for line in lines if line.startswith(gauges)}

    async with routing(tmp_path, routes_document(engines, PAIR)) as router:
        assert await gauged(router) == {"p0", "d0", "d1"}
        left = {name: engines[name] for name in ("p0", "d1")}
        await router.put(routes_document(left, [("p0", "d1", 1.0, "raw")], epoch=2))
        assert await gauged(router) == {"p0", "d1"}


async def test_an_epoch_that_is_over_is_refused(engines, tmp_path: Path):
    async with routing(tmp_path, routes_document(engines, PAIR, epoch=7)) as router:
        status, answer = await router.put(routes_document(engines, PAIR, epoch=6))
        assert (status, answer["error"]["code"]) == (409, "epoch_is_over")
        assert (await router.put(routes_document(engines, PAIR, epoch=7)))[0] == 200
        assert json.loads(router.path.read_text())["epoch"] == 7


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "not a JSON object"),
        ({"schema": "thunder.routes/v2"}, "expected 'thunder.routes/v1'"),
        ({"schema": "thunder.routes/v1", "epoch": 2, "model": "m", "replicas": []}, "lack the key 'routes'"),
    ],
)
async def test_routes_that_can_not_be_read_change_nothing(engines, tmp_path: Path, document, message: str):
    async with routing(tmp_path, routes_document(engines, PAIR)) as router:
        status, answer = await router.put(document)
        assert status == 400
        assert message in answer["error"]["message"]
        assert json.loads(router.path.read_text())["epoch"] == 1


async def test_a_replica_with_a_name_for_tls_and_an_address_without_it_is_refused(engines, tmp_path: Path):
    """Its requests would go over TLS and its probes in the clear: it would always be out."""
    document = routes_document(engines, PAIR, epoch=2)
    document["replicas"][0] |= {"server_name": "x.agent.thunder", "url": "http://127.0.0.1:1"}
    async with routing(tmp_path, routes_document(engines, PAIR)) as router:
        status, answer = await router.put(document)
    assert (status, "expected https://HOST:PORT, as with server_name" in answer["error"]["message"]) == (400, True)


async def test_routes_over_tls_need_credentials(engines, tmp_path: Path):
    document = routes_document(engines, PAIR, epoch=2)
    document["replicas"][0] |= {"server_name": "x.agent.thunder", "url": "https://127.0.0.1:1"}
    async with routing(tmp_path, routes_document(engines, PAIR)) as router:
        status, answer = await router.put(document)
    assert (status, "has no credentials" in answer["error"]["message"]) == (400, True)


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", "é"])
async def test_administration_needs_the_token(engines, tmp_path: Path, token: str):
    async with routing(tmp_path, routes_document(engines, PAIR)) as router:
        assert (await router.put(routes_document(engines, PAIR, epoch=2), token))[0] == 401
        async with router.http.get(f"{router.url}/admin/observed") as response:
            assert response.status == 401


async def test_a_router_that_is_closed_finishes_what_it_has_and_lets_nobody_in_until_it_has_other_routes(
    engines, tmp_path: Path
):
    engines["p0"].hang = True
    async with routing(tmp_path, routes_document(engines, PAIR)) as router:
        completions, body = f"{router.url}/v1/completions", {"model": "tiny", "prompt": "hi", "max_tokens": 4}
        asking = asyncio.create_task(router.http.post(completions, json=body))
        await soon(engines["p0"].arrived)
        assert not (await router.observed())["closed"]
        for token, status in (("wrong", 401), (TOKEN, 200)):
            headers = {"Authorization": f"Bearer {token}"}
            async with router.http.put(f"{router.url}/admin/closed", headers=headers) as response:
                assert response.status == status
        seen = await router.observed()
        assert (seen["closed"], seen["in_flight"]) == (True, {"1": 1})
        async with router.http.post(completions, json=body) as refused:
            assert (refused.status, "Retry-After" in refused.headers) == (503, True)
        engines["p0"].released.set()
        assert (await asking).status == 200
        engines["p0"].hang = False
        await router.put(routes_document(engines, PAIR, epoch=2))
        async with router.http.post(completions, json=body) as answered:
            assert answered.status == 200


async def test_a_request_keeps_the_epoch_it_arrived_in(engines, tmp_path: Path):
    """Row 20: the flip happens between its two legs."""
    engines["p0"].hang = True
    async with routing(tmp_path, routes_document(engines, PAIR)) as router:
        asking = asyncio.create_task(router.post(prompt="hi"))
        await soon(engines["p0"].arrived)
        await router.put(routes_document(engines, [("p0", "d1", 1.0, "int4")], epoch=2))
        assert (await router.observed())["in_flight"] == {"1": 1, "2": 0}
        engines["p0"].released.set()
        await asking
        assert (await router.observed())["in_flight"] == {"2": 0}
    assert (len(engines["d0"].seen), len(engines["d1"].seen)) == (1, 0)


async def test_a_dropped_ticket_reaches_the_prefill_agent_over_tls(tmp_path: Path):
    """The client goes while decode works: the agent before the prefill engine hears of it, by the ticket."""
    ensure_authority(tmp_path / "ca")
    for name, dns in {"agent": agent_name("l1"), "router": ROUTER_NAME}.items():
        issue(tmp_path / "ca", dns, tmp_path / name)
    prefill, decode = FakeEngine("p"), FakeEngine("d", hang=True)
    async with serving(prefill, prefix="/r/p0", ssl_context=server_context(tmp_path / "agent")), serving(decode):
        document = routes_document({"p0": prefill, "d0": decode}, PAIR)
        document["replicas"][0]["server_name"] = agent_name("l1")
        async with routing(tmp_path, document, tls=client_context(tmp_path / "router")) as router:
            asking = asyncio.create_task(router.post(prompt="hi"))
            await soon(decode.arrived)
            asking.cancel()
            await soon(decode.cancelled)
            await soon(prefill.released)
    assert prefill.dropped == [{"do_remote_prefill": True, "ticket": "p-1", "capability": "c"}]


async def test_an_agent_of_another_name_is_never_sent_a_prompt(tmp_path: Path):
    ensure_authority(tmp_path / "ca")
    for name, dns in {"agent": agent_name("l1"), "router": ROUTER_NAME}.items():
        issue(tmp_path / "ca", dns, tmp_path / name)
    prefill, decode = FakeEngine("p"), FakeEngine("d")
    async with serving(prefill, prefix="/r/p0", ssl_context=server_context(tmp_path / "agent")), serving(decode):
        document = routes_document({"p0": prefill, "d0": decode}, PAIR)
        document["replicas"][0]["server_name"] = agent_name("l2")
        async with routing(tmp_path, document, tls=client_context(tmp_path / "router")) as router:
            assert (await router.post(prompt="hi"))[0] == 200  # decode prefilled by itself
    assert (prefill.seen, len(decode.seen)) == ([], 1)


def test_a_table_goes_on_with_the_last_plan(tmp_path: Path):
    fake = FakeEngine(url="http://127.0.0.1:1")
    path = tmp_path / "routes.json"
    path.write_text(json.dumps(routes_document({"m0": fake}, [("m0", "m0", 1, "local")])))
    table = open_routes(path, tls=None)
    table.replace(routes_document({"m0": fake}, [("m0", "m0", 1, "local")], epoch=5))
    assert open_routes(path, tls=None).current.number == 5
    path.write_text(json.dumps(routes_document({"m0": fake}, [("m0", "m0", 1, "local")], epoch=4)))
    with pytest.raises(Refused):
        table.reload()
    assert table.current.number == 5


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "x"}'])
def test_a_routes_file_that_can_not_be_read_is_named(tmp_path: Path, text: str):
    path = tmp_path / "routes.json"
    path.write_text(text)
    with pytest.raises(SpecError):
        open_routes(path, tls=None)
    with pytest.raises(SpecError, match=r"none\.json"):
        open_routes(tmp_path / "none.json", tls=None)


@pytest.mark.parametrize("listen", ["8000", ":8000", "host:", "host:x", "host:99999"])
def test_a_listening_address_that_is_none_is_refused(listen: str):
    with pytest.raises(SpecError, match="expected HOST:PORT"):
        parse_listen(listen)


def test_listening_addresses():
    assert parse_listen("127.0.0.1:8000") == ("127.0.0.1", 8000)
    assert parse_listen("[::1]:0") == ("::1", 0)


async def test_told_to_stop_it_finishes_what_it_has_and_refuses_the_rest(tmp_path: Path):
    """Health goes first, for whoever balances the load between several; the stream under way never notices."""
    engine, state_path = FakeEngine("m", drip=True), tmp_path / "router.json"
    async with serving(engine), aiohttp.ClientSession() as http:
        document = routes_document({"m0": engine}, [("m0", "m0", 1, "local")])
        (tmp_path / "routes.json").write_text(json.dumps(document))
        with router_process(tmp_path) as process:
            await asyncio.to_thread(wait_for, state_path.exists)
            state = json.loads(state_path.read_text())
            url = f"http://{state['host']}:{state['port']}"
            body = {"prompt": "hi", "stream": True, "max_tokens": 3}
            async with http.post(f"{url}/v1/completions", json=body) as stream:
                await stream.content.readuntil(b"\n\n")
                process.terminate()
                async with asyncio.timeout(10):
                    while (health := await answer_of(http.get(f"{url}/health")))[0] == 200:
                        await asyncio.sleep(0.01)
                assert (health[0], health[1]["status"]) == (503, "stopping")
                async with http.post(f"{url}/v1/completions", json=body) as refused:
                    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
                engine.released.set()
                assert (await stream.read()).endswith(b"data: [DONE]\n\n")
            assert await asyncio.to_thread(process.wait, 10) == 0


async def test_routes_that_come_while_it_stops_let_nobody_in_again(tmp_path: Path):
    engine, route = FakeEngine("m", hang=True), [("m0", "m0", 1.0, "local")]
    async with serving(engine), aiohttp.ClientSession() as http:
        (tmp_path / "routes.json").write_text(json.dumps(routes_document({"m0": engine}, route)))
        app = create_app(open_routes(tmp_path / "routes.json", tls=None), admin_token=TOKEN, probing=False)
        bound, stop = bound_socket("127.0.0.1", 0), asyncio.Event()
        router = Running(f"http://127.0.0.1:{bound.getsockname()[1]}", http, tmp_path / "routes.json")

        async def serve() -> None:
            async with serving_router(app, bound, last_bytes_s=0.1):
                await stop.wait()

        process = asyncio.create_task(serve())
        first = asyncio.create_task(router.post(prompt="hi"))
        await soon(engine.arrived)
        stop.set()
        while not (await router.observed())["closed"]:
            await asyncio.sleep(0)
        assert (await router.put(routes_document({"m0": engine}, route, epoch=2)))[0] == 200
        assert (await router.observed())["closed"]
        assert (await router.post(prompt="hi"))[0] == 503
        engine.released.set()
        assert (await first)[0] == 200
        await process


async def test_told_twice_to_stop_it_ends_what_it_has_with_an_error(tmp_path: Path):
    engine, state_path = FakeEngine("m", drip=True), tmp_path / "router.json"
    async with serving(engine), aiohttp.ClientSession() as http:
        document = routes_document({"m0": engine}, [("m0", "m0", 1, "local")])
        (tmp_path / "routes.json").write_text(json.dumps(document))
        with router_process(tmp_path) as process:
            await asyncio.to_thread(wait_for, state_path.exists)
            state = json.loads(state_path.read_text())
            url = f"http://{state['host']}:{state['port']}"
            assert state["stop_grace_s"] == RouterSettings().stop_grace_s
            async with http.post(f"{url}/v1/completions", json={"prompt": "hi", "stream": True}) as stream:
                await stream.content.readuntil(b"\n\n")
                process.terminate()
                async with asyncio.timeout(10):
                    while (await answer_of(http.get(f"{url}/health")))[0] == 200:
                        await asyncio.sleep(0.01)
                process.terminate()
                async with asyncio.timeout(10):
                    assert b"error" in (await stream.read()).splitlines()[-2]
            assert await asyncio.to_thread(process.wait, 10) == 0
            engine.released.set()


async def test_a_replica_is_waited_for_until_it_has_no_requests(tmp_path: Path):
    engine, route = FakeEngine("m", hang=True), [("m0", "m0", 1, "local")]
    async with serving(engine), routing(tmp_path, routes_document({"m0": engine}, route)) as router:
        asking = asyncio.create_task(router.post(prompt="hi"))
        await soon(engine.arrived)
        assert await drained(router, "m0", wait_s=0) == (200, {"replica": "m0", "in_flight": 1})
        told = asyncio.create_task(drained(router, "m0"))
        await asyncio.sleep(0)
        assert not told.done()
        engine.released.set()
        assert (await asking)[0] == 200
        assert await told == (200, {"replica": "m0", "in_flight": 0})
        assert await drained(router, "gone") == (200, {"replica": "gone", "in_flight": 0})
        assert (await drained(router, "m0", wait_s="soon"))[0] == 400
        assert (await drained(router, "m0", token="guess"))[0] == 401


async def drained(router, replica: str, *, token: str = TOKEN, **params: object):
    headers, params = {"Authorization": f"Bearer {token}"}, {"replica": replica, **params}
    return await answer_of(router.http.get(f"{router.url}/admin/drained", params=params, headers=headers))


async def answer_of(asking) -> tuple[int, dict[str, object]]:
    async with asking as response:
        return response.status, await response.json()


async def epoch_at(state: dict[str, object]) -> int:
    async with aiohttp.ClientSession() as http, http.get(f"http://{state['host']}:{state['port']}/health") as response:
        return int((await response.json())["epoch"])


async def test_the_process_reads_its_file_on_a_hangup_and_ends_when_told(tmp_path: Path):
    fake = FakeEngine(url="http://127.0.0.1:1")
    path, state_path = tmp_path / "routes.json", tmp_path / "router.json"
    path.write_text(json.dumps(routes_document({"m0": fake}, [("m0", "m0", 1, "local")], epoch=1)))
    with router_process(tmp_path) as process:
        wait_for(lambda: state_path.exists() or process.poll() is not None)
        state = json.loads(state_path.read_text())
        assert is_alive(ProcessId(state["pid"], state["started_at"]))
        assert await epoch_at(state) == 1
        path.write_text(json.dumps(routes_document({"m0": fake}, [("m0", "m0", 1, "local")], epoch=2)))
        os.kill(process.pid, signal.SIGHUP)
        async with asyncio.timeout(10):
            while await epoch_at(state) != 2:
                await asyncio.sleep(0.01)
        path.write_text("{")
        os.kill(process.pid, signal.SIGHUP)  # a broken file changes nothing
        assert await epoch_at(state) == 2
        process.terminate()
        assert process.wait(10) == 0
        assert not state_path.exists()


def test_a_port_in_use_and_an_open_address_are_refused_before_anything_runs(tmp_path: Path):
    fake = FakeEngine(url="http://127.0.0.1:1")
    (tmp_path / "routes.json").write_text(json.dumps(routes_document({"m0": fake}, [("m0", "m0", 1, "local")])))
    with bound_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with router_process(tmp_path, f"127.0.0.1:{port}") as process:
            said, _ = process.communicate(timeout=20)
    assert (process.returncode, said.strip()) == (2, f"Port {port} of 127.0.0.1 is in use.")
    with router_process(tmp_path, "0.0.0.0:0") as process:
        said, _ = process.communicate(timeout=20)
    assert (process.returncode, "expected a loopback address, or client keys" in said) == (2, True)


def test_another_address_needs_keys_and_a_certificate(tmp_path: Path):
    ensure_authority(tmp_path / "ca")
    issue(tmp_path / "ca", "thunder.example", tmp_path / "shown")
    shown = ClientTls(tmp_path / "shown" / "tls.crt", tmp_path / "shown" / "tls.key")
    check_exposure("127.0.0.1", has_keys=False, client_tls=None)
    with pytest.raises(SpecError, match="open to anyone") as refused:
        check_exposure("0.0.0.0", has_keys=False, client_tls=shown)
    assert "thunderctl keys create" in refused.value.hint
    with pytest.raises(SpecError, match="in the clear") as refused:
        check_exposure("0.0.0.0", has_keys=True, client_tls=None)
    assert "tls_cert" in refused.value.hint
    check_exposure("0.0.0.0", has_keys=True, client_tls=shown)
    with pytest.raises(SpecError, match="can't be loaded"):
        ClientTls(tmp_path / "shown" / "tls.crt", tmp_path / "ca" / "ca.key").context()
