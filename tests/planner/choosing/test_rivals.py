"""Which other ways to spend the money simulation is asked about."""

from planner.choosing.rivals import GPU_TYPES, rivals_of
from planner.demand import demand_of
from planner.models import llm_named
from planner.parallel.layouts import Capacities, Task
from planner.procurement.shop import Choice, choice_of
from planner.traces import workload_named
from planner.workload import Slo


def choice(offers) -> Choice:
    task = Task(llm_named("llama-3.1-8b"), demand_of(workload_named("conversation"), 4096), Slo(), 4096)
    return choice_of(Capacities(task), offers, links={})


def test_they_are_colocated_split_both_without_pipelines_and_colocated_on_one_type_each(offer):
    offers = [offer("a", gpu="A40"), offer("b", gpu="L40S"), offer("c", gpu="A6000"), offer("d", gpu="RTX4090")]
    colocated, flat, split, flat_split, *alone = rivals_of(choice(offers))
    assert not len(colocated.prefill.gpus)
    assert not len(split.mixed.gpus)
    assert {group.layout.pp for group in (*flat.options.mixed, *flat_split.options.decode)} == {1}
    assert len(flat.options.mixed) == len(flat.mixed.gpus) <= len(colocated.mixed.gpus)
    assert len(alone) == GPU_TYPES
    for one in alone:
        left = {own.gpu.name for own, count in zip(one.offers, one.shop.available, strict=True) if count}
        assert len(left) == 1
        assert not len(one.prefill.gpus)


def test_of_offers_that_are_all_rented_no_type_is_left_out(offer):
    given = choice([offer("a", gpu="A40"), offer("b", gpu="L40S")])
    assert all((one.shop.available == given.shop.available).all() for one in rivals_of(given, rent_all=True))


def test_the_type_that_costs_least_for_what_it_serves_is_tried_first(offer):
    dear, cheap = offer("a", gpu="A40", usd_per_hour=9.0), offer("b", gpu="A40", usd_per_hour=9.0)
    bargain = offer("c", gpu="A6000", usd_per_hour=0.1)
    _, _, _, _, first, *_ = rivals_of(choice([dear, cheap, bargain]))
    assert [own.offer_id for own, count in zip(first.offers, first.shop.available, strict=True) if count] == ["c"]
