"""The agent's port over mutual TLS: who may call what, engines started and stopped, and requests passed through."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from planner.errors import Refused, SpecError
from runtime.agent.app import ALLOWED
from runtime.agent.config import AgentConfig
from runtime.agent.process import serve
from runtime.engine import CONNECTOR_SOCKET
from runtime.listening import bound_socket
from runtime.messages import CONTROLLER_NAME, ROUTER_NAME, AgentHealth, EngineSpec, agent_name
from runtime.processes import ProcessId, is_alive
from runtime.relay.door import AgentDoor
from runtime.relay.stream import HELLO_REVERSED
from runtime.relay.ticket import AgentAddress
from runtime.tls import client_context
from tests.runtime.supervising import session_of, spec_of, stub_command, wait_for
from thunderctl.keys.certificates import ensure_authority, issue

INSTANCE = "lease-1"
CALLERS = {
    "controller": CONTROLLER_NAME,
    "router": ROUTER_NAME,
    "agent": agent_name("lease-2"),
    "stranger": "x.thunder",
}


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment's certificates: the agent's and one for each caller."""
    folder = tmp_path_factory.mktemp("credentials")
    ensure_authority(folder / "ca")
    for name, dns in {"self": agent_name(INSTANCE), **CALLERS}.items():
        issue(folder / "ca", dns, folder / name)
    return folder


@dataclass
class Running:
    """An agent that serves, as callers with each kind of certificate see it."""

    folder: Path
    credentials: Path
    url: str
    http: aiohttp.ClientSession

    def call(self, method: str, path: str, *, who: str = "controller", **options):
        return self.http.request(
            method,
            self.url + path,
            ssl=client_context(self.credentials / who),
            server_hostname=agent_name(INSTANCE),
            **options,
        )

    async def status(self, method: str, path: str, *, who: str = "controller", **options) -> int:
        async with self.call(method, path, who=who, **options) as response:
            await response.read()
            return response.status

    async def health(self) -> AgentHealth:
        async with self.call("GET", "/health") as response:
            return AgentHealth.from_json(await response.json())

    async def start(self, spec: EngineSpec) -> int:
        return await self.status("POST", "/engines", json=spec.to_json())

    async def until_ready(self) -> int:
        """Wait for the only engine; its pid."""
        async with asyncio.timeout(10):
            while (engine := (await self.health()).engines[0]).state != "ready":
                await asyncio.sleep(0.02)
        assert engine.pid is not None
        return engine.pid


@asynccontextmanager
async def agent_in(folder: Path, credentials: Path) -> AsyncIterator[Running]:
    """Run an agent with stub engines in this process, and tell it to shut down at the end."""
    config = AgentConfig(INSTANCE, tls=str(credentials / "self"), pool_bytes=1 << 20, stop_grace_s=5.0, version="1.2.3")
    serving = asyncio.create_task(serve(config, folder, command=stub_command))
    record = folder / "run" / "agent.pid.json"
    async with asyncio.timeout(10):
        while not record.exists():
            assert not serving.done() or serving.result()
            await asyncio.sleep(0.01)
    said = json.loads(record.read_text())
    async with aiohttp.ClientSession() as http:
        running = Running(folder, credentials, f"https://127.0.0.1:{said['port']}", http)
        yield running
        assert await running.status("POST", "/shutdown") == 202
        await serving
        await asyncio.sleep(0)
    assert not record.exists()


@pytest.fixture
async def agent(tmp_path: Path, credentials: Path):
    async with agent_in(tmp_path, credentials) as running:
        yield running


async def test_it_says_who_it_is(agent: Running):
    said = json.loads((agent.folder / "run" / "agent.pid.json").read_text())
    assert is_alive(ProcessId(said["pid"], said["started_at"]))
    assert said["pid"] == os.getpid()
    health = await agent.health()
    assert (health.instance, health.version, health.engines) == (INSTANCE, "1.2.3", ())
    assert (health.pool_bytes, health.pool_used_bytes, health.tickets) == (1 << 20, 0, 0)


CALLS = {
    "/health": ("GET", "/health"),
    "/metrics": ("GET", "/metrics"),
    "/engines": ("POST", "/engines"),
    "/engines/{replica}": ("DELETE", "/engines/r9"),
    "/engines/{replica}/log": ("GET", "/engines/r9/log"),
    "/r/{replica}/{path}": ("GET", "/r/r9/health"),
    "/kv/drop": ("POST", "/kv/drop"),
    "/kv/peers": ("PUT", "/kv/peers"),
}


async def test_every_call_is_open_to_the_names_it_is_for_and_to_no_other(agent: Running):
    assert set(CALLS) | {"/shutdown"} == set(ALLOWED)
    for call, (method, path) in CALLS.items():
        for who in CALLERS:
            refused = await agent.status(method, path, who=who) == 403
            assert refused == (who not in ALLOWED[call]), (call, who)
    for who in ("router", "agent", "stranger"):
        assert await agent.status("POST", "/shutdown", who=who) == 403


