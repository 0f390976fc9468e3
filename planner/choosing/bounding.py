"""The bound on what a search may find, worked out beside it where that takes longer than a process takes to start."""

import os
from contextlib import AbstractContextManager

from planner.choosing.search import Search
from planner.procurement.shop import Choice
from planner.proof.beside import Bound, Question, answered

BESIDE_GPUS = 24
"""On offer: a bound over fewer is worked out in less than a second."""


def bounding(search: Search, choice: Choice, budget_usd_per_hour: float) -> AbstractContextManager[Bound]:
    """The bound for a budget. Where no instance holds a group, a search begins with what the bound is reached with, and
    has to wait for it."""
    own = search.capacities
    question = Question(own.task, own.codec, choice.offers, search.links, budget_usd_per_hour, search.rent_all)
    gpus = int(choice.shop.gpus @ choice.shop.available)
    beside = choice.serves and gpus >= BESIDE_GPUS and (os.cpu_count() or 1) > 1
    return answered(question, beside=beside)
