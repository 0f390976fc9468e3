"""The score is what orchestration's own program carries, its ceiling is above it, and steps are scored as states."""

from dataclasses import astuple, replace
from random import Random

import pytest

from benchmarks.random_markets import random_market
from planner.catalog import Link
from planner.deployment import Phase
from planner.orchestration.pairing import pair
from planner.search.neighbourhood import Neighbourhood
from planner.search.packings import Packings
from planner.search.score import Aim, Scorer
from planner.search.settling import settled
from planner.search.start import clustered, mixed
from planner.search.state import Group, State, inside
from planner.search.supply import Supply
from tests.planner.search.searching import capacities, offer, scorer

P, D, M = Phase.PREFILL, Phase.DECODE, Phase.MIXED


def paired_rps(of: Scorer, state: State, links=None) -> float:
    sums = of.sums(state)
    assert sums is not None
    spare = of.aim.budget_usd_per_hour - sums.usd_per_hour
    members = settled(of.ratings, state)[1]
    found = pair(of.ratings.capacities, members, transfer_usd_per_hour=spare, links=links or {})
    return found.served_rps if found else 0.0


def walked(of: Scorer, state: State, steps: int, seed: int) -> list[State]:
    """The states on a random walk."""
    neighbourhood, random, met = Neighbourhood(of, seed), Random(seed), [state]
    for _ in range(steps):
        sums = of.sums(met[-1])
        around = neighbourhood.around(met[-1], sums) if sums else []
        if around:
            met.append(met[-1].after(random.choice(around).step))
    return met


@pytest.mark.parametrize("seed", range(12))
def test_scores_are_what_pairing_finds(seed):
    market = random_market(seed)
    own = capacities(market.model, market.workload, market.slo)
    supply = Supply(market.offers, own.task.llm, links={}, rent_all=True)
    of = Scorer(own, supply, Aim(market.budget_usd_per_hour * 3))
    packings = Packings(of.ratings)
    for start in (mixed(packings, supply.everything), clustered(packings, supply.everything)):
        for state in walked(of, start, 3, seed):
            sums = of.sums(state)
            assert sums is not None
            score = of.score(state, sums)
            assert score.rps == pytest.approx(paired_rps(of, state), rel=2e-3, abs=1e-6)
            assert score.merit <= of.ceiling(sums).merit + 1e-9


def spread(random: Random, supply: Supply) -> State:
    """All GPUs in groups, most of which span two or three instances."""
    rented = supply.everything
    idle = {i: supply.gpus[offer] for i, offer in enumerate(rented)}
    groups = []
    while idle:
        own = random.sample(sorted(idle), min(len(idle), random.choice((1, 2, 2, 3))))
        groups.append(Group(tuple((i, 1) for i in sorted(own)), random.choice((P, D, D, M))))
        idle = {i: gpus - (i in own) for i, gpus in idle.items() if gpus > (i in own)}
    return State(rented, tuple(groups))


@pytest.mark.parametrize("seed", range(12))
def test_scores_of_replicas_that_span_instances_are_what_pairing_finds(seed):
    """Also where wires are full of their KV: at 0.2 Gbit/s they all are."""
    random = Random(seed)
    gbit_per_s = random.choice((0.2, 1.0, 10.0))
    offers = [
        offer(f"o{i}", random.choice(("A40", "RTX4090")), random.choice((1, 2)), available=random.choice((1, 2, 3)))
        for i in range(3)
    ]
    offers = [replace(one, inet_up_gbit_per_s=gbit_per_s, inet_down_gbit_per_s=gbit_per_s) for one in offers]
    links = {("o0", "o1"): Link(0.5, 1.0)} if seed % 3 == 0 else {}
    own = capacities("llama-3.1-8b", "conversation", (2.0, 0.15))
    of = Scorer(own, Supply(offers, own.task.llm, links=links, rent_all=True), Aim(100.0))
    for _ in range(4):
        state = spread(random, of.supply)
        if sums := of.sums(state):
            score = of.score(state, sums)
            assert score.rps == pytest.approx(paired_rps(of, state, links), rel=2e-3, abs=1e-6)
            assert score.merit <= of.ceiling(sums).merit + 1e-9


def test_stated_links_are_what_alike_offers_can_differ_in():
    offers = offer("a", network=""), offer("b", network=""), offer("c", network="")
    links = {("a", "b"): Link(2.0, 1.0), ("a", "c"): Link(0.2, 30.0)}
    own = capacities()
    of = Scorer(own, Supply(offers, own.task.llm, links=links, rent_all=True), Aim(100.0))
    for target in (1, 2):
        state = State((0, 1, 2), (inside(0, 1, P), inside(0, 1, P), inside(target, 2, D)))
        sums = of.sums(state)
        assert sums is not None
        assert of.score(state, sums).rps == pytest.approx(paired_rps(of, state, links), rel=2e-3)


