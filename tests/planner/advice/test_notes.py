"""What a plan says of itself: where simulation and score differ, which prices are old, why KV stays where it is."""

from dataclasses import replace

import pytest

from planner.advice.notes import notes
from planner.advice.robustness import as_candidate
from planner.catalog import Link
from planner.choosing.candidate import Candidate
from planner.models import llm_named
from planner.plan import task_of
from planner.traces import workload_named
from planner.workload import Slo

EIGHT, CONVERSATION = llm_named("llama-3.1-8b"), workload_named("conversation")
TASK = task_of(EIGHT, CONVERSATION, Slo(), 8192)


def said(chosen, noon, *, score=3.0, goodput=3.0, as_of="2026-09-01T00:00:00Z", source="file", task=TASK):
    chosen = Candidate(chosen.instances, chosen.members, replace(chosen.pairing, served_rps=score))
    found = notes(task, CONVERSATION, chosen, goodput_rps=goodput, market_as_of=as_of, market_source=source, now=noon())
    return " ".join(found)


@pytest.mark.parametrize(
    ("goodput", "words"),
    [(3.2, None), (2.8, None), (4.5, "50% above the analytic score of 3.00"), (1.5, "50% below the analytic score")],
)
def test_simulation_and_score_that_differ_by_more_than_a_tenth_are_named(split_plan, noon, goodput, words):
    text = said(as_candidate(split_plan, {}), noon, goodput=goodput)
    assert (words is None and "analytic score" not in text) or (words and words in text)


@pytest.mark.parametrize(
    ("as_of", "source", "words"),
    [
        ("2026-08-31T00:00:00Z", "file", None),
        ("2026-08-01T00:00:00Z", "file", "Prices are 32 days old: look again before renting."),
        ("2026-08-01T00:00:00Z", "snapshot", "as of 2026-08-01, 32 days old: look again before renting."),
        ("2026-08-31T00:00:00Z", "snapshot", "as of 2026-08-31."),
        ("once", "file", None),
    ],
)
def test_old_prices_are_flagged(split_plan, noon, as_of, source, words):
    text = said(as_candidate(split_plan, {}), noon, as_of=as_of, source=source)
    assert (words is None and "Prices are" not in text) or (words and words in text)


def test_guessed_links_are_flagged_and_stated_ones_are_not(split_plan, noon):
    apart = replace(split_plan, routes=(replace(split_plan.routes[0], decode="r2"), split_plan.routes[1]))
    assert "estimated from their offers" in said(as_candidate(apart, {}), noon)
    to_one = {("i0", "i1"): Link(10.0, 1.0)}  # of the two that the decode replica spans
    assert "estimated from their offers" in said(as_candidate(apart, to_one), noon)
    to_both = to_one | {("i0", "i2"): Link(10.0, 1.0)}
    assert "estimated from their offers" not in said(as_candidate(apart, to_both), noon)
