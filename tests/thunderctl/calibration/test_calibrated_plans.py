"""Plans on a host that was calibrated: they use what was measured, say so, and carry it with them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planner.document import plan_from_json, plan_to_json
from planner.errors import SpecError
from planner.replay import replay
from planner.simulation.scenario import Requests
from tests.thunderctl.calibration.test_record import RECORD
from thunderctl.calibration.record import Machine, calibration_path, save
from thunderctl.cli.main import main
from thunderctl.planning import make_plan
from thunderctl.spec.spec import load_spec

ROOT = Path(__file__).parents[3]
SPEC = ROOT / "examples" / "local.toml"
SLOW = replace(RECORD, gpu=replace(RECORD.gpu, step_s=9e-3))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    return tmp_path


def said(capsys, *arguments: str) -> dict:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    assert ended.value.code == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def plan():
    return make_plan(load_spec(SPEC))


def test_without_a_calibration_a_plan_for_this_host_says_so(plan):
    assert not plan.predicted.calibrated
    assert plan.calibrations == ()
    assert any("CPU" in note for note in plan.notes)


def test_a_calibrated_host_makes_calibrated_plans_that_can_be_simulated_anywhere():
    save(SLOW)
    plan = make_plan(load_spec(SPEC))
    assert plan.predicted.calibrated
    assert plan.calibrations == (SLOW.gpu,)
    assert {instance.handover_ms for instance in plan.instances} == {25.0}
    calibration_path().unlink()
    document = json.loads(json.dumps(plan_to_json(plan)))
    assert document["gpu_calibrations"]["CPU"]["step_s"] == 9e-3
    elsewhere = plan_from_json(document)
    assert elsewhere == plan
    one = Requests(np.array([0.0]), np.array([10.0]), np.array([11.0]))
    found = replay(elsewhere, one, seed=0).timings
    assert float(found.last_s[0] - found.first_s[0]) / 10 >= 9e-3


def test_offers_say_which_gpus_are_calibrated(capsys):
    offers = said(capsys, "offers", "--spec", str(SPEC))["offers"]
    assert {offer["calibrated"] for offer in offers} == {False}
    save(RECORD)
    offers = said(capsys, "offers", "--spec", str(SPEC))["offers"]
    assert {offer["calibrated"] for offer in offers} == {True}


def test_another_machines_calibration_changes_nothing():
    save(replace(RECORD, machine=Machine("an abacus", 1)))
    assert not make_plan(load_spec(SPEC)).predicted.calibrated


def test_a_broken_file_stops_plans_that_would_use_it_and_the_doctor_says_so(capsys):
    calibration_path().write_text("{}")
    with pytest.raises(SpecError, match=r"is no thunder\.calibration/v1 document"):
        make_plan(load_spec(SPEC))
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json"])
    assert ended.value.code == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert not checks["calibration"]["ok"]
    assert "doctor --calibrate" in checks["calibration"]["mend"]
