"""Small worlds for the search: a task, offers, and the scorer over them."""

from functools import cache

from planner.catalog import Offer
from planner.demand import demand_of, longest_request
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.parallel.layouts import Capacities
from planner.parallel.task import Task
from planner.search.score import Aim, Scorer
from planner.search.supply import Supply
from planner.traces import workload_named
from planner.workload import Slo


@cache
def capacities(model: str = "llama-3.1-8b", workload: str = "conversation", slo: tuple[float, float] = (2.0, 0.04)):
    llm = llm_named(model)
    longest = longest_request(llm, 8192)
    return Capacities(Task(llm, demand_of(workload_named(workload), longest), Slo(*slo), longest))


def offer(name: str, gpu: str = "A40", gpus: int = 2, **wanted: object) -> Offer:
    usual = {"provider": "vast", "region": "Earth", "usd_per_hour": 1.0, "network": "lan"}
    speed = {"inet_up_gbit_per_s": 10.0, "inet_down_gbit_per_s": 10.0}
    return Offer(offer_id=name, gpu=gpu_named(gpu), gpu_count=gpus, **(usual | speed | wanted))  # type: ignore[arg-type]


def scorer(*offers: Offer, budget: float = 100.0, rent_all: bool = True, model: str = "llama-3.1-8b") -> Scorer:
    own = capacities(model)
    return Scorer(own, Supply(offers, own.task.llm, links={}, rent_all=rent_all), Aim(budget))
