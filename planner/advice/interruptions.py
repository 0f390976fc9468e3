"""What a fleet stands to lose because some of its instances can be taken back, and how that is said."""

from collections.abc import Iterator
from math import prod

from planner.catalog import INTERRUPTIBLE_AVAILABILITY
from planner.choosing.candidate import Candidate
from planner.deployment import Instance


def interruptions_in_words(chosen: Candidate, goodput_rps: float) -> Iterator[str]:
    """Nothing of a fleet that nobody can take back any of."""
    taken = [instance for instance in chosen.instances if instance.interruptible]
    if share := interruptible_share(chosen):
        left_rps = goodput_rps * (1 - lost_share(chosen))
        yield (
            f"{share:.0%} of its goodput takes instances that can be taken back. With these up {_up(taken)}, "
            f"{left_rps:.2f} of the {goodput_rps:.2f} requests/s are expected on average."
        )


def interruptible_share(chosen: Candidate) -> float:
    """Of its requests, those of which a replica is on an interruptible instance."""
    at_risk = {member.replica.id for member in chosen.members if any(one.interruptible for one in member.instances)}
    return sum(route.share for route in chosen.pairing.routes if at_risk & {route.prefill, route.decode})


def lost_share(chosen: Candidate) -> float:
    """Of its requests, those expected to be lost: of each route half while either of its replicas is not up.

    A replica is up while all its instances are. This is what procurement and the search count against a purchase.
    """
    down = {member.replica.id: 1 - prod(one.availability for one in member.instances) for member in chosen.members}
    return sum(route.share * (down[route.prefill] + down[route.decode]) / 2 for route in chosen.pairing.routes)


def _up(taken: list[Instance]) -> str:
    """`95% of the time, which is a guess`: all but what providers state to be up for less."""
    least = min(instance.availability for instance in taken)
    if least == INTERRUPTIBLE_AVAILABILITY:
        return f"{least:.0%} of the time, which is a guess"
    if all(instance.availability < INTERRUPTIBLE_AVAILABILITY for instance in taken):
        return f"{least:.0%} of the time or more, as their offers state"
    return f"{least:.0%} to {INTERRUPTIBLE_AVAILABILITY:.0%} of the time, the latter of which is a guess"
