"""Machines that run other code: one after the other, with the others serving, and nothing leased."""

from dataclasses import replace

from planner.reconcile import FleetState, RunningInstance, RunningReplica, StepKind
from planner.refreshing import outdated, refresh
from thunderctl.deploying.apply import waits_for


def running(plan, old=()):
    """All of the plan; of these instances the agents run other code."""
    return FleetState(
        tuple(
            RunningInstance(f"l-{one.id}", one.id, one.offer_id, True, True, one.id in old) for one in plan.instances
        ),
        tuple(
            RunningReplica(one.id, one.stages, tuple(f"l-{stage.instance}" for stage in one.stages), serving=True)
            for one in plan.replicas
        ),
    )


def test_where_all_run_our_code_there_is_nothing_to_do(split_plan):
    assert refresh(split_plan, running(split_plan)) == ()


def test_a_machines_replicas_are_out_of_the_routes_before_they_are_stopped_and_back_when_they_run(split_plan):
    """r0 and r1 are on i0."""
    steps = refresh(split_plan, running(split_plan, ["i0"]))
    assert [(str(step.what), step.id) for step in steps] == [
        ("route", "routes"),
        ("drain", "r0"),
        ("drain", "r1"),
        ("stop", "r0"),
        ("stop", "r1"),
        ("prepare", "i0"),
        ("start", "r0"),
        ("start", "r1"),
        ("route", "routes"),
    ]
    assert steps[0].without == ("r0", "r1")
    assert steps[-1].without == ()
    assert {step.lease_id for step in steps if step.again} == {"l-i0"}


def test_the_next_machine_waits_until_the_one_before_serves_again(split_plan):
    steps = refresh(split_plan, running(split_plan, ["i0", "i1"]))
    subjects = {one.id: one.instances for one in split_plan.replicas}

    def all_before(step, known):
        """Every step that has to be done before it."""
        direct = [one for one in known if waits_for(step, one, subjects)]
        return set(direct).union(*(all_before(one, known[: known.index(one)]) for one in direct))

    second = next(n for n, step in enumerate(steps) if step.what is StepKind.ROUTE and n)
    for n, step in enumerate(steps[second:], second):
        assert set(steps[:second]) <= all_before(step, steps[:n])
    assert not {step.what for step in steps} & {StepKind.LEASE, StepKind.RELEASE}


def test_where_nothing_else_serves_it_is_said_that_nobody_is_answered(split_plan):
    alone = replace(split_plan, replicas=split_plan.replicas[:2])
    assert refresh(alone, running(alone, ["i0"]))[0].detail.startswith("nobody is answered")
    assert "nobody" not in refresh(split_plan, running(split_plan, ["i0"]))[0].detail


def test_what_rests_is_left_alone_and_stays_out_of_the_routes(split_plan):
    fleet = running(split_plan, ["i0", "i1", "i2"])
    assert outdated(split_plan, fleet, ["i1", "i2"]) == ("i0",)
    assert refresh(split_plan, fleet, ["i1", "i2"])[0].without == ("r0", "r1", "r2")


def test_a_machine_that_runs_none_of_the_plans_replicas_is_only_prepared(split_plan):
    idle = replace(split_plan, replicas=split_plan.replicas[2:])
    assert [step.what for step in refresh(idle, running(idle, ["i0"]))] == [StepKind.PREPARE]
