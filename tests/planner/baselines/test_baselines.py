"""What each system does with a small market, known by hand."""

from collections import Counter
from collections.abc import Callable
from itertools import product

import pytest

from planner.baselines.cheapest_type import cheapest_type
from planner.baselines.compare import BASELINES, compared
from planner.baselines.distserve import distserve
from planner.baselines.helix import helix
from planner.baselines.hexgen import hexgen
from planner.baselines.rules import PhaseByType
from planner.baselines.setting import Setting
from planner.baselines.splitwise import splitwise
from planner.baselines.starts import starts
from planner.baselines.vllm import vllm
from planner.catalog import Offer
from planner.choosing.candidate import Candidate, trial
from planner.choosing.contest import Finding
from planner.choosing.drafting import Occasion, drafted
from planner.deployment import Phase
from planner.models import llm_named
from planner.parallel.layouts import Capacities
from planner.parallel.rules import Ruled
from planner.plan import task_of
from planner.traces import workload_named
from planner.workload import Slo
from tests.planner.conftest import NOON

BUDGET_USD_PER_HOUR = 10.0
FAST = {"inet_up_gbit_per_s": 40.0, "inet_down_gbit_per_s": 40.0, "network": "lan"}


@pytest.fixture(scope="session")
def capacities() -> Capacities:
    return Capacities(task_of(llm_named("llama-30b"), workload_named("conversation"), Slo(4.0, 0.1), 8192))


@pytest.fixture
def setting(capacities: Capacities) -> Callable[..., Setting]:
    """Offers and a budget as a baseline is given them."""

    def make(*offers: Offer, budget: float = BUDGET_USD_PER_HOUR, fixed: bool = False) -> Setting:
        return Setting(capacities, offers, budget, fixed=fixed)

    return make


@pytest.fixture
def checked(capacities: Capacities) -> Callable[[Setting, Candidate], None]:
    """Raises unless the candidate, written out as a plan, keeps every rule of the schema and the budget."""

    def check(setting: Setting, one: Candidate) -> None:
        budget = sum(offer.usd_per_hour * offer.available for offer in setting.offers) if setting.fixed else 0.0
        occasion = Occasion(
            created_at=NOON,
            market_as_of="2026-09-01T00:00:00Z",
            market_source="file",
            goal="goodput",
            budget_usd_per_hour=max(budget, setting.budget_usd_per_hour),
            seconds=0.0,
            evaluations=1,
            seed=0,
        )
        drafted(capacities.task, workload_named("conversation"), Finding(one, 0.1, 0.0), occasion)

    return check


@pytest.fixture
def market(offer):
    """Three types in one fast network; two instances of the A6000, one of each other."""
    return (
        offer("a6000", "A6000", gpu_count=4, usd_per_hour=2.0, available=2, **FAST),
        offer("a40", "A40", gpu_count=4, usd_per_hour=2.5, **FAST),
        offer("a5000", "A5000", gpu_count=4, usd_per_hour=1.0, **FAST),
    )


def phases_of(candidate):
    return {member.phase for member in candidate.members}


def types_of(candidate):
    return {instance.gpu for instance in candidate.instances}


def test_vllm_rents_one_type_in_replicas_that_are_all_alike(setting, market):
    for one in vllm(setting(*market)):
        assert phases_of(one) == {Phase.MIXED}
        assert len(types_of(one)) == 1
        assert len({(member.layout.tp, member.layout.pp) for member in one.members}) == 1


def test_vllm_takes_the_type_that_serves_the_most_for_the_budget(setting, market):
    best, *_ = vllm(setting(*market))
    alone = [vllm(setting(one))[0].pairing.served_rps for one in market]
    assert best.pairing.served_rps == pytest.approx(max(alone))
    assert types_of(best) == {"A6000"}


def test_vllm_on_a_given_fleet_runs_every_type_on_its_own(setting, market):
    (one,) = vllm(setting(*market, fixed=True))
    assert types_of(one) == {"A6000", "A40", "A5000"}
    assert all(len(member.instances) == 1 for member in one.members)


def test_distserve_splits_one_type_and_each_phase_has_one_layout(setting, market):
    best, *_ = distserve(setting(*market))
    assert phases_of(best) == {Phase.PREFILL, Phase.DECODE}
    assert len(types_of(best)) == 1
    layouts = {(member.phase, member.layout.tp, member.layout.pp) for member in best.members}
    assert len(layouts) == 2


def test_splitwise_gives_each_type_one_phase(setting, market):
    (best,) = splitwise(setting(*market))
    phases = {(member.instance.gpu, member.phase) for member in best.members}
    assert len(phases) == len(types_of(best)) >= 2
    assert phases_of(best) == {Phase.PREFILL, Phase.DECODE}


def test_splitwise_tries_every_assignment_of_few_types(setting, market, capacities):
    given = setting(*market)
    assigned = (
        dict(zip(given.gpu_types, phases, strict=True)) for phases in product((Phase.PREFILL, Phase.DECODE), repeat=3)
    )
    formed = [given.formed(Ruled(capacities, PhaseByType(phases))) for phases in assigned]
    assert splitwise(given)[0].pairing.served_rps == max(one.pairing.served_rps for one in formed if one)


