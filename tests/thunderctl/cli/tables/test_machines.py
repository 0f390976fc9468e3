"""What people see of a fleet that comes up: a row a machine, told from the steps."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from planner.errors import HostError
from planner.reconcile import Step, StepKind
from tests.planner.plans import split_plan
from thunderctl.cli import progress
from thunderctl.cli.progress import machine_lines, step_lines
from thunderctl.cli.tables.machines import MachineRows
from thunderctl.deploying.apply import StepResult, StepState


class Clock:
    at = 100.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rows(clock):
    return MachineRows(split_plan(), clock)


def step(what, name, state, error=None):
    return StepResult(Step(what, name), state, error=error)


def row_of(rows, instance):
    """Its price, its seconds and what it does."""
    return next(cells[3:] for cells in rows.cells() if cells[0] == instance)


def test_a_row_says_what_the_machine_is_and_costs_before_anything_is_done(rows):
    assert rows.cells()[0] == ("i0", "vast o0", "2 x A6000", "2.000", "", "waiting")
    assert rows.summary == "0 of 3 machines ready, $3.000 an hour"


def test_it_follows_the_machine_from_renting_to_ready_and_counts_from_the_first_step(rows, clock):
    seen = []
    for what, name in ((StepKind.LEASE, "i0"), (StepKind.PREPARE, "i0"), (StepKind.START, "r0")):
        for state in (StepState.RUNNING, StepState.DONE):
            assert rows.report(step(what, name, state))
            seen.append(row_of(rows, "i0")[1:])
            clock.at += 10
    assert seen == [
        ("0", "renting"),
        ("10", "rented"),
        ("20", "preparing"),
        ("30", "prepared"),
        ("40", "starting engine"),
        ("50", "ready"),
    ]
    assert row_of(rows, "i0")[1] == "50", "the count stops"


def test_it_is_ready_once_all_its_engines_are(rows):
    for name in ("r0", "r1"):
        rows.report(step(StepKind.START, name, StepState.RUNNING))
    rows.report(step(StepKind.START, "r1", StepState.DONE))
    assert row_of(rows, "i0")[-1] == "starting engine"
    rows.report(step(StepKind.START, "r0", StepState.DONE))
    assert row_of(rows, "i0")[-1] == "ready"
    assert rows.cells()[-1][0] == "i0", "what is ready goes to the end"


def test_what_is_being_done_is_told_of_an_instance_or_of_a_replica_on_it(rows):
    rows.narrate("i0", "weights: 3.1 of 61 GB")
    rows.narrate("r2", "engine starting, 7 s")
    rows.narrate("vast", "is of no machine")
    assert [row_of(rows, name)[-1] for name in ("i0", "i1", "i2")] == [
        "weights: 3.1 of 61 GB",
        "engine starting, 7 s",
        "engine starting, 7 s",
    ]


def test_a_replaced_machine_shows_its_new_offer_and_price(rows):
    plan = split_plan()
    other = replace(plan.instance("i0"), offer_id="new", usd_per_hour=1.5, interruptible=True)
    rows.amended(replace(plan, instances=(other, *plan.instances[1:])))
    assert rows.cells()[0][:4] == ("i0", "vast new (interruptible)", "2 x A6000", "1.500")
    assert rows.summary == "0 of 3 machines ready, $2.500 an hour"


def test_a_failure_shows_the_first_line_of_its_reason(rows):
    rows.report(step(StepKind.PREPARE, "i0", StepState.RUNNING))
    rows.report(step(StepKind.PREPARE, "i0", StepState.FAILED, HostError("no disk\nmore of the log")))
    assert row_of(rows, "i0")[-1] == "failed: no disk"


def test_steps_of_no_machine_have_no_row(rows):
    assert not rows.report(step(StepKind.ROUTE, "routes", StepState.DONE))


@pytest.mark.parametrize("terminal", [True, False])
def test_what_hosts_say_is_no_markup(monkeypatch, terminal):
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=120, soft_wrap=True, color_system=None)
    monkeypatch.setattr(progress, "narrator", lambda: console)
    with step_lines() as (report, narrate):
        report(step(StepKind.PREPARE, "i0", StepState.RUNNING))
        narrate("i0", "[/usr/bin/pip] [notice]")
    with machine_lines(split_plan()) as told:
        told.amended(split_plan(), "i1 is o9: [/vast] said no")
    assert "i1 is o9: [/vast] said no" in written.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_rows_that_live_and_a_pipe_a_line_a_step(monkeypatch, terminal):
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=120, soft_wrap=True, color_system=None)
    monkeypatch.setattr(progress, "narrator", lambda: console)
    with machine_lines(split_plan()) as told:
        told.report(step(StepKind.LEASE, "i0", StepState.RUNNING))
        told.narrate("i0", "booting: loading")
        told.report(step(StepKind.LEASE, "i0", StepState.DONE))
        told.amended(split_plan(), "i1 is o9 of vast, not o1: taken")
        told.report(step(StepKind.PREPARE, "i2", StepState.FAILED, HostError("no [disk]\nits log")))
        told.report(step(StepKind.ROUTE, "routes", StepState.DONE))
    said = written.getvalue()
    assert "i1 is o9 of vast, not o1: taken" in said
    assert any("✗ prepare i2" in line and line.endswith("no [disk]") for line in map(str.rstrip, said.splitlines()))
    assert "✓ route  " in said
    assert ("✓ lease i0" in said) is not terminal
    assert ("0 of 3 machines ready" in said) is terminal
    assert ("rented" in said) is terminal