def test_sums_after_a_step_are_those_of_the_state_it_leads_to():
    taken_back = {"interruptible": True, "available": 2}
    of = scorer(offer("a", gpus=4), offer("b", gpus=4, gpu="A6000", **taken_back), budget=9.0, rent_all=False)
    for state in walked(of, State((0,), ()), 12, seed=3):
        sums = of.sums(state)
        assert sums is not None
        for neighbour in Neighbourhood(of, 0).around(state, sums):
            anew = of.sums(state.after(neighbour.step))
            assert anew is not None
            assert astuple(neighbour.sums) == pytest.approx(astuple(anew), abs=1e-9)
            assert neighbour.sums.risk == pytest.approx(anew.risk, abs=1e-9)


def test_of_a_fleet_that_can_be_taken_back_as_much_is_lost_as_it_is_down_whatever_its_phases():
    """Spare capacity of a phase adds nothing to that; nor is more lost of a group than while any instance is down."""
    of = scorer(offer("a", interruptible=True, available=2), offer("b"), rent_all=False)
    split = State((0,), (inside(0, 1, P), inside(0, 1, D)))
    spanning = State((0, 0), (Group(((0, 2), (1, 2)), M),))
    safer = State((0, 1), (inside(0, 2, M), inside(1, 2, M)))
    of_pair = State((0, 1), (inside(0, 2, P), inside(1, 2, D)))
    risks = [sums.risk for state in (split, spanning, safer, of_pair) if (sums := of.sums(state))]
    assert risks == pytest.approx([0.05, 1 - 0.95**2, 0.025, 0.025])


@pytest.mark.parametrize("rate_rps", [None, 1.0])
def test_merit_is_that_of_what_is_expected_of_a_fleet_and_its_ceiling_is_above_it(rate_rps):
    offers = offer("safe"), offer("taken", interruptible=True), offer("half", interruptible=True, reliability=0.5)
    own = capacities()
    of = Scorer(own, Supply(offers, own.task.llm, links={}), Aim(100.0, rate_rps))
    merits, rps = [], []
    for i in range(len(offers)):
        state = State((i,), (inside(0, 1, P), inside(0, 1, D)))
        sums = of.sums(state)
        assert sums is not None
        score = of.score(state, sums)
        assert score.merit <= of.ceiling(sums).merit + 1e-9
        merits.append(score.merit)
        rps.append(score.rps)
    assert rps[0] == pytest.approx(rps[1]) == pytest.approx(rps[2])
    assert merits[0] > merits[1] > merits[2]
    if rate_rps is None:
        assert merits[0] - merits[2] == pytest.approx(rps[0] / 2)


def test_of_a_given_fleet_nothing_counts_as_lost():
    of = scorer(offer("a", interruptible=True), rent_all=True)
    sums = of.sums(State((0,), (inside(0, 2, M),)))
    assert sums is not None
    assert sums.risk == 0.0


def test_what_is_beyond_the_budget_has_no_sums():
    of = scorer(offer("a"), offer("b"), budget=1.5, rent_all=False)
    assert of.sums(State((0,), (inside(0, 1, M),))) is not None
    assert of.sums(State((0, 1), ())) is None


def test_transfer_is_paid_out_of_what_the_rent_leaves():
    dear = {"network": "", "egress_usd_per_gb": 0.01}
    offers = offer("a", **dear), offer("b", **dear)
    state = State((0, 1), (inside(0, 1, P), inside(0, 1, P), inside(1, 2, D)))
    rps = []
    for budget in (2.0, 2.05, 3.0):
        of = scorer(*offers, budget=budget)
        sums = of.sums(state)
        assert sums is not None
        rps.append(of.score(state, sums).rps)
    assert rps[0] == pytest.approx(0.0, abs=1e-9)
    assert 0 < rps[1] < rps[2]


def test_of_an_asked_rate_only_that_is_paid_for():
    dear = {"network": "", "egress_usd_per_gb": 0.01}
    own = capacities()
    offers = offer("a", **dear), offer("b", **dear)
    of = Scorer(own, Supply(offers, own.task.llm, links={}, rent_all=True), Aim(100.0, rate_rps=0.5))
    state = State((0, 1), (inside(0, 1, P), inside(0, 1, P), inside(1, 2, D)))
    sums = of.sums(state)
    assert sums is not None
    score = of.score(state, sums)
    assert score.rps == pytest.approx(0.5)
    assert 2.0 < score.usd_per_hour < 3.0
    assert score.merit == pytest.approx(-score.usd_per_hour)
