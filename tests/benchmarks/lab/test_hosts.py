"""The lab's hosts, really made: who logs in is held to the host's quota; killed, it is silent; then it is back."""

import subprocess

import pytest

from benchmarks.lab.hosts import Kind, hosts
from benchmarks.lab.leavings import left_of_hosts
from tests.provisioners.networks import Unavailable

SUBNET = 14
QUIET = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=1", "-q")


@pytest.fixture
def made(tmp_path):
    try:
        with hosts(tmp_path, (Kind("one", 0.5), Kind("two", 0.25)), SUBNET) as found:
            yield found
    except Unavailable as reason:
        pytest.skip(f"no hosts here: {reason}")


def said(host, *command):
    """What a command says that somebody runs there over SSH; None where nobody gets in."""
    key = str(host.folder / "sshd" / "login")
    done = subprocess.run(
        ["ssh", *QUIET, "-i", key, f"root@{host.network.address}", *command], capture_output=True, text=True, timeout=30
    )
    return done.stdout if done.returncode == 0 else None


def test_a_host_has_its_own_network_quota_and_line_and_is_back_after_its_power_failed(made):
    one, two = made
    assert one.group.folder.name in said(one, "cat", "/proc/self/cgroup")
    assert said(one, "bash", "-c", f"'exec 3<>/dev/tcp/{two.network.address}/22'") == ""
    one.shape(20.0)
    assert "rate 20Mbit" in said(one, "tc", "qdisc", "show", "dev", "wire")

    assert one.kill() >= 1
    assert said(one, "true") is None
    assert said(two, "true") is not None

    one.be_on()
    assert said(one, "echo", "back") == "back\n"
    server = one.server
    one.be_on()
    assert one.server is server


def test_nothing_of_the_hosts_is_left(tmp_path):
    try:
        with hosts(tmp_path, (Kind("one", 0.5),), SUBNET) as made:
            assert all(left_of_hosts(made).values())
            made[0].kill()
    except Unavailable as reason:
        pytest.skip(f"no hosts here: {reason}")
    assert not any(left_of_hosts(made).values())
