"""Whatever runs and whatever is wanted: doing the steps reaches the plan, and then there is nothing left to do."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.deployment import Codec, Phase, Plan, Replica, Route, Stage
from planner.reconcile import (
    FleetState,
    RunningInstance,
    RunningReplica,
    Step,
    StepKind,
    kept_instances,
    reconcile,
    teardown,
)


def apply(steps: tuple[Step, ...], wanted: Plan, fleet: FleetState) -> FleetState:
    """What a faultless apply makes of a fleet; asserts that no step comes before what it needs."""
    for step in steps:
        fleet = _done(step, wanted, fleet)
    return fleet


def _done(step: Step, wanted: Plan, fleet: FleetState) -> FleetState:
    match step.what:
        case StepKind.LEASE:
            offer = wanted.instance(step.id).offer_id
            lease = RunningInstance(f"{step.id} of {offer}", step.id, offer)
            return replace(fleet, instances=(*fleet.instances, lease))
        case StepKind.PREPARE:
            chosen = kept_instances(wanted, fleet)[step.id]
            ready = tuple(replace(i, prepared=True) if i is chosen else i for i in fleet.instances)
            return replace(fleet, instances=ready)
        case StepKind.START:
            replica = wanted.replica(step.id)
            kept = kept_instances(wanted, fleet)
            made = RunningReplica(step.id, replica.stages, tuple(kept[s.instance].lease_id for s in replica.stages))
            others = tuple(old for old in fleet.replicas if (old.id, old.leases) != (made.id, made.leases))
            assert all(kept[name].prepared for name in replica.instances)
            assert not any(_gpus(old) & _gpus(made) for old in others)
            return replace(fleet, replicas=(*others, replace(made, serving=True)))
        case StepKind.ROUTE:
            assert {r.id for r in wanted.replicas} <= {r.id for r in fleet.replicas if r.serving and not r.draining}
            phases = {replica.id: replica.phase for replica in wanted.replicas}
            return replace(fleet, phases=phases, routes=wanted.routes, epoch=fleet.epoch + 1)
        case StepKind.DRAIN:
            drained = tuple(replace(r, draining=True) if _meant(step, r) else r for r in fleet.replicas)
            return replace(fleet, replicas=drained)
        case StepKind.STOP:
            return replace(fleet, replicas=tuple(r for r in fleet.replicas if not _meant(step, r)))
        case StepKind.RELEASE:
            assert not any(step.id in replica.leases for replica in fleet.replicas)
            return replace(fleet, instances=tuple(i for i in fleet.instances if i.lease_id != step.id))


def _meant(step: Step, replica: RunningReplica) -> bool:
    return (replica.id, replica.leases[0]) == (step.id, step.lease_id)


def _gpus(replica: RunningReplica) -> set[tuple[str, int]]:
    return {(lease, gpu) for stage, lease in zip(replica.stages, replica.leases, strict=True) for gpu in stage.gpus}


def kinds(steps: tuple[Step, ...]) -> list[str]:
    return [step.what.value for step in steps]


def test_from_nothing_capacity_comes_first(split_plan):
    steps = reconcile(split_plan, FleetState())
    assert kinds(steps) == ["lease"] * 3 + ["prepare"] * 3 + ["start"] * 3 + ["route"]
    assert reconcile(split_plan, apply(steps, split_plan, FleetState())) == ()


def test_a_flip_is_only_a_route_step(split_plan):
    running = apply(reconcile(split_plan, FleetState()), split_plan, FleetState())
    flipped = replace(
        split_plan,
        replicas=(
            split_plan.replicas[0].flipped(Phase.DECODE),
            split_plan.replicas[1].flipped(Phase.PREFILL),
            split_plan.replicas[2],
        ),
        routes=(Route("r1", "r0", 0.75, Codec.RAW), split_plan.routes[1]),
    )
    (step,) = reconcile(flipped, running)
    assert (step.what, step.detail) == (StepKind.ROUTE, "2 routes; flips r0 prefill → decode, r1 decode → prefill")


def test_a_lost_machine_is_leased_again_and_its_replica_started(split_plan):
    running = apply(reconcile(split_plan, FleetState()), split_plan, FleetState())
    lost = replace(running, instances=running.instances[1:], replicas=running.replicas[2:])
    assert kinds(reconcile(split_plan, lost)) == ["lease", "prepare", "start", "start", "route"]


def test_a_machine_of_another_offer_under_the_same_name_is_replaced(split_plan):
    running = apply(reconcile(split_plan, FleetState()), split_plan, FleetState())
    other = replace(split_plan, instances=(replace(split_plan.instances[0], offer_id="o9"), *split_plan.instances[1:]))
    steps = reconcile(other, running)
    assert [step.id for step in steps if step.what is StepKind.RELEASE] == ["i0 of o0"]
    assert reconcile(other, apply(steps, other, running)) == ()


@pytest.mark.parametrize("first", [False, True], ids=["younger", "older"])
def test_of_two_leases_for_one_instance_the_one_that_is_not_prepared_is_released(split_plan, first):
    running = apply(reconcile(split_plan, FleetState()), split_plan, FleetState())
    twin = (RunningInstance("twin", "i0", "o0"),)
    twice = replace(running, instances=twin * first + running.instances + twin * (not first))
    assert reconcile(split_plan, twice) == (Step(StepKind.RELEASE, "twin", "o0"),)


def test_of_two_that_are_prepared_the_younger_is_released(split_plan):
    running = apply(reconcile(split_plan, FleetState()), split_plan, FleetState())
    twice = replace(running, instances=(*running.instances, RunningInstance("again", "i0", "o0", prepared=True)))
    assert reconcile(split_plan, twice) == (Step(StepKind.RELEASE, "again", "o0"),)


def test_one_that_was_made_ready_stays_though_its_agent_is_silent(split_plan):
    silent = RunningInstance("mine", "i0", "o0", ready=True)
    for older in (RunningInstance("twin", "i0", "o0"), RunningInstance("twin", "i0", "o0", prepared=True)):
        steps = reconcile(split_plan, FleetState((older, silent)))
        assert [step.id for step in steps if step.what is StepKind.RELEASE] == ["twin"]


def test_on_other_machines_a_plan_that_bears_the_same_names_serves_before_the_one_before_it_ends(split_plan):
    running = apply(reconcile(split_plan, FleetState()), split_plan, FleetState())
    other = replace(split_plan, instances=tuple(replace(one, offer_id=f"new {one.id}") for one in split_plan.instances))
    steps = reconcile(other, running)
    made = ["lease"] * 3 + ["prepare"] * 3 + ["start"] * 3 + ["route"]
    assert kinds(steps) == made + ["drain"] * 3 + ["stop"] * 3 + ["release"] * 3
    assert {step.lease_id for step in steps if step.what is StepKind.STOP} == {r.leases[0] for r in running.replicas}
    assert reconcile(other, apply(steps, other, running)) == ()


def test_an_engine_in_anothers_place_is_stopped_only_once_all_that_can_start_beside_it_have(split_plan):
    running = apply(reconcile(split_plan, FleetState()), split_plan, FleetState())
    first, *others = running.replicas
    stays, *leave = split_plan.instances
    other = replace(split_plan, instances=(stays, *(replace(one, offer_id=f"new {one.id}") for one in leave)))
    argued = replace(first, stages=(replace(first.stages[0], layers=0),))  # other arguments: no longer the plan's own
    steps = reconcile(other, replace(running, replicas=(argued, *others)))
    assert [(step.what.value, step.id) for step in steps] == [
        ("lease", "i1"),
        ("lease", "i2"),
        ("prepare", "i1"),
        ("prepare", "i2"),
        ("start", "r2"),
        ("drain", "r0"),
        ("stop", "r0"),
        ("start", "r0"),
        ("route", "routes"),
        ("drain", "r2"),
        ("stop", "r2"),
        ("release", "i1 of o1"),
        ("release", "i2 of o2"),
    ]


def test_an_engine_that_does_not_serve_yet_is_started_again(split_plan):
    running = apply(reconcile(split_plan, FleetState()), split_plan, FleetState())
    half = replace(running, replicas=(replace(running.replicas[0], serving=False), *running.replicas[1:]))
    assert reconcile(split_plan, half)[0].what is StepKind.START


def test_teardown_stops_every_engine_and_releases_every_lease(split_plan):
    running = apply(reconcile(split_plan, FleetState()), split_plan, FleetState())
    steps = teardown(running)
    assert kinds(steps) == ["stop"] * 3 + ["release"] * 3
    empty = apply(steps, split_plan, running)
    assert (empty.instances, empty.replicas) == ((), ())


NAMES = [f"i{n}" for n in range(3)]
instances = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["o0", "o1"])), unique_by=lambda pair: pair[0])


@st.composite
def plans(draw, base: Plan) -> Plan:
    """A few instances, each with one GPU a replica, and a route for every replica that decodes."""
    rented = draw(instances.filter(bool))
    template = base.instances[0]
    machines = tuple(replace(template, id=name, offer_id=offer) for name, offer in rented)
    phases = draw(st.lists(st.sampled_from([Phase.MIXED, Phase.DECODE]), min_size=1, max_size=len(machines)))
    order = draw(st.permutations([name for name, _ in rented]))
    replicas = tuple(
        Replica(f"r{n}", phase, (Stage(name, (draw(st.integers(0, 1)),), base.llm.layers),))
        for n, (phase, name) in enumerate(zip(phases, order, strict=False))
    )
    routes = tuple(Route(replica.id, replica.id, 1 / len(replicas), Codec.LOCAL) for replica in replicas)
    return replace(base, instances=machines, replicas=replicas, routes=routes)


def worlds(base: Plan) -> st.SearchStrategy[tuple[Plan, FleetState]]:
    """A wanted plan, and a fleet that reached another one, or part of it."""

    def part(wanted: Plan, other: Plan, done: int) -> tuple[Plan, FleetState]:
        return wanted, apply(reconcile(other, FleetState())[:done], other, FleetState())

    return st.builds(part, plans(base), plans(base), st.integers(0, 12))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_applying_the_steps_reaches_the_plan_and_leaves_nothing_to_do(split_plan, data):
    wanted, running = data.draw(worlds(split_plan))
    reached = apply(reconcile(wanted, running), wanted, running)
    assert {(i.instance_id, i.offer_id) for i in reached.instances} == {(i.id, i.offer_id) for i in wanted.instances}
    assert {(r.id, r.stages) for r in reached.replicas} == {(r.id, r.stages) for r in wanted.replicas}
    assert reached.phases == {replica.id: replica.phase for replica in wanted.replicas}
    assert reconcile(wanted, reached) == ()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.integers(0, 12))
def test_stopping_anywhere_and_looking_again_reaches_the_plan_too(split_plan, data, done):
    wanted, running = data.draw(worlds(split_plan))
    halfway = apply(reconcile(wanted, running)[:done], wanted, running)
    reached = apply(reconcile(wanted, halfway), wanted, halfway)
    assert reconcile(wanted, reached) == ()


def test_a_lease_of_a_host_without_a_region_is_told_without_a_gap(split_plan):
    hosts = tuple(replace(one, provider="ssh", region="") for one in split_plan.instances)
    lease = reconcile(replace(split_plan, instances=hosts), FleetState())[0]
    assert ", ssh, on-demand, " in lease.detail
