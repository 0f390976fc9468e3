"""How the agent is kept running: the unit where systemd is, and what both supervisors are told."""

import shutil
import subprocess
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from provisioners.hosts.agent import SCRIPT, UNIT, start_commands, stop_commands
from provisioners.hosts.cards import Gpus
from provisioners.hosts.commands import Put, Run
from provisioners.hosts.facts import AgentFact, EngineFact, Facts, GpuFact
from provisioners.hosts.wanted import Environment
from provisioners.rendering import rendered
from tests.provisioners.host_worlds import host_spec
from thunderctl.hosts.payload import host_scripts

SYSTEMD = Facts(systemd=True, sudo=True)
WANTED = host_spec(supervised_by_systemd=True)
NAME = "thunder-agent-lease-1.service"
CARDS = (("GPU-a6000", 49140.0, "NVIDIA RTX A6000"), ("GPU-screen", 4096.0, "NVIDIA T400 4GB"))
STANDINS = {
    "systemctl": 'echo "systemctl $*" >>{log}',
    "sudo": 'echo "sudo $*" >>{log}; shift; exec "$@"',
    "tee": 'cat >"{units}/${{1##*/}}"',
}


def unit_of(facts: Facts = SYSTEMD) -> str:
    _, unit, _ = start_commands(facts, WANTED)
    assert isinstance(unit, Put)
    assert unit.path == UNIT
    return unit.data.decode()


def test_the_unit_lets_engines_live_on_and_is_tried_for_ever():
    lines = unit_of().splitlines()
    assert {"KillMode=process", "Restart=on-failure", "StartLimitIntervalSec=0", "TimeoutStopSec=60"} <= set(lines)
    assert f"ExecStart=/bin/sh {WANTED.folder}/{SCRIPT}" in lines
    assert f"EnvironmentFile=-{WANTED.folder}/run/agent.env" in lines


