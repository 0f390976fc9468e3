"""What goes wrong when bringing it up, told well and leaving nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from planner.document import plan_to_json
from tests.planner.plans import split_plan

SPEC = (Path(__file__).parents[1] / "examples" / "local.toml").read_text()


def thunderctl(home, *arguments, **variables):
    command = [sys.executable, "-P", "-m", "thunderctl", *arguments]
    environment = os.environ | {"THUNDER_HOME": str(home / "state")} | variables
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=200)


def leases(home):
    return json.loads(thunderctl(home, "leases", "--json").stdout)["leases"]


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A plan of the spec, which `up` then need not make anew."""
    home = tmp_path_factory.mktemp("planned")
    (home / "thunder.toml").write_text(SPEC)
    assert thunderctl(home, "plan", "--out", "plan.json").returncode == 0
    return str(home / "plan.json")


def test_a_port_in_use_is_refused_before_anything_is_leased(tmp_path, planned):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "thunder.toml").write_text(SPEC.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        done = thunderctl(tmp_path, "up", planned, "--yes")
    assert done.returncode == 2
    assert f"Port {port} of 127.0.0.1 is in use" in done.stderr
    assert leases(tmp_path) == []


def test_without_a_confirmation_nothing_is_leased(tmp_path, planned):
    (tmp_path / "thunder.toml").write_text(SPEC)
    done = thunderctl(tmp_path, "up", planned)
    assert done.returncode == 4
    assert "--yes" in done.stderr
    assert leases(tmp_path) == []


def test_a_dry_run_shows_the_steps_and_does_none(tmp_path):
    (tmp_path / "thunder.toml").write_text(SPEC)
    outcome = json.loads(thunderctl(tmp_path, "up", "--dry-run", "--json").stdout)
    assert [step["what"] for step in outcome["steps"]] == ["lease"] * 3 + ["prepare"] * 3 + ["start"] * 3 + ["route"]
    assert {step["state"] for step in outcome["steps"]} == {"planned"}
    assert leases(tmp_path) == []


def test_a_market_that_cannot_be_rented_from_yet_is_said_before_anything_is_touched(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(plan_to_json(split_plan())))
    done = thunderctl(tmp_path, "up", "plan.json", "--yes", "--json")
    assert done.returncode == 1
    assert "can't rent from vast yet" in json.loads(done.stdout)["error"]["message"]
    assert leases(tmp_path) == []


@pytest.mark.parametrize("label", ["C0", "C1", "C3", "C4", "C5"])
def test_killed_at_any_point_of_leasing_down_leaves_nothing(tmp_path, planned, label):
    (tmp_path / "thunder.toml").write_text(SPEC)
    killed = thunderctl(tmp_path, "up", planned, "--yes", THUNDER_CRASH_AT=label)
    assert killed.returncode == -signal.SIGKILL
    assert thunderctl(tmp_path, "down", "--yes").returncode == 0
    assert leases(tmp_path) == []
    assert [path for path in (tmp_path / "state" / "local").iterdir() if path.is_dir()] == []


@pytest.mark.engine
def test_an_engine_that_dies_shows_why_and_down_leaves_nothing(tmp_path):
    broken = SPEC.replace("max_model_len = 4096", 'max_model_len = 4096\nextra_args = ["--max-num-seqs=0"]')
    (tmp_path / "thunder.toml").write_text(broken.replace("0.06 ", "0.02 "))
    done = thunderctl(tmp_path, "up", "--yes")
    assert done.returncode == 1
    assert "ended before it was ready" in done.stderr
    assert "max_num_seqs" in done.stderr
    assert "thunderctl logs" in done.stderr
    assert "thunderctl down" in done.stderr
    assert len(leases(tmp_path)) == 1
    assert thunderctl(tmp_path, "down", "--yes").returncode == 0
    assert leases(tmp_path) == []
    assert [path for path in (tmp_path / "state" / "local").iterdir() if path.is_dir()] == []
