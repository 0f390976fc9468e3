"""Preparing an instance: JSON cases (facts in, commands out), and a real one on this host."""

import gzip
import io
import json
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import psutil
import pytest

from planner.errors import HostError
from provisioners.bootstrap import HostSpec, Put, Run, bootstrap, prepare
from provisioners.facts import Facts, digest, folder_digest, gather_facts
from tests.provisioners.conftest import runs
from thunderctl.payload import build_payload, host_scripts

CASES = sorted((Path(__file__).parents[1] / "cases" / "bootstrap").glob("*.json"))
TLS = {"ca.crt": b"ca", "tls.crt": b"crt", "tls.key": b"key"}
AGENT = """
import json, os, sys, time
from pathlib import Path
import psutil
if json.loads(Path("agent.json").read_text()).get("broken"):
    sys.exit("this agent is broken")
time.sleep(0.3)
record = {"pid": os.getpid(), "started_at": psutil.Process().create_time(), "host": "127.0.0.1", "port": 4001}
Path("run/new").write_text(json.dumps(record))
Path("run/new").rename("run/agent.pid.json")
time.sleep(60)
"""


def host_spec(**changes) -> HostSpec:
    values = {
        "engine_python": "/engine/bin/python",
        "payload": b"archive",
        "payload_digest": "PAYLOAD",
        "agent_config": b"{}",
        "tls": TLS,
        "scripts": host_scripts(),
        "model": "/models/tiny",
    }
    return HostSpec(**{**values, **changes})


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path):
    case = json.loads(path.read_text())
    wanted = host_spec(**case.get("wanted", {}))
    names = {"CONFIG": digest(wanted.agent_config), "TLS": folder_digest(TLS), "WANTED": wanted.digest}
    text = json.dumps(case["facts"])
    for name, value in names.items():
        text = text.replace(f'"{name}"', f'"{value}"')
    facts = Facts.from_json(json.loads(text))
    if "error" in case:
        with pytest.raises(HostError, match=case["error"]):
            bootstrap(facts, wanted)
    else:
        assert [said(command) for command in bootstrap(facts, wanted)] == case["commands"], case["about"]


def said(command: Put | Run) -> str:
    return f"put {command.path} {command.mode:o}" if isinstance(command, Put) else f"run {command.why}"


def test_words_of_the_outside_are_quoted_in_scripts():
    *_, start = bootstrap(Facts(python="3.11", vllm="1", model="m"), host_spec(engine_python="/my env/$(rm)/python"))
    assert isinstance(start, Run)
    assert "'/my env/$(rm)/python'" in start.command


@pytest.fixture(scope="module")
def engine_python(tmp_path_factory) -> str:
    """An interpreter that has psutil, and seems to have vLLM."""
    folder = tmp_path_factory.mktemp("engine")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text(sysconfig.get_paths()["purelib"])
    (packages / "vllm-0.32.0.dist-info").mkdir()
    (packages / "vllm-0.32.0.dist-info" / "METADATA").write_text("Name: vllm\nVersion: 0.32.0\n")
    return str(folder / "bin" / "python")


@pytest.fixture
def wanted(engine_python, tmp_path) -> HostSpec:
    """A stand-in for our agent, a model of one file."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in {"runtime/__init__.py": "", "runtime/agent/__main__.py": AGENT}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return host_spec(engine_python=engine_python, payload=archive.getvalue(), model=str(tmp_path / "model"))


async def test_an_instance_is_prepared_once_and_its_agent_restarted_only_for_a_change(local, machine, wanted):
    transport, told = local.transport(machine), []
    facts = await prepare(transport, wanted, narrate=told.append)
    assert facts.agent
    assert (facts.agent.port, facts.agent.started_with, facts.vllm) == (4001, wanted.digest, "0.32.0")
    assert told[-1] == "start the agent"
    modes = await transport.run("stat -c %a tls/tls.key agent.json logs/agent.log", timeout_s=10)
    assert modes.stdout.split() == [b"600"] * 3

    told.clear()
    assert (await prepare(transport, wanted, narrate=told.append)).agent == facts.agent
    assert told == []

    changed = host_spec(**{**fields_of(wanted), "agent_config": b'{"port": 1}'})
    again = await prepare(transport, changed, narrate=told.append)
    assert again.agent
    assert again.agent.pid != facts.agent.pid
    assert not runs(facts.agent.pid)
    assert len(told) == 3

    await local.release(machine.provider_id)
    assert not runs(again.agent.pid)


async def test_two_starts_at_once_make_one_agent(local, machine, wanted):
    transport = local.transport(machine)
    *_, start = bootstrap(Facts(python="3.11", vllm="1", model="m"), wanted)
    assert isinstance(start, Run)
    await transport.put("payload/runtime/agent/__main__.py", AGENT.encode(), 0o600)
    await transport.put("agent.json", b"{}", 0o600)
    for _ in range(3):
        await transport.run(start.command, timeout_s=10)
    await prepare(transport, wanted)
    cwds = [p for p in psutil.process_iter() if p.pid and _works_in(p, local.folder(machine))]
    assert len(cwds) == 1
    await local.release(machine.provider_id)


async def test_an_agent_that_ends_at_once_is_reported_with_its_log(local, machine, wanted):
    broken = host_spec(**{**fields_of(wanted), "agent_config": b'{"broken": true}'})
    with pytest.raises(HostError, match="this agent is broken"):
        await prepare(local.transport(machine), broken)


async def test_an_interpreter_that_is_missing_is_a_fact_and_an_error(local, machine):
    transport = local.transport(machine)
    facts = await gather_facts(transport, engine_python="/no/python", model="", probe="print(1)")
    assert not facts.python
    assert "not found" in facts.problem
    with pytest.raises(HostError, match="does not work there"):
        await prepare(transport, host_spec(engine_python="/no/python"))


async def test_an_answer_that_is_no_facts_is_an_error(local, machine):
    with pytest.raises(HostError, match="expected its facts"):
        await gather_facts(local.transport(machine), engine_python=sys.executable, model="", probe="print('hello')")


def test_the_payload_is_our_code_for_hosts_and_no_more():
    payload = build_payload()
    with tarfile.open(fileobj=io.BytesIO(payload.data)) as tar:
        names = tar.getnames()
        assert all(member.mtime == 0 and member.uid == 0 for member in tar)
    assert names == sorted(names)
    assert {"runtime/messages.py", "planner/deployment.py", "planner/errors.py"} <= set(names)
    assert all(name.split("/")[0] in ("runtime", "planner") for name in names)
    assert not [name for name in names if "procure" in name or "search" in name or "__pycache__" in name]
    assert build_payload.__wrapped__() == payload
    assert digest(gzip.decompress(payload.data)) == payload.digest


def fields_of(spec: HostSpec) -> dict:
    return {name: getattr(spec, name) for name in spec.__slots__}


def _works_in(process: psutil.Process, folder: str) -> bool:
    try:
        return process.cwd() == folder
    except psutil.Error:
        return False