async def test_unknown_calls_are_nobodys(agent: Running):
    assert await agent.status("GET", "/secrets") == 403
    assert await agent.status("DELETE", "/health") == 403


async def test_without_a_certificate_nothing_is_answered(agent: Running):
    with pytest.raises(aiohttp.ClientError):
        await agent.http.get(f"{agent.url}/health", ssl=False)


async def test_an_engine_through_the_port(agent: Running):
    spec = spec_of()
    assert await agent.start(spec) == 202
    assert await agent.start(spec) == 202
    pid = await agent.until_ready()
    assert [engine.spec for engine in (await agent.health()).engines] == [spec]
    assert await agent.start(spec_of()) == 409
    async with agent.call("GET", "/engines/r0/log?lines=5") as response:
        assert await response.text() == "serving"
    async with agent.call("GET", "/metrics") as response:
        assert 'thunder_engine_state{replica="r0",state="ready"} 1.0' in await response.text()
    assert await agent.status("DELETE", "/engines/r0") == 200
    assert await agent.status("DELETE", "/engines/r0") == 200
    assert session_of(pid) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "can't be read"),
        (b"[]", "can't be read"),
        (b'{"replica": "r0"}', "can't be read"),
    ],
)
async def test_a_specification_that_can_not_be_read_is_refused(agent: Running, body: bytes, message: str):
    async with agent.call("POST", "/engines", data=body) as response:
        assert response.status == 400
        assert message in (await response.json())["error"]["message"]


PEER = {"host": "127.0.0.1", "port": 1, "name": agent_name("lease-2")}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"peers": [PEER]}, 200),
        ({"peers": []}, 200),
        ({"peers": [{**PEER, "port": 0}]}, 400),
        ({"peers": [{**PEER, "name": ROUTER_NAME}]}, 400),
        ({"peers": ["lease-2"]}, 400),
        ([], 400),
        ({}, 400),
    ],
)
async def test_peers_that_can_not_be_dialled_are_refused(agent: Running, body: object, status: int):
    assert await agent.status("PUT", "/kv/peers", json=body) == status


async def test_the_peers_it_is_told_of_are_dialled(agent: Running):
    said: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.put_nowait(await reader.readexactly(len(HELLO_REVERSED)))
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1") as server, asyncio.timeout(5):
        peer = {**PEER, "port": server.sockets[0].getsockname()[1]}
        assert await agent.status("PUT", "/kv/peers", json={"peers": [peer]}) == 200
        assert await said.get() == HELLO_REVERSED


async def test_what_a_log_is_asked_for(agent: Running):
    assert await agent.status("GET", "/engines/r9/log?lines=5") == 404
    assert await agent.status("GET", "/engines/r9/log?lines=-5") == 400


async def test_requests_are_passed_to_the_engine_as_they_are(agent: Running):
    await agent.start(spec_of())
    await agent.until_ready()
    body = os.urandom(300_000)
    async with agent.call("POST", "/r/r0/v1/echo%2Fx?a=%20b", who="router", data=body) as response:
        assert response.status == 200
        assert response.headers["X-Path"] == "/v1/echo%2Fx?a=%20b"
        assert await response.read() == body


async def test_a_caller_that_goes_away_ends_the_engines_request(agent: Running):
    await agent.start(spec_of())
    await agent.until_ready()
    async with agent.call("POST", "/r/r0/endless", who="router", data=b"{}") as response:
        assert (await response.content.readexactly(4)) == b"tick"
        response.close()
    async with asyncio.timeout(5):
        while not (agent.folder / "run" / "caller-gone").exists():
            await asyncio.sleep(0.01)


async def exists(path: Path) -> None:
    async with asyncio.timeout(5):
        while not path.exists():
            await asyncio.sleep(0.01)


async def refuse(agent: Running, engine_request: str, replica: str = "r0") -> None:
    """What an engine's connector says when it wants to be rid of a request."""
    door = AgentDoor(str(agent.folder / CONNECTOR_SOCKET), owner="e", rank=None, replica=replica)
    await asyncio.to_thread(door.open)
    await asyncio.to_thread(door.call, "refuse", {"request": engine_request}, timeout_s=5)
    door.close()


@pytest.mark.parametrize("path", ["mute", "mute-stream"])
@pytest.mark.parametrize("name", ["cmpl-abc-0-0123abcd", "chatcmpl-abc-0123abcd", "1_cmpl-abc-0-0123abcd"])
async def test_what_an_engine_refuses_before_its_first_byte_is_for_another_replica(
    agent: Running, path: str, name: str
):
    await agent.start(spec_of())
    await agent.until_ready()
    headers = {"X-Request-Id": "abc"}
    asking = asyncio.create_task(agent.status("POST", f"/r/r0/{path}", who="router", data=b"{}", headers=headers))
    await exists(agent.folder / "run" / "asked")
    for other in ("cmpl-ab-0-0123abcd", "cmpl-abc-0-short", "abc"):
        await refuse(agent, other)
    await refuse(agent, name, replica="r1")
    assert not asking.done()
    await refuse(agent, name)
    await refuse(agent, name)
    assert await asking == 503
    await exists(agent.folder / "run" / "caller-gone")
    assert (await agent.health()).kv["engine_recompute_refused"] == 6


