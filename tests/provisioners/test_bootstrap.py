"""Preparing an instance: JSON cases (facts in, commands out), and a real one on this host."""

import asyncio
import gzip
import io
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from planner import errors
from planner.errors import HostError, HostSilent, HostUnfit
from provisioners.bootstrap import bootstrap, look, prepare
from provisioners.hosts.cards import Gpus
from provisioners.hosts.commands import Put, Run, Send, carry_out
from provisioners.hosts.digests import contents_digest, digest
from provisioners.hosts.facts import EngineFact, Facts
from provisioners.hosts.wanted import Environment, HostSpec, Model
from tests.provisioners.conftest import lease_local, runs
from tests.provisioners.host_worlds import AGENT, TLS, engine_python_in, host_spec, host_spec_named, with_stand_ins
from thunderctl.hosts.payload import build_payload

CASES = sorted((Path(__file__).parents[1] / "cases" / "bootstrap").glob("*.json"))
DEADLINE_S = 20.0
COMMANDS = 10
"""That `wanted` needs from nothing."""


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path, tmp_path):
    case = json.loads(path.read_text())
    wanted = host_spec_named(case["world"], tmp_path)
    facts = named(Facts.from_json(case["facts"]), wanted)
    if error := case.get("error"):
        with pytest.raises(HostError, match=error["says"]) as raised:
            bootstrap(facts, wanted)
        assert type(raised.value) is getattr(errors, error["kind"]), case["about"]
    else:
        assert [said(command) for command in bootstrap(facts, wanted)] == case["commands"], case["about"]


def named(facts: Facts, wanted: HostSpec) -> Facts:
    """The facts with the digests that a case names instead of spelling out."""
    digests = {"CONFIG": digest(wanted.agent_config), "TLS": contents_digest(TLS), "AGENT": wanted.agent_digest(facts)}
    known = {name: digests.get(getattr(facts, name), getattr(facts, name)) for name in ("agent_config", "tls")}
    started_with = facts.agent and digests.get(facts.agent.started_with, facts.agent.started_with)
    agent = facts.agent and replace(facts.agent, started_with=started_with)
    files = facts.files or contents_digest(wanted.files)
    return replace(facts, **known, agent=agent, files=files)


def said(command: Put | Send | Run) -> str:
    match command:
        case Put(path, _, mode):
            return f"put {path} {mode:o}"
        case Send(_, path):
            return f"send {path}"
        case Run():
            return f"run {command.why}"


def test_a_case_with_a_fact_of_no_such_name_is_refused():
    with pytest.raises(ValueError, match="glibcc"):
        Facts.from_json({"glibcc": "2.28"})


def test_words_of_the_outside_are_quoted_in_scripts():
    environment = Environment("/my env/$(rm)/python")
    wanted = host_spec(environment=environment, gpus=Gpus("CPU", 1), model=Model())
    facts = Facts(given=EngineFact("3.11.7", "1"))
    scripts = [command for command in bootstrap(facts, wanted) if isinstance(command, Put)]
    assert any(b"'/my env/$(rm)/python'" in command.data for command in scripts)


@pytest.fixture(scope="module")
def engine_python(tmp_path_factory) -> str:
    return engine_python_in(tmp_path_factory.mktemp("engine"))


@pytest.fixture
def wanted(engine_python, local, machine, tmp_path) -> HostSpec:
    return with_stand_ins(local.folder(machine), engine_python, tmp_path / "model")


async def test_an_instance_is_prepared_once_and_its_agent_restarted_only_for_a_change(local, machine, wanted):
    transport, told = local.transport(machine), []
    facts = await prepare(transport, wanted, narrate=told.append)
    assert facts.agent
    assert (facts.agent.port, facts.agent.started_with) == (4001, wanted.agent_digest(facts))
    assert facts.given.vllm == "0.32.0"
    assert told[-1] == "start the agent"
    modes = await transport.run("stat -c %a tls/tls.key agent.json logs/agent.log", timeout_s=10)
    assert modes.stdout.split() == [b"600"] * 3
    assert (await transport.run("cat model/config.json", timeout_s=10)).stdout == b"{}"

    told.clear()
    assert (await prepare(transport, wanted, narrate=told.append)).agent == facts.agent
    assert told == []

    changed = replace(wanted, agent_config=b'{"port": 1}')
    again = await prepare(transport, changed, narrate=told.append)
    assert again.agent
    assert again.agent.pid != facts.agent.pid
    assert not runs(facts.agent.pid)
    assert len(told) == 4

    await local.release(machine.provider_id)
    assert not runs(again.agent.pid)


async def test_cut_off_after_any_command_it_is_gone_on_with(local, wanted):
    for cut in (1, 4, COMMANDS - 2):
        machine = await lease_local(local)
        here = replace(wanted, folder=local.folder(machine))
        transport = local.transport(machine)
        commands = bootstrap(await look(transport, here), here)
        assert len(commands) == COMMANDS
        for command in commands[:cut]:
            await carry_out(transport, command)
        facts = await prepare(transport, here)
        assert facts.agent.started_with == here.agent_digest(facts)
        await local.release(machine.provider_id)
        assert not runs(facts.agent.pid)


async def test_two_starts_at_once_make_one_agent(local, machine, wanted):
    transport = local.transport(machine)
    *_, script, start = bootstrap(Facts(given=EngineFact("3.11", "0.32.0"), model="m"), wanted)
    assert isinstance(script, Put)
    assert isinstance(start, Run)
    await transport.put("payload/runtime/agent/__main__.py", AGENT.encode(), 0o600)
    await transport.put("agent.json", b"{}", 0o600)
    await transport.put(script.path, script.data, script.mode)
    await asyncio.gather(*(transport.run(start.command, timeout_s=10) for _ in range(3)))
    await prepare(transport, wanted)
    agents = [process for process in psutil.process_iter() if is_agent(process, local.folder(machine))]
    assert len(agents) == 1
    await local.release(machine.provider_id)