def test_hexgen_mixes_types_and_splits_no_phases(setting, market):
    best, *_ = hexgen(setting(*market))
    assert phases_of(best) == {Phase.MIXED}
    assert len(types_of(best)) > 1


def test_hexgen_serves_as_much_as_vllm_or_more(setting, market):
    given = setting(*market)
    assert hexgen(given)[0].pairing.served_rps >= vllm(given)[0].pairing.served_rps * 0.999


@pytest.mark.parametrize("baseline", [hexgen, helix])
def test_instances_too_small_alone_are_joined_over_their_network(baseline, setting, offer):
    """LLaMA-30B fits no two cards of 24 GB, but it fits four."""
    small = offer("a5000", "A5000", gpu_count=2, usd_per_hour=0.5, available=2, **FAST)
    (best, *_) = baseline(setting(small, fixed=True))
    assert [len(member.instances) for member in best.members] == [2]


def test_helix_joins_nothing_where_there_is_no_network(setting, offer):
    small = offer("a5000", "A5000", gpu_count=2, usd_per_hour=0.5, available=2)
    assert helix(setting(small, fixed=True)) == []


def test_helix_prefers_the_pipelines_that_carry_the_most_together(setting, market):
    given = setting(*market)
    (best,) = helix(given)
    assert best.pairing.served_rps >= vllm(given)[0].pairing.served_rps * 0.99


def test_the_cheapest_type_runs_in_the_smallest_tp_without_a_pipeline(setting, market):
    (best,) = cheapest_type(setting(*market))
    assert len(types_of(best)) == 1
    assert {member.layout.pp for member in best.members} == {1}
    others = [cheapest_type(setting(one))[0].pairing.served_rps for one in market]
    assert best.pairing.served_rps == pytest.approx(max(others))


def test_nothing_that_fits_is_no_candidate(setting, offer):
    small = offer("a4000", "A4000", usd_per_hour=0.1)
    assert all(not baseline(setting(small)) for baseline in BASELINES.values())


def test_nothing_affordable_is_no_candidate(setting, market):
    assert all(not baseline(setting(*market, budget=0.5)) for baseline in BASELINES.values())


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("name", BASELINES)
def test_every_candidate_is_a_legal_plan_within_the_budget(name, fixed, setting, market, checked):
    given = setting(*market, fixed=fixed)
    found = BASELINES[name](given)
    assert found
    for one in found:
        assert fixed or one.usd_per_hour <= given.budget_usd_per_hour
        checked(given, one)


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_market_gives_the_same_candidates(name, setting, market):
    given = setting(*market)
    first, second = (BASELINES[name](given) for _ in range(2))
    assert [(one.instances, one.pairing.routes) for one in first] == [
        (one.instances, one.pairing.routes) for one in second
    ]


def test_one_machine_that_several_offers_are_of_is_rented_once(setting, offer):
    halves = [offer(f"m{n}", "A6000", gpu_count=n, usd_per_hour=0.5 * n, machine="one", **FAST) for n in (2, 4)]
    for baseline in BASELINES.values():
        for one in baseline(setting(*halves)):
            assert sum(instance.gpu_count for instance in one.instances) <= 4


def test_candidates_become_starts_of_the_search(setting, market):
    given = setting(*market)
    best = hexgen(given)[0]
    (state,) = starts(given.offers, [best])
    assert sorted(state.rented) == sorted(["a6000", "a40", "a5000"].index(one.offer_id) for one in best.instances)
    assert Counter(group.gpus for group in state.groups) == Counter(member.layout.gpus for member in best.members)


def test_starts_leave_out_what_the_search_may_not_rent(setting, market):
    given = setting(*market)
    assert starts(given.offers[1:], vllm(given)[:1]) == []


def test_what_two_baselines_find_is_tried_once(setting, market, monkeypatch):
    tried = []

    def noted(task, one, *budget, **seed):
        tried.append(one.makeup)
        return trial(task, one, *budget, **seed)

    monkeypatch.setattr("planner.choosing.search.trial", noted)
    one, other = compared(setting(*market), {"vllm": vllm, "vllm again": vllm})
    assert one.goodput_rps == other.goodput_rps > 0
    assert len(tried) == len(set(tried))


def test_baselines_are_rated_in_a_fleet_as_the_planner_rates_its_own(setting, market):
    """Its arrivals are more even than if each replica saw all of them."""
    given = setting(*market)
    alone, together = vllm(given)[0], vllm(given.in_fleet())[0]
    assert together.pairing.served_rps > alone.pairing.served_rps


def test_each_baseline_is_simulated_at_its_best(setting, market):
    (found,) = compared(setting(*market), {"vllm": vllm})
    assert found.name == "vllm"
    assert found.goodput_rps > 0
    assert found.alternative.cost_usd_per_hour <= 10.0
