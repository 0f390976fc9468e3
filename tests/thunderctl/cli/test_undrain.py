"""`drain` and `undrain`: routes without a replica or machine, and with it again, over engines that go on."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import planner.rebalance
from planner.catalog import Link
from planner.document import plan_to_json
from planner.rebalance import Rebalanced
from planner.rebalancing.flips import without
from planner.traces import workload_named
from provisioners.leases.journal import LeaseRow, LeaseState
from runtime.messages import AgentHealth, EngineHealth, ReplicaAddress, Routes, agent_name
from tests.planner.plans import split_plan
from thunderctl.cli.main import main
from thunderctl.cli.rebalance import as_it_is
from thunderctl.deploying.routing import shares_of
from thunderctl.observing import observe
from thunderctl.observing.observe import InstanceView, Observation
from thunderctl.processes.router_process import RouterProcess
from thunderctl.store.store import Store
from thunderctl.store.values import DeploymentState
from thunderctl.world import World

PLAN = split_plan()
STATES = {"r0": "ready", "r1": "ready", "r2": "ready"}
LENGTHS = [[1200, 200]] * 30


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Three machines, their engines ready; routes as the router was told them, the last one in force."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    addresses = tuple(ReplicaAddress(one.id, one.phase, f"https://x/r/{one.id}") for one in PLAN.replicas)
    told = [Routes(1, "m", addresses, tuple(shares_of(PLAN)), PLAN.plan_id)]

    async def serve(_, routes, __):
        told.append(routes)

    async def observed(_):
        return {"lengths": LENGTHS, "rate_rps": 1.0, "window_s": 60.0}

    async def seen(_):
        return Observation(tuple(map(view, ("i0", "i1", "i2"))), told[-1], "")

    monkeypatch.setattr(RouterProcess, "serve", serve)
    monkeypatch.setattr(RouterProcess, "routes", lambda _: told[-1])
    monkeypatch.setattr(RouterProcess, "running", lambda _: {"pid": 1, "host": "127.0.0.1", "port": 1})
    monkeypatch.setattr(RouterProcess, "observed", observed)
    monkeypatch.setattr(World, "router_tls", lambda _: None)
    monkeypatch.setattr(observe, "observe_once", seen)
    with Store() as store:
        store.save_plan(PLAN.plan_id, "default", plan_to_json(PLAN))
        state = DeploymentState.SERVING
        store.save_deployment(replace(store.deployment("default"), plan_id=PLAN.plan_id, epoch=1, state=state))
        for one in PLAN.instances:
            store.add_lease(lease(one))
    return told


@pytest.fixture
def quick(monkeypatch):
    """Phases stay as they are, which no search is needed for."""

    def decide(current, *_, lost=(), **__):
        left = without(current, lost)
        plan = replace(left, plan_id=f"{current.plan_id} {'-'.join(sorted(one.id for one in left.replicas))}")
        return Rebalanced(plan, None, (), 0.0, 0.0)

    monkeypatch.setattr(planner.rebalance, "rebalance", decide)


def lease(instance):
    values = f"l-{instance.id}", "me", "default", PLAN.plan_id, instance.id, "vast", "Earth", instance.offer_id
    return LeaseRow(*values, f"label-{instance.id}", 1.0, LeaseState.READY, 1.0, provider_id=f"m-{instance.id}")


def view(instance):
    row = next(lease(one) for one in PLAN.instances if one.id == instance)
    engines = tuple(EngineHealth(one.id, STATES[one.id]) for one in PLAN.replicas if one.instances[0] == instance)
    agent = SimpleNamespace(url=f"https://{instance}", name=agent_name(row.lease_id))
    return InstanceView(row, None, agent, AgentHealth(instance, "1", engines=engines))


def command(*words, code=0):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == code


def replicas(routes):
    return {one.id for one in routes.replicas}


def test_a_replica_is_drained_and_taken_back(told, capsys):
    command("drain", "r2", "--yes")
    assert replicas(told[-1]) == {"r0", "r1"}
    capsys.readouterr()
    command("undrain", "r2", "--yes", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["back"], found["changes"], found["epoch"]) == (["r2"], True, 3)
    assert found["why"][0] == "r2 is back: the machine was never released."
    assert replicas(told[-1]) == {"r0", "r1", "r2"}
    assert [one.url for one in told[-1].replicas if one.id == "r2"] == ["https://i1/r/r2"]
    with Store() as store:
        assert store.deployment("default").plan_id == told[-1].plan_id == found["plan_id"]


@pytest.mark.usefixtures("quick")
def test_a_machine_is_taken_back_with_all_that_it_had(told):
    command("drain", "i0", "--yes")
    assert replicas(told[-1]) == {"r2"}
    command("undrain", "i0", "--yes")
    assert replicas(told[-1]) == {"r0", "r1", "r2"}


@pytest.mark.usefixtures("told")
def test_a_drain_is_shown_beside_what_is_in_force_with_what_is_drained(monkeypatch, capsys):
    """Not beside what is left: that would look as if it cost nothing. Of what is lost, that is all there is."""
    whole, left = (replace(PLAN, predicted=replace(PLAN.predicted, goodput_rps=rps)) for rps in (4.0, 1.8))

    def decide(current, *_, lost=(), **__):
        plan = replace(without(current, lost), plan_id=f"{len(lost)} {current.plan_id}", predicted=left.predicted)
        return Rebalanced(plan, left if lost else whole, ("So it is.",), 0.0, 0.0)

    monkeypatch.setattr(planner.rebalance, "rebalance", decide)
    command("drain", "r2", "--dry-run", "--json")
    found = json.loads(capsys.readouterr().out)
    assert [found[f"predicted_{when}"]["goodput_rps"] for when in ("before", "after")] == [4.0, 1.8]
    assert "Without r2: attainment 93% → 93%" in found["why"][-1]
    assert "goodput 4 → 1.8 requests/s (simulated)" in found["why"][-1]
    command("drain", "r2", "--yes")
    capsys.readouterr()
    command("undrain", "r2", "--dry-run", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["predicted_before"]["goodput_rps"] == 4.0, "of those in force, under what comes now"
    command("undrain", "r2", "--yes")
    capsys.readouterr()
    monkeypatch.setitem(STATES, "r2", "failed")
    command("drain", "r2", "--dry-run", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["predicted_before"]["goodput_rps"], found["why"]) == (1.8, ["So it is."])


def test_what_is_in_force_is_judged_over_its_own_links():
    """Of what comes back links are known too, which the plan in force knows nothing of."""
    in_force, coming = without(PLAN, ["i1"]), workload_named("conversation").at(0.5)
    links = {("i0", "i1"): Link(1.0, 1.0), ("o0", "o1"): Link(1.0, 1.0)}
    now = as_it_is(in_force, coming, None, links)
    assert now is not None
    assert (now.routes, now.workload.rate_rps) == (as_it_is(in_force, coming, None, {}).routes, 0.5)


@pytest.mark.usefixtures("quick")
def test_a_dry_run_of_it_changes_nothing_and_shows_who_comes_back(told, capsys):
    command("drain", "r2", "--yes")
    capsys.readouterr()
    command("undrain", "r2", "--dry-run")
    assert len(told) == 2
    assert "drained" in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
def test_of_too_few_requests_the_specs_workload_is_planned_for(told, monkeypatch, capsys):
    command("drain", "r2", "--yes")

    async def observed(_):
        return {"lengths": LENGTHS[:3], "rate_rps": 1.0, "window_s": 60.0}

    monkeypatch.setattr(RouterProcess, "observed", observed)
    command("undrain", "r2", "--yes")
    assert replicas(told[-1]) == {"r0", "r1", "r2"}
    assert "Too few requests were observed" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_of_too_few_requests_and_with_the_specs_trace_gone_what_the_plan_knows_is_planned_for(
    told, monkeypatch, capsys
):
    command("drain", "r2", "--yes")

    async def observed(_):
        return {"lengths": [], "rate_rps": 0.0, "window_s": 60.0}

    monkeypatch.setattr(RouterProcess, "observed", observed)
    with Store() as store:
        gone = {"workload": {"trace": "/no/such/folder/requests.csv"}}
        store.save_deployment(replace(store.deployment("default"), spec=gone))
    command("undrain", "r2", "--yes")
    assert replicas(told[-1]) == {"r0", "r1", "r2"}
    assert "requests.csv can't be read" in capsys.readouterr().err


@pytest.mark.usefixtures("told", "quick")
def test_what_is_not_drained_is_not_taken_back(capsys):
    command("undrain", "r2", "--yes", code=4)
    assert "r2 is not drained: it is of the plan in force" in capsys.readouterr().err
    command("undrain", "r9", "--yes", code=4)
    assert "no earlier plan of default has it" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_what_is_being_released_is_not_taken_back(told, capsys):
    command("drain", "i0", "--yes")
    with Store() as store:
        (row,) = (one for one in store.leases("default") if one.instance == "i0")
        store.update_lease(row.moved(LeaseState.DRAINING, reason="its lease ends"), was=row.state)
    command("undrain", "i0", "--yes", code=4)
    assert "over machines that are rented and ready" in capsys.readouterr().err
    assert len(told) == 2


@pytest.mark.usefixtures("told", "quick")
def test_an_engine_that_is_gone_is_not_given_requests(monkeypatch, capsys):
    command("drain", "r2", "--yes")
    monkeypatch.setitem(STATES, "r2", "failed")
    command("undrain", "r2", "--yes", code=4)
    assert "Replicas r2 are not ready" in capsys.readouterr().err


def test_a_rebalance_puts_in_force_what_one_before_left_half_way(told, monkeypatch):
    """Nothing else would differ: the plan that is wanted is the best, and the router has the routes of another."""
    monkeypatch.setattr(
        planner.rebalance, "rebalance", lambda current, *_, **__: Rebalanced(current, None, (), 0.0, 0.0)
    )
    command("rebalance", "--yes")
    assert len(told) == 1, "nothing to change"
    told.append(replace(told[0], plan_id="another"))
    command("rebalance", "--yes")
    assert [one.plan_id for one in told[2:]] == [PLAN.plan_id]
