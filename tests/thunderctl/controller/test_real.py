"""A real controller beside real agents and engines: what dies is routed around, what ends is drained and released.

One deployment of three replicas, in order: its controller is killed and another takes its place; a decode engine dies
under streams that outlive it; its machine is gone; leases end while the controller is killed in the midst of draining.
"""

import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import openai
import psutil
import pytest

from provisioners.leases.journal import LeaseState
from tests.operating import Operator, until
from tests.streaming import TOKENS, legs_broken_off, streams
from thunderctl.store.store import Store

EXAMPLES = Path(__file__).parents[3] / "examples"
SPEC = (EXAMPLES / "local.toml").read_text()
EXACT = SPEC.replace('"int4" ', '"raw" ').replace('preset = "conversation"', f'trace = "{EXAMPLES}/writing.csv"')
"""With KV as it was computed, and two replicas that decode."""

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    home = tmp_path_factory.mktemp("controlled")
    user = Operator(home)
    (home / "thunder.toml").write_text(EXACT)
    try:
        user.run("up", "--yes")
        yield user
    finally:  # an `up` that fails, or is interrupted, leaves a router and a controller too
        user.end_all()


@pytest.fixture
def store(deployed):
    with Store(f"sqlite:///{deployed.home / 'store.db'}") as opened:
        yield opened


def ask(deployed):
    endpoint = deployed.look()["endpoint"]
    with openai.OpenAI(base_url=endpoint, api_key="none", max_retries=0, timeout=120) as client:
        answer = client.completions.create(model="tiny-llama", prompt="def f(", max_tokens=8, temperature=0)
        return answer.choices[0].finish_reason


def kinds(store):
    return {event.kind for event in store.events("default")}


def decodes(status):
    return [replica for replica in status["replicas"] if replica["phase"] == "decode"]


def test_up_starts_a_controller_that_speaks_to_every_agent(deployed):
    status = deployed.json("status")
    assert status["controller"]["state"] == "running"
    assert status["alerts"] == []
    files = list((deployed.home / "local").glob("*/run/renewed"))
    assert len(files) == 3
    before = {file: file.stat().st_mtime for file in files}
    until(lambda: all(file.stat().st_mtime > before[file] for file in files), 30)


def test_a_controller_that_is_killed_is_missed_and_the_next_up_starts_another(deployed):
    before = deployed.look()
    psutil.Process(before["controller"]["pid"]).kill()
    until(lambda: deployed.look()["controller"]["state"] == "stopped", 30)
    assert any("No controller runs" in alert for alert in deployed.look()["alerts"])
    assert deployed.json("up", "--yes")["steps"] == []
    after = deployed.look()
    assert after["controller"]["state"] == "running"
    assert after["controller"]["pid"] != before["controller"]["pid"]
    assert after["epoch"] == before["epoch"]


def test_a_command_does_its_work_beside_the_controller(deployed):
    """The controller never holds the lock for long: who comes then waits for it, and is not refused."""
    for _ in range(3):
        deployed.run("gc")


@pytest.fixture(scope="module")
def routed_around(deployed):
    """What was seen before a decode engine was killed, that replica, and four streams with and without that."""
    status = deployed.look()
    assert len(decodes(status)) == 2
    lost = decodes(status)[0]
    undisturbed = streams(status["endpoint"], lambda: None)
    disturbed = streams(status["endpoint"], lambda: os.kill(lost["pid"], signal.SIGKILL))
    return status, lost, undisturbed, disturbed


def test_streams_outlive_a_decode_engine_that_is_killed(routed_around):
    """Row 2: of four greedy streams some were on it, as a rule two, and no client can tell which."""
    status, lost, undisturbed, disturbed = routed_around
    assert disturbed == undisturbed
    assert [(stream.ids, stream.finish) for stream in disturbed] == [(1, ["length"])] * 4
    assert [stream.usage[1] for stream in disturbed] == [TOKENS] * 4
    assert legs_broken_off(status["endpoint"], lost["id"]) >= 1


def test_an_engine_that_dies_is_routed_around_and_the_event_says_why(deployed, routed_around):
    status, lost, *_ = routed_around
    until(lambda: deployed.look()["epoch"] > status["epoch"], 30)
    after = deployed.look()
    assert after["routes"]
    assert lost["id"] not in {route["decode"] for route in after["routes"]}
    assert ask(deployed) == "length"
    events = deployed.json("events")["events"]
    said = next(event["message"] for event in events if event["kind"] == "controller.route")
    assert f"{lost['id']} left out: " in said  # a busy host's agent may have been missed before it could say more
    cause = f"{lost['id']} can't serve: its engine is failed"
    until(lambda: any(cause in alert for alert in deployed.look()["alerts"]), 30)


def test_a_machine_that_is_gone_is_replaced_by_itself(deployed, routed_around, store):
    """The machine's folder is the machine: without it the provider lists nothing."""
    _, dead, *_ = routed_around
    lost = next(one for one in deployed.look()["instances"] if one["id"] == dead["instances"][0])
    folder = deployed.home / "local" / lost["lease_id"]
    for process in deployed.processes():
        with suppress(psutil.NoSuchProcess):
            if process.cwd().startswith(str(folder)):
                process.kill()
    shutil.rmtree(folder.rename(deployed.home / "gone"))
    until(lambda: deployed.look()["state"] == "serving", 180)
    after = deployed.look()
    assert lost["lease_id"] not in {one["lease_id"] for one in after["instances"]}
    assert {one["state"] for one in after["replicas"]} == {"ready"}
    assert ask(deployed) == "length"
    assert "controller.replace" in kinds(store)


def test_a_lease_that_ends_is_drained_and_released_though_the_controller_is_killed_meanwhile(deployed, store):
    psutil.Process(deployed.look()["controller"]["pid"]).kill()
    for row in store.leases("default"):
        if row.state is LeaseState.READY:
            store.update_lease(replace(row, expires_at=time.time() + 12), was=row.state)

    deployed.environment["THUNDER_CRASH_AT"] = "K1"
    killed = deployed.start("run", "controller")
    killed.communicate(timeout=60)
    del deployed.environment["THUNDER_CRASH_AT"]
    assert killed.returncode == -signal.SIGKILL
    states = sorted(row.state for row in store.leases("default") if row.state.may_cost)
    assert states == ["draining", "ready", "ready"]

    second = deployed.start("run", "controller")
    until(lambda: {row.state for row in store.leases("default")} == {LeaseState.GONE}, 90)
    second.terminate()
    second.communicate(timeout=30)
    assert deployed.look()["state"] == "absent"
    assert deployed.folders() == []
    assert {"controller.drain", "controller.close", "controller.release", "lease.gone"} <= kinds(store)


def test_down_ends_what_is_left(deployed):
    deployed.run("down", "--yes")
    assert deployed.processes() == []
