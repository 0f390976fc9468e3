"""A question that nobody answers holds up nobody, and what was agreed to is what is done."""

import asyncio
import json
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from planner.deployment import Phase
from planner.document import plan_to_json
from planner.errors import Refused
from planner.rebalance import Rebalanced
from planner.reconcile import Step, StepKind
from provisioners.leases.journal import LeaseRow, LeaseState
from runtime.processes import ProcessId, is_alive
from tests.planner.plans import split_plan
from thunderctl.cli import decided as deciding
from thunderctl.cli import down, rebalance, up
from thunderctl.cli.decided import Decided
from thunderctl.cli.intended import Intended
from thunderctl.cli.main import main
from thunderctl.controller.process import REPLACING
from thunderctl.deploying import lifecycle, refill, taking_down, wanted_again
from thunderctl.deploying.replacers import MOST, instances_of, replacers, replacing
from thunderctl.fleet.resting import Resting
from thunderctl.observing import observe
from thunderctl.observing.links import KnownLinks
from thunderctl.observing.observe import Observation
from thunderctl.spec.spec import Spec
from thunderctl.store.locks import Held
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState
from thunderctl.world import World

PLAN = split_plan()
LEASE = Step(StepKind.LEASE, "i0")
FOUND = Intended(PLAN, Spec(), (LEASE,), "", Resting())


class Asked(list[str]):
    """Answers yes, and notes for each question who held the lock while it was asked."""

    meanwhile: Any = None

    def __call__(self, question, *, yes):
        if not yes:
            with Store() as store:
                assert store.holder("default") is None
            self.append(question)
            if self.meanwhile is not None:
                self.meanwhile()