async def test_an_answer_that_has_begun_can_not_be_refused(agent: Running):
    await agent.start(spec_of())
    await agent.until_ready()
    headers = {"X-Request-Id": "abc"}
    async with agent.call("POST", "/r/r0/endless", who="router", data=b"{}", headers=headers) as response:
        await response.content.readexactly(4)
        await refuse(agent, "cmpl-abc-0-0123abcd")
        assert await response.content.readexactly(40) == (b"tick\n" * 9)[4:44]
        response.close()


async def test_an_engine_that_dies_in_the_middle_of_an_answer_never_looks_whole(agent: Running):
    await agent.start(spec_of())
    pid = await agent.until_ready()
    async with agent.call("POST", "/r/r0/endless", who="router", data=b"{}") as response:
        await response.content.readexactly(4)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_an_engine_that_can_not_be_reached_is_a_bad_gateway(agent: Running):
    assert await agent.status("POST", "/r/r9/v1/completions", who="router", data=b"{}") == 502
    await agent.start(spec_of(behaviour="slow"))
    assert await agent.status("POST", "/r/r0/v1/completions", who="router", data=b"{}") == 502


async def test_a_second_agent_of_the_same_folder_is_refused(agent: Running):
    with pytest.raises(Refused, match="runs already"):
        await serve(AgentConfig(INSTANCE, tls=str(agent.credentials / "self")), agent.folder)


async def test_a_port_in_use_is_named(tmp_path: Path, credentials: Path):
    with bound_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SpecError, match=f"Port {port} of 127.0.0.1 is in use"):
            await serve(AgentConfig(INSTANCE, tls=str(credentials / "self"), port=port), tmp_path)


async def test_an_agent_that_listens_everywhere_must_say_where_it_is_reached(tmp_path: Path, credentials: Path):
    with pytest.raises(SpecError, match="expected advertise_host"):
        await serve(AgentConfig(INSTANCE, tls=str(credentials / "self"), host="0.0.0.0"), tmp_path)


def test_the_configuration_is_read_and_its_mistakes_are_named(tmp_path: Path):
    path = tmp_path / "agent.json"
    peers = (AgentAddress("h", 1, agent_name("lease-2")),)
    config = AgentConfig(INSTANCE, deployment="d", port=7000, dialled=False, peers=peers)
    path.write_text(json.dumps(config.to_json()))
    assert AgentConfig.load(path) == config
    path.write_text('{"instance": "i", "prot": 1}')
    with pytest.raises(SpecError, match="has prot; expected"):
        AgentConfig.load(path)
    path.write_text('{"instance": "i", "peers": [{"host": "h"}]}')
    with pytest.raises(SpecError, match="address"):
        AgentConfig.load(path)
    path.write_text('{"deployment": "d"}')
    with pytest.raises(SpecError, match="instance"):
        AgentConfig.load(path)
    with pytest.raises(SpecError, match=r"none\.json"):
        AgentConfig.load(tmp_path / "none.json")


def test_the_process_as_up_starts_it(tmp_path: Path, credentials: Path):
    """`python -P -m runtime.agent agent.json` in the instance's folder; SIGTERM ends it."""
    config = AgentConfig(INSTANCE, tls=str(credentials / "self"))
    (tmp_path / "agent.json").write_text(json.dumps(config.to_json()))
    argv = [sys.executable, "-P", "-m", "runtime.agent", "agent.json"]
    process = subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    try:
        wait_for(lambda: (tmp_path / "run" / "agent.pid.json").exists() or process.poll() is not None)
        assert json.loads((tmp_path / "run" / "agent.pid.json").read_text())["pid"] == process.pid
        again = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
        assert (again.returncode, "runs already" in again.stderr) == (Refused.exit_code, True)
        process.terminate()
        _, said = process.communicate(timeout=10)
        assert process.returncode == 0, said.decode()
    finally:
        process.kill()
        process.communicate()


def test_it_imports_nothing_that_a_rented_host_does_not_have():
    code = """
import sys
sys.modules.update(dict.fromkeys(["thunderctl", "provisioners", "typer", "rich", "pydantic", "cvxpy", "cryptography"]))
import runtime.agent.__main__
print(*sorted(name for name in sys.modules if name.startswith("runtime.router")))
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_it_may_open_as_many_files_as_its_host_allows():
    code = """
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from runtime.open_files import raise_file_limit
setrlimit(RLIMIT_NOFILE, (256, getrlimit(RLIMIT_NOFILE)[1]))
raise_file_limit()
soft, hard = getrlimit(RLIMIT_NOFILE)
print(soft == hard)
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "True", done.stderr
