"""The bound on what a search may find, worked out beside it where that takes longer than a process takes to start."""

from collections.abc import Iterable

from planner.catalog import Offer
from planner.choosing.search import Search
from planner.procurement.shop import Choice
from planner.proof.beside import Bound, Question, here

BESIDE_GPUS = 24
"""On offer: a bound over fewer is worked out in less than a second, and then ends a search that has come near it. Not a
matter of cores, so that the same plan is found on all machines."""


def pays_beside(offers: Iterable[Offer]) -> bool:
    """Is the bound over these offers worth a process of its own?"""
    return sum(offer.gpu_count * offer.available for offer in offers) >= BESIDE_GPUS


def bounding(search: Search, choice: Choice, budget_usd_per_hour: float) -> Bound:
    """The bound for a budget. Where no instance holds a group, a search begins with what the bound is reached with, and
    has to wait for it."""
    own = search.capacities
    question = Question(own.task, own.codec, choice.offers, search.links, budget_usd_per_hour, search.rent_all)
    return search.ask(question) if choice.serves else here(question)
