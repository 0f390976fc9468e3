"""What goes wrong when bringing it up, told well and leaving nothing behind."""

import json
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from planner.document import plan_to_json
from tests.operating import Operator
from tests.planner.plans import split_plan
from thunderctl.cli.main import main

SPEC = (Path(__file__).parents[1] / "examples" / "local.toml").read_text()


@pytest.fixture
def operator(tmp_path, monkeypatch):
    """In a folder with the example's spec."""
    user = Operator(tmp_path, state="state")
    monkeypatch.setenv("THUNDER_HOME", str(user.state))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thunder.toml").write_text(SPEC)
    return user


@pytest.fixture
def said(operator, capsys):  # noqa: ARG001
    """Run a command in this process; its exit code, stdout and stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        shown = capsys.readouterr()
        return ended.value.code, shown.out, shown.err

    return run


@pytest.fixture
def leases(said):
    return lambda: json.loads(said("leases", "--json")[1])["leases"]


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A plan of the spec, which `up` then need not make anew."""
    home = tmp_path_factory.mktemp("planned")
    (home / "thunder.toml").write_text(SPEC)
    Operator(home).run("plan", "--out", "plan.json")
    return str(home / "plan.json")


def test_a_port_in_use_is_refused_before_anything_is_leased(tmp_path, planned, said, leases):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "thunder.toml").write_text(SPEC.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        code, _, narrated = said("up", planned, "--yes")
    assert code == 2
    assert f"Port {port} of 127.0.0.1 is in use" in narrated
    assert leases() == []


def test_without_a_confirmation_nothing_is_leased(planned, said, leases):
    code, _, narrated = said("up", planned)
    assert code == 4
    assert "--yes" in narrated
    assert leases() == []


def test_a_dry_run_shows_the_steps_and_does_none(said, leases):
    steps = json.loads(said("up", "--dry-run", "--json")[1])["steps"]
    assert [step["what"] for step in steps] == ["lease"] * 3 + ["prepare"] * 3 + ["start"] * 3 + ["route"]
    assert {step["state"] for step in steps} == {"planned"}
    assert leases() == []


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"provider": "lambda"}, 1, "can't rent from lambda yet"),
        ({}, 1, "VAST_API_KEY is not set"),
        ({"leasable": False}, 2, "The plan's offers of vast are not live ones"),
    ],
)
def test_what_cannot_be_rented_is_said_before_anything_is_touched(
    tmp_path, monkeypatch, said, leases, changes, code, words
):
    monkeypatch.setenv("VAST_API_KEY", "")
    plan = split_plan()
    wanted = replace(plan, instances=tuple(replace(instance, **changes) for instance in plan.instances))
    (tmp_path / "plan.json").write_text(json.dumps(plan_to_json(wanted)))
    ended, shown, _ = said("up", "plan.json", "--yes", "--json")
    assert ended == code
    assert words in json.loads(shown)["error"]["message"]
    assert leases() == []


REST = [pytest.param(label, marks=pytest.mark.soak) for label in ("C0", "C1", "C3", "C5")]
"""tests/provisioners/test_crash_points.py kills at every one of them, without the commands around it."""


@pytest.mark.parametrize("label", ["C4", *REST])
def test_killed_at_any_point_of_leasing_down_leaves_nothing(operator, planned, leases, label):
    operator.environment["THUNDER_CRASH_AT"] = label
    operator.run("up", planned, "--yes", code=-signal.SIGKILL)
    del operator.environment["THUNDER_CRASH_AT"]
    operator.run("down", "--yes")
    assert leases() == []
    assert operator.folders() == []


@pytest.mark.engine
def test_an_engine_that_dies_shows_why_and_down_leaves_nothing(operator, tmp_path, leases):
    broken = SPEC.replace("max_model_len = 4096", 'max_model_len = 4096\nextra_args = ["--max-num-seqs=0"]')
    (tmp_path / "thunder.toml").write_text(broken.replace("0.06 ", "0.02 "))
    process = operator.start("up", "--yes")
    _, narrated = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "ended before it was ready" in narrated
    assert "max_num_seqs" in narrated
    assert "thunderctl logs" in narrated
    assert "thunderctl down" in narrated
    assert len(leases()) == 1
    operator.run("down", "--yes")
    assert leases() == []
    assert operator.folders() == []
