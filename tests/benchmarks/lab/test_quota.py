"""Control groups: where they are made by what /proc says, and what they do to processes."""

import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.lab.quota import group, place_of
from tests.operating import until
from tests.provisioners.networks import Unavailable

V1 = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"
V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n"
V1_LIMITS = {"cpu.cfs_period_us": "20000", "cpu.cfs_quota_us": "7000"}


@pytest.mark.parametrize(
    ("own", "mounts", "place", "limits"),
    [
        ("3:cpu,cpuacct:/low\n2:memory:/other\n", V1, "/sys/fs/cgroup/cpu,cpuacct/low", V1_LIMITS),
        (
            "3:cpu,cpuacct:/\n0::/\n",
            V1 + V2.replace("cgroup ", "cgroup/unified "),
            "/sys/fs/cgroup/cpu,cpuacct",
            V1_LIMITS,
        ),
        ("0::/user.slice/session-1\n", V2, "/sys/fs/cgroup", {"cpu.max": "7000 20000"}),
    ],
)
def test_a_group_is_made_where_its_quota_holds(own, mounts, place, limits):
    assert place_of(own, mounts, 0.35) == (Path(place), limits)


def test_without_control_groups_that_is_said():
    with pytest.raises(Unavailable, match="no control groups"):
        place_of("", "tmpfs / tmpfs rw 0 0\n", 0.5)


@pytest.fixture
def stack():
    """Ends what is entered."""
    with ExitStack() as entered:
        yield entered


def made(stack, name):
    """A group of this machine, where it can have one."""
    try:
        return stack.enter_context(group(f"thunder-test-{name}-{os.getpid()}", 0.5))
    except Unavailable as reason:
        pytest.skip(f"no control groups here: {reason}")


def started(own, script):
    """A shell in the group that has said that it runs."""
    process = subprocess.Popen([*own.through, "sh", "-c", f"echo started; {script}"], stdout=subprocess.PIPE)
    with process.stdout:
        assert process.stdout.readline() == b"started\n"
    return process


def test_whoever_is_started_in_a_group_is_in_it_with_all_that_it_starts(stack):
    own = made(stack, "all")
    process = started(own, "sleep 60 & wait")
    until(lambda: len(own.pids()) == 2, 10)
    assert process.pid in own.pids()
    assert own.kill_all() == 2
    assert own.pids() == []
    assert process.wait(10) == -signal.SIGKILL


def test_the_group_is_gone_with_what_ran_in_it(stack):
    own = made(stack, "gone")
    process = started(own, "exec sleep 60")
    stack.close()
    assert process.wait(10) == -signal.SIGKILL
    assert not own.folder.exists()
