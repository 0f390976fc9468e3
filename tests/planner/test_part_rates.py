"""What part of a fleet serves."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.part_rates import MOST_TRIED, Ability, PartRates, abilities_of
from planner.traces import workload_named
from tests.planner.plans import split_plan

RPS = st.integers(0, 50).map(lambda tenths: tenths / 10)
FLEETS = st.lists(st.tuples(RPS, RPS, RPS), min_size=1, max_size=MOST_TRIED + 2)


def abilities(fleet):
    return tuple(Ability(f"r{n}", frozenset({f"i{n}"}), rps) for n, rps in enumerate(fleet))


def best_designation(fleet):
    """Of all, by the words: prefilled prompts are decoded elsewhere, mixed replicas do both."""
    best = 0.0
    for phases in product(range(3), repeat=len(fleet)):
        sums = [sum(rps[phase] for rps, at in zip(fleet, phases, strict=True) if at == phase) for phase in range(3)]
        best = max(best, min(sums[0], sums[1]) + sums[2])
    return best


@given(FLEETS)
def test_few_replicas_serve_what_their_best_phases_do_and_more_no_less(fleet):
    served = PartRates(abilities(fleet))(frozenset(f"i{n}" for n in range(len(fleet))))
    if len(fleet) <= MOST_TRIED:
        assert served == pytest.approx(best_designation(fleet))
    else:
        assert served >= best_designation(fleet) - 1e-9


@given(FLEETS, st.data())
def test_more_machines_never_serve_less(fleet, data):
    rates, names = PartRates(abilities(fleet)), [f"i{n}" for n in range(len(fleet))]
    some = frozenset(data.draw(st.sets(st.sampled_from(names))))
    for name in names:
        assert rates(some | {name}) >= rates(some) - 1e-9


def test_time_is_divided_where_there_are_many():
    """Three that prefill as fast as they decode, of which none can do both: two halves of one count."""
    many = [(4.0, 4.0, 0.0)] * (MOST_TRIED + 2)
    assert PartRates(abilities(many))(frozenset(f"i{n}" for n in range(7))) == pytest.approx(14.0)


def test_the_whole_fleet_serves_what_simulation_confirmed_and_a_replica_needs_all_its_instances():
    plan = split_plan()
    rates = PartRates(abilities_of(plan, workload_named("conversation")), plan.predicted.goodput_rps)
    assert rates(frozenset({"i0", "i1", "i2"})) == pytest.approx(plan.predicted.goodput_rps)
    assert rates(frozenset({"i0", "i1"})) == rates(frozenset({"i0"})) > 0
    assert rates(frozenset({"i1"})) == 0
    assert rates.replicas_on({"i0", "i1"}) == ("r0", "r1")
