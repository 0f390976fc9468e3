"""Who may measure when, and the routes that a measurement asks for."""

import asyncio
import json
import os
import uuid
from pathlib import Path

import psutil
import pytest

from planner.deployment import Codec, Phase
from planner.validate import validate
from provisioners.base import Label, LeaseRequest
from provisioners.local.offers import OFFER_ID
from tests.thunderctl.calibration.test_record import RECORD
from thunderctl.calibration.fleet import CACHE_INFO, Fleet, fleet_plan, routed
from thunderctl.calibration.record import calibration_path, save
from thunderctl.cli.main import main
from thunderctl.compose import provisioner
from thunderctl.spec.inputs import read_llm
from thunderctl.world import open_world

MODEL = Path(__file__).parents[3] / "examples" / "tiny-llama"
OWNER = str(uuid.uuid4())


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    return tmp_path


def refused(capsys) -> dict:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--calibrate", "--json"])
    return {"code": ended.value.code, **json.loads(capsys.readouterr().out)["error"]}


def test_beside_a_deployment_nothing_is_measured_and_the_earlier_calibration_stays(capsys):
    save(RECORD)
    before = calibration_path().read_bytes()
    label = Label(OWNER, "mine", str(uuid.uuid4()))
    asyncio.run(provisioner("local").lease(LeaseRequest(label, OFFER_ID, 1.0)))
    error = refused(capsys)
    assert (error["code"], error["kind"]) == (4, "Refused")
    assert "Deployment mine is up on this host" in error["message"]
    assert "--deployment mine down" in error["hint"]
    assert calibration_path().read_bytes() == before


def test_without_an_engine_environment_it_says_how_to_make_one(capsys, monkeypatch):
    monkeypatch.setenv("THUNDER_ENGINE_PYTHON", "/no/such/python")
    error = refused(capsys)
    assert (error["code"], error["kind"]) == (2, "SpecError")
    assert "/no/such/python is not there" in error["message"]
    assert "make setup" in error["hint"]


def test_a_fleet_has_a_legal_plan_on_as_many_slots_as_are_free():
    whole = fleet_plan(read_llm(str(MODEL)), 99)
    free = asyncio.run(provisioner("local").offers())[0].available
    assert len(whole.instances) == len(whole.replicas) == free
    validate(routed(whole, [("r0", "r0", Codec.LOCAL)]))


def test_routes_give_replicas_the_phases_they_need():
    whole = fleet_plan(read_llm(str(MODEL)), 3)
    names = tuple(replica.id for replica in whole.replicas)
    alone = routed(whole, [(name, name, Codec.LOCAL) for name in names])
    assert {replica.phase for replica in alone.replicas} == {Phase.MIXED}
    assert sum(route.share for route in alone.routes) == pytest.approx(1)
    moved = routed(whole, [(names[0], names[-1], Codec.RAW)])
    assert moved.replica(names[-1]).phase is Phase.DECODE
    assert moved.plan_id != alone.plan_id


def test_what_sends_tokens_is_every_process_that_left_a_record_and_still_runs(home):
    (home / "local" / "m" / "run").mkdir(parents=True)
    with open_world("calibration") as world:
        up = Fleet(world, fleet_plan(read_llm(str(MODEL)), 1), "m")
        assert up.sending_cpu_s() == 0.0
        (home / "local" / "m" / "run" / "r0.pid.json").write_text(json.dumps({"pid": 2**22 + 1}))
        assert up.sending_cpu_s() == 0.0
        (home / "local" / "m" / "run" / "agent.pid.json").write_text(json.dumps({"pid": os.getpid()}))
        own = psutil.Process().cpu_times()
        assert up.sending_cpu_s() >= own.user + own.system > 0


def test_the_size_of_a_cache_is_read_from_vllms_own_words():
    said = 'vllm:cache_config_info{block_size="128",num_gpu_blocks="817",engine="0"} 1.0\n'
    assert CACHE_INFO.search(said).group(1) == 'block_size="128",num_gpu_blocks="817",engine="0"'