async def test_an_agent_that_was_killed_comes_back_by_itself(local, machine, wanted):
    transport = local.transport(machine)
    first = (await prepare(transport, wanted)).agent
    assert first
    psutil.Process(first.pid).kill()
    async with asyncio.timeout(DEADLINE_S):
        while (second := await recorded_pid(transport)) in (None, first.pid):
            await asyncio.sleep(0.05)
    assert runs(second)
    told = []
    assert (await prepare(transport, wanted, narrate=told.append)).agent.pid == second
    assert told == []
    await local.release(machine.provider_id)
    assert not runs(second)


async def test_an_agent_that_is_told_to_stop_stays_stopped(local, machine, wanted):
    transport = local.transport(machine)
    agent = (await prepare(transport, wanted)).agent
    stop, *_ = bootstrap(Facts(agent=agent, given=EngineFact("3.11", "0.32.0"), model="m"), replace(wanted, tls={}))
    assert isinstance(stop, Run)
    assert (await transport.run(stop.command, timeout_s=20)).code == 0
    async with asyncio.timeout(DEADLINE_S):  # its supervisor too: it had a second to start it again
        while any(works_in(process, local.folder(machine)) for process in psutil.process_iter()):
            await asyncio.sleep(0.05)
    assert not runs(agent.pid)


async def test_a_long_log_is_kept_beside_the_new_one(local, machine, wanted):
    transport = local.transport(machine)
    await transport.put("logs/agent.log", b"before\n", 0o600)
    await transport.run("truncate -s 33M logs/agent.log", timeout_s=10)
    await prepare(transport, wanted)
    sizes = (await transport.run("stat -c %s logs/agent.log.1 logs/agent.log", timeout_s=10)).stdout.split()
    assert int(sizes[0]) == 33 << 20
    assert int(sizes[1]) < 1000
    await local.release(machine.provider_id)


async def test_an_agent_that_ends_at_once_is_reported_with_its_log(local, machine, wanted):
    with pytest.raises(HostError, match=r"The agent ended.*(?s:.)*this agent is broken"):
        await prepare(local.transport(machine), replace(wanted, agent_config=b'{"broken": true}'))
    await local.release(machine.provider_id)


async def test_a_limit_says_what_was_under_way(local, machine, wanted):
    with pytest.raises(HostSilent, match=re.escape("for 0.01 s: it was to look at what is there")):
        await prepare(local.transport(machine), wanted, still_s=0.01)


async def test_a_machine_that_bills_is_prepared_once_its_switch_runs_and_refused_without(local, machine, wanted):
    billing, transport = replace(wanted, switched=True), local.transport(machine)
    passed = iter(range(0, 10_000, 50))
    await transport.put("run/deadman.log", b"no flock\n", 0o600)
    with pytest.raises(HostUnfit, match=r"switch did not run within 120 s(?s:.)*no flock"):
        await prepare(transport, billing, clock=lambda: next(passed), poll_s=0.0)
    await transport.put("run/deadman.sh", b"sleep 60\n", 0o600)
    late = asyncio.create_task(prepare(transport, billing, poll_s=0.01))
    await transport.run("setsid sh run/deadman.sh </dev/null >/dev/null 2>&1 & echo $! >run/switch.pid", timeout_s=10)
    assert (await late).switch
    await transport.run("kill $(cat run/switch.pid)", timeout_s=10)
    await local.release(machine.provider_id)


async def test_what_is_needed_again_after_it_was_done_is_an_error(local, machine, wanted):
    lying = replace(wanted, payload_digest="PAYLOAD; rm -rf payload")
    scripts = replace(lying.scripts, probe=lying.scripts.probe.replace("say payload", "say other"))
    with pytest.raises(HostError, match=r"still it is needed to write payload\.tar\.gz"):
        await prepare(local.transport(machine), replace(lying, scripts=scripts))
    await local.release(machine.provider_id)


async def test_an_interpreter_that_is_missing_is_a_fact_and_an_error(local, machine, wanted):
    with pytest.raises(HostError, match=r"/no/python does not work there: .*not found"):
        await prepare(local.transport(machine), replace(wanted, environment=Environment("/no/python")))


def test_the_payload_is_our_code_for_hosts_and_no_more():
    payload = build_payload()
    with tarfile.open(fileobj=io.BytesIO(payload.data)) as tar:
        names = tar.getnames()
        assert all(member.mtime == 0 and member.uid == 0 for member in tar)
    assert names == sorted(names)
    assert {"runtime/messages.py", "runtime/weights/fetch.py", "planner/deployment.py"} <= set(names)
    assert all(name.split("/")[0] in ("runtime", "planner") for name in names)
    assert not [name for name in names if "procure" in name or "search" in name or "__pycache__" in name]
    assert build_payload.__wrapped__() == payload
    assert digest(gzip.decompress(payload.data)) == payload.digest


async def recorded_pid(transport) -> int | None:
    try:
        return json.loads(await transport.get("run/agent.pid.json"))["pid"]
    except HostError:
        return None


def is_agent(process: psutil.Process, folder: str) -> bool:
    return works_in(process, folder) and "runtime.agent" in process.cmdline()


def works_in(process: psutil.Process, folder: str) -> bool:
    try:
        return process.cwd() == folder and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
