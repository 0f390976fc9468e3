"""Engines as processes: started, watched, found again, and ended with everything that they started."""

import asyncio
import os
import signal
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from planner.errors import Refused, ReplicaUnhealthy, SpecError
from runtime.agent.engine_http import EngineHttp, Load, read_load
from runtime.agent.leftovers import remove_leftovers
from runtime.agent.supervisor import Supervisor
from runtime.engine import engine_command
from tests.runtime.supervising import segments_of, session_of, spec_of, supervisor_in, until_state


@pytest.fixture
async def supervisor(tmp_path: Path):
    """Ends its engines whatever a test does."""
    supervisor = supervisor_in(tmp_path)
    yield supervisor
    await supervisor.stop_all()


async def test_an_engine_is_started_and_becomes_ready(supervisor: Supervisor):
    supervisor.start(spec_of())
    assert [engine.state for engine in await supervisor.health()] == ["starting"]
    ready = await until_state(supervisor, "ready")
    assert ready.pid is not None
    assert ready.started_at is not None
    assert os.getsid(ready.pid) == ready.pid
    assert (ready.running, ready.kv_usage) == (2, 0.5)
    assert supervisor.log("r0", 5) == "serving"


async def test_an_engine_that_never_answers_stays_starting(supervisor: Supervisor):
    supervisor.start(spec_of(behaviour="slow"))
    await asyncio.sleep(0.1)
    assert [engine.state for engine in await supervisor.health()] == ["starting"]


async def test_starting_again_does_nothing_unless_it_differs(supervisor: Supervisor):
    spec = spec_of()
    supervisor.start(spec)
    first = await until_state(supervisor, "ready")
    supervisor.start(spec)
    assert [engine.pid for engine in await supervisor.health()] == [first.pid]
    with pytest.raises(Refused, match="another specification"):
        supervisor.start(replace(spec, max_model_len=128))


async def test_stopping_leaves_nothing_behind(supervisor: Supervisor, tmp_path: Path):
    spec, other = spec_of(), Path("/dev/shm/vllm_dist_of_somebody_else")
    other.touch()
    supervisor.start(spec)
    pid = (await until_state(supervisor, "ready")).pid
    assert segments_of(spec)
    await supervisor.stop("r0")
    assert session_of(pid) == []
    assert await supervisor.health() == ()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == []
    assert segments_of(spec) == []
    assert other.exists()
    other.unlink()
    await supervisor.stop("r0")  # gone is a success


async def test_an_engine_that_ignores_being_told_is_killed_with_its_children(tmp_path: Path):
    supervisor = supervisor_in(tmp_path, stop_grace_s=0.2)
    supervisor.start(spec_of(behaviour="deaf"))
    pid = (await until_state(supervisor, "ready")).pid
    assert len(session_of(pid)) == 2
    await supervisor.stop("r0")
    assert session_of(pid) == []


async def test_an_engine_that_dies_at_the_start_says_why(supervisor: Supervisor):
    spec = spec_of(behaviour="crash")
    supervisor.start(spec)
    failed = await until_state(supervisor, "failed")
    assert failed.detail.splitlines()[:2] == [
        "The engine ended with exit code 1.",
        "ValueError: 9 heads don't split over 2 ranks",
    ]
    assert segments_of(spec) == []
    with pytest.raises(ReplicaUnhealthy, match="r0 is failed"):
        supervisor.http("r0")


async def test_an_engine_that_is_killed_has_failed_and_its_children_are_killed_too(supervisor: Supervisor):
    supervisor.start(spec_of(behaviour="deaf"))
    pid = (await until_state(supervisor, "ready")).pid
    os.kill(pid, signal.SIGKILL)
    failed = await until_state(supervisor, "failed")
    assert failed.detail.startswith("The engine was killed by SIGKILL; the host may be out of memory.")
    assert session_of(pid) == []


def no_record_can_be_written(folder: Path):
    (folder / "run" / ".r0.pid.json.new").mkdir()


