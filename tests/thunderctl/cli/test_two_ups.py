"""Two `up` at once: the second is told who is at it, since when and what for, and changes nothing."""

import json
import os
import subprocess
import sys

import pytest

from planner.errors import Refused
from thunderctl.store.store import Store

AT_WORK = """
import sys
from thunderctl.cli import up
from thunderctl.cli.main import main

def intended(*_, **__):
    print("at work", flush=True)
    sys.stdin.readline()
    raise SystemExit(0)

up.intended = intended
main(["up", "--yes"])
"""
"""The command itself, which has got as far as deciding what to do."""


@pytest.fixture
def first(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-P", "-c", AT_WORK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "at work\n"
        yield process
        process.kill()


def test_the_second_is_told_who_holds_the_lock_and_gets_it_when_that_one_was_killed(first):
    command = [sys.executable, "-P", "-m", "thunderctl", "up", "--yes", "--json"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=120)
    error = json.loads(second.stdout)["error"]
    assert second.returncode == Refused.exit_code
    assert error["kind"] == "Refused"
    for part in ("Deployment default is being changed by ", f"(process {first.pid}) since ", ": up"):
        assert part in error["message"]
    first.kill()
    first.wait()
    with Store() as store, store.lock("default", "up"):
        assert store.holder("default").pid == os.getpid()
        assert store.leases() == ()
