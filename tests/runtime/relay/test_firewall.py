"""Two agents in two networks. A firewall drops what comes to the prefill agent's port, and tiles cross all the same."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from benchmarks.kv_relay_agents import Side, agent_pair
from planner.deployment import Codec
from runtime.messages import agent_name
from runtime.relay.ticket import AgentAddress
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry

PREFILL, DECODE, PORT = "10.213.9.1", "10.213.9.2", 7000
FORMAT = KvFormat(Geometry(32, 8, 128, "float16"), 384, Codec.RAW)
FIREWALL = f"rule add pref 50 iif wire ipproto tcp dport {PORT} blackhole"


def ip(command):
    done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no network namespaces here: `ip {command}` says {done.stderr.strip()}")


@pytest.fixture
def networks():
    """Two namespaces with a wire between them; to PORT of the first nothing comes through."""
    names = [f"thfw{os.getpid()}{side}" for side in "pd"]
    if os.geteuid():
        pytest.skip("network namespaces are root's to make")
    with ExitStack() as ending:
        for name in names:
            ip(f"netns add {name}")
            ending.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
        ip(f"-n {names[0]} link add wire type veth peer name wire netns {names[1]}")
        for name, host in zip(names, (PREFILL, DECODE), strict=True):
            ip(f"-n {name} addr add {host}/24 dev wire")
            ip(f"-n {name} link set wire up")
            ip(f"-n {name} link set lo up")
        for rule in ("rule add pref 100 lookup local", "rule del pref 0", FIREWALL):
            ip(f"-n {names[0]} {rule}")
        yield [("ip", "netns", "exec", name) for name in names]


def test_an_agent_behind_a_firewall_serves_pulls(tmp_path, networks):
    inside, outside = networks
    peer = AgentAddress(DECODE, PORT, agent_name("d"))
    hidden = {"port": PORT, "dialled": False, "peers": (peer,)}
    sides = [Side("p", PREFILL, inside, hidden), Side("d", DECODE, outside, {"port": PORT})]
    with agent_pair(tmp_path, FORMAT, sides) as pair:
        assert pair.pull() < 10
        dial = f"import socket; socket.create_connection(({PREFILL!r}, {PORT}), 1)"
        dialled = subprocess.run([*outside, sys.executable, "-c", dial], capture_output=True, text=True, check=False)
        assert "timed out" in dialled.stderr
        assert pair.pull() < 10