async def test_an_engine_that_no_later_agent_would_find_is_not_left_running(
    supervisor: Supervisor, tmp_path: Path, monkeypatch
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    no_record_can_be_written(tmp_path)
    spec = spec_of()
    with pytest.raises(OSError, match=r"pid\.json"):
        supervisor.start(spec)
    assert [process.pid for process in psutil.process_iter() if spec.served_name in command_line(process)] == []
    assert list(temporary.iterdir()) == []
    assert await supervisor.health() == ()


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


async def test_an_engine_is_watched_on_though_the_disk_is_full_when_it_is_ready(supervisor: Supervisor, tmp_path: Path):
    supervisor.start(spec_of())
    no_record_can_be_written(tmp_path)
    pid = (await until_state(supervisor, "ready")).pid
    os.kill(pid, signal.SIGKILL)
    assert "SIGKILL" in (await until_state(supervisor, "failed")).detail


@pytest.mark.parametrize("ends_by_itself", [True, False])
async def test_nobody_is_sent_to_a_socket_that_is_closed(supervisor: Supervisor, monkeypatch, ends_by_itself: bool):
    reached, close = [], EngineHttp.close

    async def closing(http: EngineHttp):
        with suppress(ReplicaUnhealthy):
            reached.append(supervisor.http("r0"))
        await close(http)

    monkeypatch.setattr(EngineHttp, "close", closing)
    supervisor.start(spec_of())
    pid = (await until_state(supervisor, "ready")).pid
    if ends_by_itself:
        os.kill(pid, signal.SIGKILL)
        await until_state(supervisor, "failed")
    await supervisor.stop("r0")
    assert reached == []


async def test_a_failed_engine_may_be_started_again(supervisor: Supervisor):
    supervisor.start(spec_of(behaviour="crash"))
    await until_state(supervisor, "failed")
    supervisor.start(spec_of())
    assert (await until_state(supervisor, "ready")).detail == ""


async def test_a_dead_core_behind_a_live_server_is_a_failure(supervisor: Supervisor, tmp_path: Path):
    """Row 16 of the kill matrix."""
    supervisor.start(spec_of())
    pid = (await until_state(supervisor, "ready")).pid
    (tmp_path / "run" / "core-dead").touch()
    assert "The engine core is dead" in (await until_state(supervisor, "failed")).detail
    assert session_of(pid) == []


async def test_another_agent_process_finds_the_engines(supervisor: Supervisor, tmp_path: Path):
    spec = spec_of()
    supervisor.start(spec)
    before = await until_state(supervisor, "ready")
    await supervisor.let_go()
    later = supervisor_in(tmp_path)
    later.adopt()
    found = await until_state(later, "ready")
    assert (found.pid, found.started_at) == (before.pid, before.started_at)
    later.start(spec)  # the same: nothing happens
    with pytest.raises(Refused):
        later.start(replace(spec, max_model_len=128))
    await later.stop("r0")
    assert session_of(before.pid) == []
    assert segments_of(spec) == []


async def test_an_engine_that_died_while_its_agent_was_away_is_cleaned_up_after(supervisor: Supervisor, tmp_path: Path):
    spec = spec_of(behaviour="deaf")
    supervisor.start(spec)
    pid = (await until_state(supervisor, "ready")).pid
    await supervisor.let_go()
    os.kill(pid, signal.SIGKILL)
    later = supervisor_in(tmp_path)
    later.adopt()
    failed = await until_state(later, "failed")
    assert failed.detail.startswith("The engine ended; only the agent process that started it could know how.")
    assert session_of(pid) == []
    assert segments_of(spec) == []


async def test_a_record_of_a_pid_that_came_back_kills_nobody(tmp_path: Path):
    """Another process has the pid now; it started at another time."""
    supervisor = supervisor_in(tmp_path)
    supervisor.start(spec_of())
    await until_state(supervisor, "ready")
    await supervisor.let_go()
    record = tmp_path / "run" / "r0.pid.json"
    text = record.read_text()
    bystander = await asyncio.create_subprocess_exec("sleep", "60", start_new_session=True)
    stub = int(text.split('"pid": ')[1].split(",")[0])
    record.write_text(text.replace(str(stub), str(bystander.pid)).replace('"started_at": ', '"started_at": 1'))
    later = supervisor_in(tmp_path)
    later.adopt()
    await until_state(later, "failed")
    assert bystander.returncode is None
    assert session_of(bystander.pid) == [bystander.pid]
    bystander.kill()
    await bystander.wait()
    os.kill(stub, signal.SIGKILL)
    await supervisor.stop_all()


async def test_a_record_that_can_not_be_read_is_put_aside(tmp_path: Path):
    supervisor = supervisor_in(tmp_path)
    (tmp_path / "run" / "r0.pid.json").write_text("{")
    supervisor.adopt()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["r0.pid.unreadable"]


async def test_a_refused_specification_starts_nothing(tmp_path: Path):
    (tmp_path / "logs").mkdir()
    supervisor = Supervisor(tmp_path, command=lambda spec: engine_command(spec, python="python"), stop_grace_s=1)
    with pytest.raises(SpecError):
        supervisor.start(spec_of(extra_args=("--port", "1")))
    assert await supervisor.health() == ()


def test_load_is_read_from_vllms_metrics():
    text = """\
# HELP vllm:num_requests_running Number of requests.
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.125
"""
    assert read_load(text) == Load(3, 1, 0.125)
    assert read_load("") == Load()


@pytest.mark.parametrize("said", ["NaN", "+Inf", "many"])
async def test_a_load_that_is_none_leaves_the_last_one(said: str):
    """Else one engine's word would be the end of all that its agent says."""
    texts = [f"vllm:num_requests_running {said}\n", "vllm:num_requests_running 3.0\n"]

    class Says:
        def get(self, _url: str):
            return self

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_: object):
            pass

        async def text(self) -> str:
            return texts.pop()

    times = iter(range(0, 100, 10))
    http = EngineHttp("nowhere", now=lambda: next(times))
    http._session = Says()
    assert [(await http.load()).running for _ in range(2)] == [3, 3]


def test_only_segments_of_that_engine_are_removed(tmp_path: Path):
    segments = {name: tmp_path / f"psm_{name}" for name in ("vllm_dist_a1", "vllm_dist_b2", "torch_c3")}
    for path in segments.values():
        path.touch()
    remove_leftovers(tmp_path / "gone", ["vllm_dist_a1", "vllm_dist_", "vllm_dist_*", "", "*"], shared_memory=tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted((segments["vllm_dist_b2"], segments["torch_c3"]))
