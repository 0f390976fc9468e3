"""Processes that outlive whoever starts them: real ones, each a line of Python."""

import asyncio
import json
import os
import sys
from dataclasses import asdict

import psutil
import pytest

from planner.errors import HostError, SpecError
from runtime.processes import own_process_id
from thunderctl.processes import detached

WRITES_ITSELF = """
import json, os, psutil, signal, sys, time
if "--deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
me = psutil.Process()
with open("state.new", "w") as out:
    json.dump({"pid": me.pid, "started_at": me.create_time()}, out)
os.replace("state.new", "state.json")
time.sleep(600)
"""

# It outlives the one that starts it: nobody waits for it.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def started(code, *arguments, deadline_s=30.0):
        command = [sys.executable, "-c", code, *arguments]
        state = tmp_path / "state.json"
        await detached.start(
            "router",
            command,
            environment=dict(os.environ),
            log=tmp_path / "log",
            is_up=lambda pid: (detached.running(state) or {}).get("pid") == pid,
            deadline_s=deadline_s,
        )
        return detached.running(state)

    return started


async def test_it_is_known_by_what_it_writes_and_stops_when_asked(start, tmp_path):
    state = await start(WRITES_ITSELF)
    assert psutil.pid_exists(state["pid"])
    await detached.stop(state, 20.0)
    assert detached.running(tmp_path / "state.json") is None
    await detached.stop(state, 20.0)
    await detached.stop(None, 20.0)


async def test_one_that_ends_by_itself_just_before_it_is_told_to_is_a_success(start, monkeypatch):
    state = await start(WRITES_ITSELF)
    looks = iter([True])
    await detached.stop(state, 20.0)
    monkeypatch.setattr(detached, "is_alive", lambda _: next(looks, False))
    await detached.stop(state, 20.0)


async def test_one_that_does_not_listen_is_ended_by_force(start, tmp_path):
    state = await start(WRITES_ITSELF, "--deaf")
    await detached.stop(state, 0.2)
    psutil.wait_procs([psutil.Process(state["pid"])] if psutil.pid_exists(state["pid"]) else [], 20)
    assert detached.running(tmp_path / "state.json") is None


async def test_what_it_said_is_the_error(start):
    with pytest.raises(HostError, match="The router did not start: no such port") as raised:
        await start("import sys; sys.exit('error: no such port\\nhint: take another')")
    assert raised.value.hint == "take another"
    with pytest.raises(SpecError, match="it said nothing"):
        await start("import sys; sys.exit(2)")


async def test_one_that_never_comes_up_is_ended_and_said(start):
    with pytest.raises(HostError, match=r"was not up within 0 s"):
        await start("import time; time.sleep(600)", deadline_s=0.3)


async def test_one_that_is_still_coming_up_ends_with_the_command_that_waits_for_it(start, tmp_path):
    log = tmp_path / "log"
    starting = asyncio.create_task(start("import os; print(os.getpid(), flush=True); import time; time.sleep(600)"))
    async with asyncio.timeout(30):
        while not log.exists() or not log.read_text().endswith("\n"):
            await asyncio.sleep(0.02)
    pid = int(log.read_text())
    assert psutil.pid_exists(pid)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not psutil.pid_exists(pid)


async def test_one_that_another_has_started_is_waited_for_while_its_maker_lives(tmp_path):
    state, maker = tmp_path / "state.json", tmp_path / "maker.json"
    me = json.dumps(asdict(own_process_id()))
    assert not await detached.awaited(state, maker)
    maker.write_text(me)
    assert not await detached.awaited(state, maker, deadline_s=0.1)
    state.write_text(me)
    assert await detached.awaited(state, maker)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1}', json.dumps({"pid": 1, "started_at": 1.0})])
def test_a_file_that_names_no_living_process_names_none(tmp_path, content):
    (tmp_path / "state.json").write_text(content)
    assert detached.running(tmp_path / "state.json") is None