@pytest.fixture(autouse=True)
def asked(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    asked = Asked()
    monkeypatch.setattr(up, "confirm", asked)
    monkeypatch.setattr(down, "confirm", asked)
    monkeypatch.setattr(deciding, "confirm", asked)
    return asked


@pytest.fixture
def brought_up(monkeypatch):
    """What `up` carries out, with who holds the lock then."""
    done = []
    monkeypatch.setattr(
        up, "_carry_out", lambda world, _held, found, *_, **__: done.append((found, world.store.holder("default")))
    )
    return done


def looks(monkeypatch, *found):
    """What one look after the other finds."""
    left = list(found)
    monkeypatch.setattr(up, "intended", lambda *_, **__: left.pop(0))
    return left


def command(*arguments, code=0):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == code


def rent(lease_id):
    known = ("owner", "default", PLAN.plan_id, "i0", "vast", "Earth", "o0", lease_id, 1.25)
    with Store() as store:
        store.add_lease(LeaseRow(lease_id, *known, LeaseState.READY, 0.0, sent_at=0.0))


def test_up_asks_without_the_lock_and_looks_again_with_it(asked, brought_up, monkeypatch):
    left = looks(monkeypatch, FOUND, FOUND)
    command("up")
    assert (len(asked), left) == (1, [])
    [(found, holder)] = brought_up
    assert (found, holder.message) == (FOUND, "up")


@pytest.mark.parametrize(
    "changed",
    [
        replace(FOUND, steps=(LEASE, Step(StepKind.LEASE, "i1"))),
        replace(FOUND, wanted=replace(PLAN, plan_id="dearer", budget_usd_per_hour=99.0)),
    ],
)
def test_up_asks_again_where_there_is_more_to_do_or_another_plan(asked, brought_up, monkeypatch, changed):
    looks(monkeypatch, FOUND, changed, changed)
    command("up")
    assert len(asked) == 2
    assert [found for found, _ in brought_up] == [changed]


def test_up_does_less_without_asking_again(asked, brought_up, monkeypatch):
    less = replace(FOUND, steps=(LEASE,))
    looks(monkeypatch, replace(FOUND, steps=(LEASE, Step(StepKind.LEASE, "i1"))), less)
    command("up")
    assert (len(asked), [found for found, _ in brought_up]) == (1, [less])


def test_up_that_need_not_ask_looks_once(asked, brought_up, monkeypatch):
    looks(monkeypatch, FOUND)
    command("up", "--yes")
    assert (asked, len(brought_up)) == ([], 1)


@pytest.mark.parametrize(("state", "code"), [(DeploymentState.SERVING, 0), (DeploymentState.STOPPING, 4)])
def test_the_controllers_up_brings_back_nothing_that_was_taken_down(monkeypatch, state, code):
    done = []

    async def ways_to(_site, instances):
        with Store() as store:
            done.append((tuple(instances), store.holder("default"), instances_of(replacers(store, "default"))))
        return {}

    async def nothing(*_): ...

    monkeypatch.setattr(refill, "ways_to", ways_to)
    monkeypatch.setattr(refill, "list_weights", nothing)
    monkeypatch.setattr(refill, "check_host", lambda *_: None)
    monkeypatch.setattr(World, "look_after", nothing)
    with Store() as store:
        store.save_plan(PLAN.plan_id, "default", plan_to_json(PLAN))
        store.save_deployment(Deployment("default", state, plan_id=PLAN.plan_id))
    command("up", "--yes", "--replacing", "--only", "i0", "--only", "i1", code=code)
    assert done == [(("i0", "i1"), None, {"i0", "i1"})] * (code == 0), "it says what it is at, and holds no lock"


@pytest.fixture
def taken_down(monkeypatch):
    done = []

    async def take_down(world, **_):
        done.append(world.store.holder("default").message)
        return ()

    monkeypatch.setattr(taking_down, "take_down", take_down)
    return done


def test_down_renews_the_lock_for_as_long_as_it_takes(taken_down, monkeypatch):
    kept = []
    during = Held.during

    async def counted(held, work):
        kept.append(held.holder.message)
        return await during(held, work)

    monkeypatch.setattr(Held, "during", counted)
    command("down", "--yes")
    assert (kept, taken_down) == (["down"], ["down"])


def test_up_has_a_controller_run_before_it_leases(monkeypatch):
    done = []

    async def look_after(_world):
        done.append("controller")

    def bring_up(*_):
        done.append("bring up")
        return (), None

    monkeypatch.setattr(World, "look_after", look_after)
    monkeypatch.setattr(wanted_again, "go_on", lambda *_, **__: None)
    monkeypatch.setattr(up, "_bring_up", bring_up)
    monkeypatch.setattr(up, "show_outcome", lambda *_, **__: None)
    looks(monkeypatch, FOUND)
    command("up", "--yes")
    assert done == ["controller", "bring up"]


def test_down_asks_without_the_lock(asked, taken_down):
    rent("l0")
    command("down")
    assert (asked, taken_down) == (["Stop serving and release 1 machines?"], ["down"])


def test_down_releases_nothing_that_was_not_spoken_of(asked, taken_down, capsys):
    rent("l0")
    asked.meanwhile = lambda: rent("l1")
    command("down", code=4)
    assert taken_down == []
    assert "1 machines were rented meanwhile" in capsys.readouterr().err


@pytest.fixture
def in_force(monkeypatch):
    """A deployment that serves whatever plan is last in the list; new ones are put there under whose lock."""
    plans, flipped = [PLAN], PLAN.replicas[0].flipped(Phase.MIXED)

    def decided(*_):
        wanted = replace(PLAN, replicas=(flipped, *PLAN.replicas[1:]))
        return Decided(plans[-1], (), Rebalanced(wanted, None, (), 0.0, 0.0), KnownLinks({}, {}))

    async def flip(world, wanted, _views):
        plans.append((world.store.holder("default").message, wanted.plan_id))
        return 2

    async def seen(_):
        return Observation((), None, "")

    monkeypatch.setattr(rebalance, "decided", decided)
    monkeypatch.setattr(deciding, "serving", lambda _: plans[-1])
    monkeypatch.setattr(observe, "observe_once", seen)
    monkeypatch.setattr(lifecycle, "refuse_unready", lambda *_: None)
    monkeypatch.setattr(lifecycle, "flip", flip)
    return plans


def test_rebalance_asks_without_the_lock(asked, in_force):
    command("rebalance")
    assert (len(asked), in_force) == (1, [PLAN, ("rebalance", PLAN.plan_id)])


def test_rebalance_decides_anew_where_another_plan_was_put_in_force_meanwhile(asked, in_force, capsys):
    another = replace(PLAN, plan_id="another")
    asked.meanwhile = lambda: in_force.append(another) if len(asked) == 1 else None
    command("rebalance")
    assert (len(asked), in_force) == (2, [PLAN, another, ("rebalance", PLAN.plan_id)])
    assert "deciding anew" in capsys.readouterr().err


def held_by_another(message, row="default"):
    """A process that holds the deployment's lock, or another row, and holds on to it."""
    code = (
        "import sys, time; from thunderctl.store.store import Store\n"
        "with Store() as store, store.lock(*sys.argv[1:]): print('{}', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, row, message], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {}
    return process


AT_IT = (f"{REPLACING}: i0, i1", "default#replacing-1")


@pytest.mark.parametrize("held", [(REPLACING,), AT_IT], ids=["while it changes something", "while it waits"])
def test_down_ends_the_controllers_own_up_and_says_so(taken_down, capsys, held):
    with held_by_another(*held) as process:
        with Store() as store:
            holder = store.holder("default") or store.holder(AT_IT[1])
        command("down", "--yes")
        assert not is_alive(ProcessId(holder.pid, holder.started_at))
        assert process.wait() != 0
    assert taken_down == ["down"]
    assert "The controller was replacing machines" in capsys.readouterr().err


def test_up_takes_over_from_the_controllers_own_once_it_has_the_lock(monkeypatch, capsys):
    done = []
    looks(monkeypatch, FOUND)
    monkeypatch.setattr(World, "look_after", lambda _: asyncio.sleep(0))
    monkeypatch.setattr(wanted_again, "go_on", lambda *_, **__: None)
    monkeypatch.setattr(up, "show_outcome", lambda *_, **__: None)
    with held_by_another(*AT_IT) as process:
        monkeypatch.setattr(up, "_bring_up", lambda *_: (done.append(process.wait()) or (), None))
        command("up", "--yes")
    assert done == [-signal.SIGTERM]
    assert "this goes on with it" in capsys.readouterr().err


def test_what_is_being_replaced_is_not_begun_twice(monkeypatch, capsys):
    monkeypatch.setattr(refill, "refill", None)
    with held_by_another(*AT_IT) as process:
        command("up", "--yes", "--replacing", "--only", "i1", code=4)
        process.kill()
    assert "Of i1 the machines are being replaced by another process already" in capsys.readouterr().err


def test_no_more_than_a_few_replacements_run_at_a_time():
    with Store() as store, ExitStack() as stack:
        for number in range(MOST):
            stack.enter_context(replacing(store, "default", [f"i{number}"]))
        assert instances_of(replacers(store, "default")) == {f"i{number}" for number in range(MOST)}
        with pytest.raises(Refused, match=f"{MOST} replacements are under way"):
            stack.enter_context(replacing(store, "default", ["i9"]))
    with Store() as store:
        assert replacers(store, "default") == ()


def test_down_leaves_an_up_of_somebody_else_alone(taken_down):
    with held_by_another("up") as process:
        command("down", "--yes", code=4)
        assert process.poll() is None
        process.kill()
    assert taken_down == []
