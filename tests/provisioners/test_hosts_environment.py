"""The engine environment, made for real by uv from a hashed lock: once a host, whole or not at all."""

import asyncio
import base64
import hashlib
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import HostError, HostUnfit
from provisioners.bootstrap import look, prepare
from provisioners.hosts.cards import Gpus
from provisioners.hosts.commands import carry_out
from provisioners.hosts.environment import environment_commands
from provisioners.hosts.facts import Facts
from provisioners.hosts.wanted import CPU, Environment, HostSpec, Model
from tests.provisioners.conftest import lease_local, runs
from tests.provisioners.host_worlds import archive_of, host_spec
from thunderctl.hosts.locks import uv_for_hosts

AGENT = """
import json, os, time
from pathlib import Path
import vllm
started = float(Path("/proc/self/stat").read_text().rpartition(") ")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
boot = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
record = {"pid": os.getpid(), "started_at": boot + started, "host": "127.0.0.1", "port": vllm.PORT}
Path("run/new").write_text(json.dumps(record))
Path("run/new").rename("run/agent.pid.json")
time.sleep(60)
"""


@pytest.fixture
def wheels(tmp_path) -> Path:
    """A folder with a wheel that calls itself vLLM."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    return write_wheel(folder, "PORT = 4001\n").parent


@pytest.fixture
def counted_uv(tmp_path) -> Path:
    """uv, with a line in `asked` for each time that it was run."""
    script = tmp_path / "counted" / "uv"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$1 $2" >>{tmp_path}/asked\nexec {uv_for_hosts()} "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def environment(wheels, counted_uv) -> Environment:
    [wheel] = wheels.iterdir()
    return Environment(
        given="/no/python",
        lock=f"vllm==0.32.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n".encode(),
        vllm="0.32.0",
        arguments=("--no-index", "--find-links", str(wheels), "--offline"),
        uv=lambda: counted_uv,
        python=".".join(map(str, sys.version_info[:2])),
        device=CPU,
        proof="import vllm; assert vllm.PORT == 4001",
        disk_gb=0.1,
    )


def wanted_of(local, machine, environment: Environment) -> HostSpec:
    return host_spec(
        folder=local.folder(machine),
        environment=environment,
        payload=archive_of(AGENT),
        model=Model(),
        gpus=Gpus("CPU", 1),
        port=0,
    )


async def test_instances_of_a_host_share_an_environment_that_one_of_them_makes(local, environment, tmp_path):
    machines = [await lease_local(local) for _ in range(2)]
    wanted = [wanted_of(local, machine, environment) for machine in machines]
    told: list[str] = []
    facts = await asyncio.gather(
        *(prepare(local.transport(m), w, narrate=told.append) for m, w in zip(machines, wanted, strict=True))
    )
    assert [(fact.made.vllm, fact.agent.port) for fact in facts] == [("0.32.0", 4001)] * 2
    assert wanted[0].made_python == wanted[1].made_python
    assert (tmp_path / "asked").read_text().splitlines() == ["venv --quiet", "pip install"]
    assert told.count("make the engine's environment") == 2
    shared = Path(wanted[0].shared)
    assert sorted(path.name for path in (shared / "engines").iterdir()) == [".lock", environment.key]
    assert not (shared / "cache").exists()
    third = await lease_local(local)
    assert not list(environment_commands(await look(local.transport(third), wanted[0]), wanted[0]))
    for machine, fact in zip(machines, facts, strict=True):
        await local.release(machine.provider_id)
        assert not runs(fact.agent.pid)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lock": f"vllm==0.32.0 --hash=sha256:{'0' * 64}\n".encode()}, "(?i)hash"),
        ({"proof": "raise SystemExit('CUDA driver version is insufficient')"}, "driver version is insufficient"),
        ({"lock": f"vllm==0.99.0 --hash=sha256:{'0' * 64}\n".encode()}, "no version of vllm==0.99.0"),
    ],
)
async def test_what_fails_is_said_and_leaves_nothing_that_passes_for_whole(local, machine, environment, change, words):
    wanted = wanted_of(local, machine, replace(environment, **change))
    with pytest.raises(HostError, match="make the engine's environment failed") as raised:
        await prepare(local.transport(machine), wanted)
    assert raised.match(words)
    assert isinstance(raised.value, HostUnfit) == ("proof" in change)
    assert not Path(wanted.made_environment).exists()
    assert not (await look(local.transport(machine), wanted)).made.python


async def test_a_half_made_environment_is_made_anew(local, machine, environment):
    wanted = wanted_of(local, machine, environment)
    half = Path(f"{wanted.made_environment}.new")
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").write_text("half")
    transport = local.transport(machine)
    facts = await look(transport, wanted)
    assert not facts.made.python
    for command in environment_commands(facts, wanted):
        await carry_out(transport, command)
    assert (await look(transport, wanted)).made.vllm == "0.32.0"
    assert not half.exists()


async def test_without_a_uv_it_says_so(local, machine, environment):
    wanted = wanted_of(local, machine, replace(environment, uv=None))
    *_, make = environment_commands(Facts(), wanted)
    transport = local.transport(machine)
    await transport.put("engine.lock", b"", 0o600)
    bare = replace(make, command=f"PATH=/usr/bin:/bin\n{make.command}")
    with pytest.raises(HostError, match="there is no uv here, and none was sent"):
        await carry_out(transport, bare)


def write_wheel(folder: Path, module: str) -> Path:
    """vllm 0.32.0 as a wheel of one module."""
    info = "vllm-0.32.0.dist-info"
    files = {
        "vllm.py": module,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{name},sha256={_record(text)},{len(text)}" for name, text in files.items()]
    path = folder / "vllm-0.32.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"}.items():
            wheel.writestr(name, text)
    return path


def _record(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
