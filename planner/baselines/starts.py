"""What baselines found as starts of the planner's search, which then scores at least as much as any of them.

Scores are analytic. For a plan that loses to no baseline in simulation either, simulate their candidates beside it.
"""

from collections.abc import Iterable, Sequence

from planner.catalog import Offer
from planner.choosing.candidate import Candidate
from planner.search.settling import state_of
from planner.search.state import State


def starts(offers: Sequence[Offer], found: Iterable[Candidate]) -> list[State]:
    """The states of those candidates whose instances are all of these offers, which are the search's own."""
    numbers = {offer.offer_id: i for i, offer in enumerate(offers)}
    known = (one for one in found if all(instance.offer_id in numbers for instance in one.instances))
    return [state_of(numbers, one.instances, one.members) for one in known]
