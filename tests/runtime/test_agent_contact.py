"""`run/renewed`: who speaks to the agent keeps its machine, and nobody else does."""

import time
from pathlib import Path

import aiohttp
import pytest

from runtime.agent.contact import EVERY_S, Contact
from tests.runtime.test_agent import Running, agent_in
from tests.runtime.test_agent import credentials as credentials


@pytest.fixture
async def agent(tmp_path: Path, credentials: Path):
    async with agent_in(tmp_path, credentials) as running:
        yield running


@pytest.mark.parametrize(("who", "renews"), [("controller", True), ("router", True), ("agent", False)])
async def test_commands_and_routers_renew_it_and_other_agents_do_not(agent: Running, who, renews):
    renewed = agent.folder / "run" / "renewed"
    assert not renewed.exists()
    await agent.status("GET", "/health", who=who)
    assert renewed.exists() == renews


async def test_a_stranger_does_not(agent: Running):
    with pytest.raises(aiohttp.ClientError):
        await agent.http.get(f"{agent.url}/health", ssl=False)
    assert not (agent.folder / "run" / "renewed").exists()


def test_it_is_touched_at_most_every_few_seconds(tmp_path):
    now = [0.0]
    contact, path = Contact(tmp_path / "renewed", now=lambda: now[0]), tmp_path / "renewed"
    contact.renew()
    first = path.stat().st_mtime_ns
    now[0] = EVERY_S - 0.1
    contact.renew()
    assert path.stat().st_mtime_ns == first
    now[0] = EVERY_S
    contact.renew()
    assert path.stat().st_mtime_ns > first
    assert abs(path.stat().st_mtime - time.time()) < 60


def test_a_file_that_cant_be_touched_stops_nothing(tmp_path):
    Contact(tmp_path / "absent" / "renewed").renew()
    assert not (tmp_path / "absent").exists()