def test_systemd_takes_the_unit(tmp_path):
    """Where its tools are: they find unknown keys, and programs that are not there."""
    analyse = shutil.which("systemd-analyze") or pytest.skip("There is no systemd-analyze on this machine.")
    (tmp_path / "run").mkdir()
    (tmp_path / SCRIPT).write_text("exit 0\n")
    text = unit_of().replace(WANTED.folder, str(tmp_path)).replace("@USER@", "root")
    (tmp_path / NAME).write_text(text)
    done = subprocess.run([analyse, "verify", str(tmp_path / NAME)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_the_unit_is_put_in_place_for_the_user_who_logs_in_and_started(local, machine, tmp_path):
    transport = local.transport(machine)
    log = with_standins(tmp_path)
    for command in start_commands(SYSTEMD, WANTED):
        match command:
            case Put(path, data, mode):
                await transport.put(path, data, mode)
            case Run(text):
                done = await transport.run(f"PATH={tmp_path}/bin:$PATH\n{text}", timeout_s=20)
                assert (done.code, done.stderr) == (0, b"")
    placed = (tmp_path / NAME).read_text()
    me = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert f"User={me}" in placed.splitlines()
    asked = [line for line in log.read_text().splitlines() if line.startswith("systemctl")]
    assert asked == ["systemctl daemon-reload", f"systemctl enable --quiet {NAME}", f"systemctl restart {NAME}"]
    assert (await transport.get("run/agent.env")).startswith(b"THUNDER_LEASE_ID=")
    assert (await transport.get("run/agent.wanted")).decode() == WANTED.agent_digest(SYSTEMD)


def test_the_agent_is_told_which_cards_were_offered_and_another_one_is_started_for_others(tmp_path):
    a6000, screen = (GpuFact(name, mib, kind) for name, mib, kind in CARDS)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$THUNDER_GPUS"\n')
    python.chmod(0o755)
    wanted = host_spec(
        folder=str(tmp_path), environment=Environment(str(python), vllm="0.32"), gpus=Gpus("A6000", 1, 47.4)
    )
    facts = Facts(gpus=(screen, a6000), given=EngineFact("3.11", "0.32.0"))
    script, _ = start_commands(facts, wanted)
    assert isinstance(script, Put)
    subprocess.run(["sh", "-c", script.data.decode()], check=True)
    assert (tmp_path / "logs" / "agent.log").read_text() == "GPU-a6000\n"
    other = replace(facts, gpus=(screen, replace(a6000, uuid="GPU-another")))
    assert wanted.agent_digest(other) != wanted.agent_digest(facts)


@pytest.mark.parametrize("ends", [True, False])
def test_an_agent_that_ends_by_itself_just_before_it_is_killed_is_no_failure(tmp_path, ends):
    with subprocess.Popen(["sleep", "60"]) as agent:
        stop = rendered(host_scripts().stop_agent, pid=agent.pid, grace_s=0, unit="", sudo="")
        fails = "command kill -KILL $2; sleep 0.2; return 1" if ends else "return 1"
        text = f'kill() {{ [ "$1" = -TERM ] || {{ {fails}; }}; }}\n{stop}'
        assert (subprocess.run(["sh", "-c", text], cwd=tmp_path, check=False).returncode == 0) is ends
        agent.kill()


async def test_stopping_tells_systemd_before_the_agent(local, machine, tmp_path):
    transport = local.transport(machine)
    log = with_standins(tmp_path)
    running = Facts(systemd=True, root=True, agent=AgentFact(2**22 - 1, 1.0, "0.0.0.0", 8443, "older"))
    [stop] = stop_commands(running, WANTED)
    assert isinstance(stop, Run)
    await transport.put("run/agent.wanted", b"older", 0o600)
    done = await transport.run(f"PATH={tmp_path}/bin:$PATH\n{stop.command}", timeout_s=20)
    assert done.code == 0
    assert log.read_text().splitlines() == [f"systemctl stop {NAME}"]
    assert (await transport.run("ls run", timeout_s=10)).stdout == b""


@pytest.mark.parametrize("facts", [Facts(systemd=True), Facts(root=True)])
def test_without_systemd_or_a_say_in_it_there_is_no_unit(facts):
    script, start = start_commands(facts, WANTED)
    assert script.why == f"write {SCRIPT}"
    assert isinstance(start, Run)
    assert "systemctl" not in start.command


def test_what_may_not_become_a_unit_never_does():
    """This host's own agents: its user's systemd is none of our business."""
    assert len(start_commands(Facts(systemd=True, root=True), host_spec())) == 2


def test_releasing_a_host_of_ones_own_takes_the_unit_away(tmp_path):
    """In a mount namespace of its own, where /etc/systemd/system is a folder of this test."""
    log = with_standins(tmp_path)
    lease = "0" * 36
    units, unit = tmp_path / "units", f"thunder-agent-{lease}.service"
    units.mkdir()
    (units / unit).write_text("[Service]\n")
    (tmp_path / "machine").mkdir()
    (tmp_path / "machine" / "machine.json").write_text(lease)
    script = (files("templates") / "release_machine.sh").read_text()
    (tmp_path / "release").write_text(script)
    release = f"PATH={tmp_path}/bin:$PATH sh {tmp_path}/release {tmp_path} {lease} 1"
    steps = f"mount --bind {units} /etc/systemd/system && {release}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", steps], capture_output=True, text=True, check=False)
    if "permitted" in done.stderr or "denied" in done.stderr:
        pytest.skip(f"No mount namespace can be made here: {done.stderr.strip()}")
    assert (done.returncode, done.stderr) == (0, "")
    assert log.read_text().splitlines() == [
        f"systemctl disable --quiet --now {unit}",
        "systemctl daemon-reload",
    ]
    assert list(units.iterdir()) == []
    assert not (tmp_path / "machine").exists()


def with_standins(folder: Path) -> Path:
    """Programs that note how they were called, in place of those that would change this host."""
    log = folder / "asked"
    log.write_text("")
    (folder / "bin").mkdir()
    for name, text in STANDINS.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{text.format(log=log, units=folder)}\n")
        (folder / "bin" / name).chmod(0o755)
    return log
