"""The probe: what this host says of itself, what a host with cards would, and what is made of nonsense."""

import os
import shutil
import socket
from importlib.resources import files
from pathlib import Path

import psutil
import pytest

from planner.errors import HostError
from provisioners.hosts.facts import GpuFact, gather_facts, parse_facts
from tests.provisioners.conftest import lease_local

PROBE = (files("templates") / "probe.sh").read_text()
NOTHING = ("",) * 7
SMI = """#!/bin/sh
case "$*" in
  *driver_version*) echo "580.95.05"; echo "580.95.05" ;;
  *uuid*) echo "GPU-5b2f, 49140, NVIDIA RTX A6000"; echo "GPU-77aa, 49140, NVIDIA RTX A6000" ;;
  *) echo "| NVIDIA-SMI 580.95.05    Driver Version: 580.95.05    CUDA Version: 13.0     |" ;;
esac
"""
LEAST = "uid 0\ndisk_free_kib 1000\n"


async def test_this_host_describes_itself(local, machine):
    facts = await gather_facts(local.transport(machine), NOTHING, probe=PROBE)
    assert facts.arch == os.uname().machine
    assert facts.root == (os.geteuid() == 0)
    assert facts.cores == len(os.sched_getaffinity(0))
    assert 0 < facts.ram_gb <= psutil.virtual_memory().total / 1e9 + 0.1
    assert facts.disk_free_gb == pytest.approx(shutil.disk_usage(local.folder(machine)).free / 1e9, abs=1.0)
    assert {"python3", "sha256sum"} <= set(facts.tools)
    assert facts.os
    assert facts.glibc
    assert (facts.given.python, facts.made.python, facts.agent, facts.model, facts.weights) == ("", "", None, "", False)


async def test_it_changes_nothing(local, machine):
    folder = Path(local.folder(machine))
    before = sorted(folder.rglob("*"))
    await gather_facts(local.transport(machine), NOTHING, probe=PROBE)
    assert sorted(folder.rglob("*")) == before


async def test_it_needs_a_shell_and_basic_tools_only(local, machine, tmp_path):
    """No Python, no GPU, no curl: a PATH with just what every Linux has."""
    bare = tmp_path / "bare"
    bare.mkdir()
    tools = (
        "sh cat tr cut sed awk df du head tail sort find xargs sha256sum ls uname id nproc stat grep readlink getconf"
    )
    for tool in tools.split():
        (bare / tool).symlink_to(shutil.which(tool) or pytest.skip(f"There is no {tool} here."))
    done = await local.transport(machine).run(f"PATH={bare} sh -s", timeout_s=20, stdin=PROBE.encode())
    assert (done.code, done.stderr) == (0, b"")
    facts = parse_facts(done.stdout.decode())
    assert facts.tools == ("sha256sum",)
    assert facts.gpus == ()


async def test_cards_are_read_as_nvidia_smi_lists_them(local, machine, tmp_path):
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    done = await local.transport(machine).run(f"PATH={tmp_path}:$PATH sh -s", timeout_s=20, stdin=PROBE.encode())
    facts = parse_facts(done.stdout.decode())
    assert (facts.driver, facts.cuda) == ("580.95.05", "13.0")
    assert facts.gpus == (
        GpuFact("GPU-5b2f", 49140, "NVIDIA RTX A6000"),
        GpuFact("GPU-77aa", 49140, "NVIDIA RTX A6000"),
    )


async def test_ports_that_are_listened_on_are_known(local, machine):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nobody else can listen there meanwhile, and it does not
        facts = await gather_facts(local.transport(machine), NOTHING, probe=PROBE)
        assert server.getsockname()[1] in facts.listening
        assert held.getsockname()[1] not in facts.listening


async def test_an_interpreter_says_its_versions_or_what_is_wrong(local, machine):
    transport = local.transport(machine)
    await transport.put("broken", b"#!/bin/sh\necho one >&2\necho 'no such library' >&2\nexit 1\n", 0o700)
    asked = ("./broken", "/no/python", *NOTHING[2:])
    facts = await gather_facts(transport, asked, probe=PROBE)
    assert facts.given.problem == "no such library"
    assert "not found" in facts.made.problem


async def test_an_agents_record_counts_only_while_that_process_lives(local, machine, started):
    transport = local.transport(machine)
    process = await started(transport, "print('up'); import time; time.sleep(60)", recorded_as="agent")
    found = (await gather_facts(transport, NOTHING, probe=PROBE)).agent
    assert found
    assert (found.pid, found.port) == (process.pid, 1)
    record = (await transport.get("run/agent.pid.json")).decode()
    later = record.replace(f'"started_at": {found.started_at}', f'"started_at": {found.started_at - 60}')
    assert later != record
    await transport.put("run/agent.pid.json", later.encode(), 0o600)
    assert (await gather_facts(transport, NOTHING, probe=PROBE)).agent is None
    await transport.put("run/agent.pid.json", b'{"pid": 71, "rubbish', 0o600)
    assert (await gather_facts(transport, NOTHING, probe=PROBE)).agent is None


async def test_another_machine_of_the_same_host_knows_nothing_of_it(local, machine, started):
    await started(local.transport(machine), "print('up'); import time; time.sleep(60)", recorded_as="agent")
    other = await lease_local(local)
    assert (await gather_facts(local.transport(other), NOTHING, probe=PROBE)).agent is None


def test_a_container_has_the_memory_that_it_may_have():
    assert parse_facts(f"{LEAST}ram_kib 4000000\nram_limit 2000000000").ram_gb == 2.0
    assert parse_facts(f"{LEAST}ram_kib 4000000").ram_gb == 4.1


@pytest.mark.parametrize("text", ["", "hello", "uid 0\n", f"{LEAST}gpu 12", f"{LEAST}cores many"])
def test_what_are_no_facts_is_an_error(text):
    with pytest.raises(HostError, match="expected its facts"):
        parse_facts(text)


async def test_a_host_that_runs_no_shell_script_is_an_error(local, machine):
    with pytest.raises(HostError, match="can't be probed: code 3, it says no"):
        await gather_facts(local.transport(machine), NOTHING, probe="echo it says no >&2; exit 3")
