"""One real vLLM engine (CPU) below a real agent process, answering through a real router process over mutual TLS."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import openai
import psutil
import pytest

from planner.deployment import Codec, Phase
from planner.memory import gpu_kv_bytes_per_token
from planner.models import llm_from_config
from runtime.agent.config import AgentConfig
from runtime.files import write_json
from runtime.messages import (
    CONTROLLER_NAME,
    ROUTER_NAME,
    AgentHealth,
    EngineHealth,
    EngineSpec,
    ReplicaAddress,
    Routes,
    RouteShare,
    agent_name,
)
from runtime.tls import client_context
from tests.engine.cache_size import BLOCK_TOKENS, kv_tokens
from tests.engine.processes import ended
from thunderctl.keys.certificates import ensure_authority, issue

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ENGINE_PYTHON = Path(os.environ.get("THUNDER_ENGINE_PYTHON", ROOT / ".venv-engine" / "bin" / "python"))
MODEL = ROOT / "examples" / "tiny-llama"
KV_TOKENS = 16_384
LLM = llm_from_config(json.loads((MODEL / "config.json").read_text()), "tiny")
SPEC = EngineSpec(
    replica="m0",
    model=str(MODEL),
    served_name="tiny-llama",
    dtype="float16",
    max_model_len=1024,
    kv_cache_bytes=int(KV_TOKENS * gpu_kv_bytes_per_token(LLM, 1, LLM.layers)),
    device="cpu",
)
ROUTER = """
import sys
from pathlib import Path
from runtime.router.process import run_router
run_router(Path("routes.json"), "127.0.0.1:0", tls_folder=Path("router"), state_path=Path("router.json"))
"""


@contextmanager
def running(argv: list[str], folder: Path, log: str):
    """A process of ours, ended with everything in its session."""
    with (folder / log).open("wb") as output:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    with ended(process):
        yield process


async def state_of(path: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, object]:
    """What a process says of itself once it listens."""
    async with asyncio.timeout(60):
        while not path.exists():
            assert process.poll() is None, log.read_text()
            await asyncio.sleep(0.1)
    found: dict[str, object] = json.loads(path.read_text())
    return found


class Controller:
    """The operator's side of one agent."""

    def __init__(self, http: aiohttp.ClientSession, url: str, credentials: Path) -> None:
        self._http = http
        self.url = url
        self._tls = client_context(credentials)

    async def call(self, method: str, path: str, **options: object) -> str:
        async with self._http.request(
            method, self.url + path, ssl=self._tls, server_hostname=agent_name("lease-1"), **options
        ) as response:
            assert response.status < 300, await response.text()
            return await response.text()

    async def engine(self) -> EngineHealth | None:
        health = AgentHealth.from_json(json.loads(await self.call("GET", "/health")))
        return health.engines[0] if health.engines else None

    async def until(self, state: str) -> EngineHealth:
        while (engine := await self.engine()) is None or engine.state != state:
            assert engine is None or engine.state != "failed" or state == "failed", engine.detail
            await asyncio.sleep(0.2)
        return engine


def deployment(folder: Path) -> Path:
    """Certificates for everyone, and an instance's folder below `folder`."""
    instance = folder / "i"
    instance.mkdir()
    ensure_authority(folder / "ca")
    issue(folder / "ca", agent_name("lease-1"), instance / "tls")
    issue(folder / "ca", ROUTER_NAME, folder / "router")
    issue(folder / "ca", CONTROLLER_NAME, folder / "operator")
    write_json(instance / "agent.json", AgentConfig("lease-1", pool_bytes=64 << 20).to_json())
    return instance


def routes_to(url: str) -> Routes:
    address = ReplicaAddress("m0", Phase.MIXED, f"{url}/r/m0", server_name=agent_name("lease-1"))
    return Routes(1, "tiny-llama", (address,), (RouteShare("m0", "m0", 1.0, Codec.LOCAL),))


@asynccontextmanager
async def controlled(folder: Path):
    """An agent's process, by its controller; it ends with the block, and takes its record with it."""
    instance = deployment(folder)
    record = instance / "run" / "agent.pid.json"
    argv = [str(ENGINE_PYTHON), "-P", "-m", "runtime.agent", "agent.json"]
    async with aiohttp.ClientSession() as http:
        with running(argv, instance, "agent.log") as agent:
            said = await state_of(record, agent, instance / "agent.log")
            yield Controller(http, f"https://127.0.0.1:{said['port']}", folder / "operator")
    assert not record.exists()


@pytest.mark.skipif(not ENGINE_PYTHON.exists(), reason="no engine environment: make setup")
async def test_an_engine_behind_its_agent_and_the_router(tmp_path: Path):
    async with controlled(tmp_path) as controller:
        await controller.call("POST", "/engines", json=SPEC.to_json())
        engine = await controller.until("ready")
        assert KV_TOKENS - BLOCK_TOKENS < kv_tokens(await controller.call("GET", "/r/m0/metrics")) <= KV_TOKENS
        write_json(tmp_path / "routes.json", routes_to(controller.url).to_json())
        with running([sys.executable, "-P", "-c", ROUTER], tmp_path, "router.log") as router:
            state = await state_of(tmp_path / "router.json", router, tmp_path / "router.log")
            await completions(f"http://127.0.0.1:{state['port']}/v1")
        await controller.call("DELETE", "/engines/m0")
        assert await controller.engine() is None
        assert not psutil.pid_exists(engine.pid or 0)


@pytest.mark.soak
@pytest.mark.skipif(not ENGINE_PYTHON.exists(), reason="no engine environment: make setup")
async def test_an_engine_that_cannot_start_says_why(tmp_path: Path):
    """tests/test_failures.py shows as much to who brings it up."""
    async with controlled(tmp_path) as controller:
        await controller.call("POST", "/engines", json=replace(SPEC, max_model_len=1 << 20).to_json())
        assert "max_model_len" in (await controller.until("failed")).detail.splitlines()[1]


async def completions(base_url: str) -> None:
    """Whole and streamed, they agree, and an engine's refusal reaches the client as it is."""
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        asked = {"model": "tiny-llama", "prompt": "One day", "max_tokens": 12, "temperature": 0.0}
        asked["extra_body"] = {"ignore_eos": True}
        whole = await client.completions.create(**asked)
        stream = await client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
        assert whole.usage.completion_tokens == 12
        assert chunks[-1].usage.completion_tokens == 12
        chat = await client.chat.completions.create(
            model="tiny-llama", messages=[{"role": "user", "content": "Hello"}], max_tokens=4, temperature=0.0
        )
        assert chat.usage.completion_tokens > 0
        with pytest.raises(openai.BadRequestError, match="max_tokens=5000"):
            await client.completions.create(**{**asked, "max_tokens": 5000})
