"""How much the replicas of an epoch hold at a time, and get through in a second, as the plan says."""

from collections.abc import Callable

from planner.deployment import Phase
from runtime.router.choosing.epochs import Epoch


def limit_of(epoch: Epoch, is_up: Callable[[str], bool], most: int) -> int:
    """How many requests may be under way: what the replicas that are up hold, as the plan says, and `most` at most.

    Routes that don't say what a replica holds bound nothing. When all are down all are counted: a check that fails for
    everything is doubted first.
    """
    replicas = epoch.replicas.values()
    if any(replica.max_requests == 0 for replica in replicas):
        return most
    held = sum(replica.max_requests for replica in replicas if is_up(replica.id))
    return min(held or sum(replica.max_requests for replica in replicas), most)


def capacity_rps_of(epoch: Epoch, is_up: Callable[[str], bool]) -> float:
    """How many requests a second the replicas that are up get through, as the plan says; 0 where it does not.

    It is that of the phase which has less; replicas that decode compute prompts too where none is there for prefill.
    """
    up = [replica for replica in epoch.replicas.values() if is_up(replica.id)]
    decoding = sum(replica.capacity_rps for replica in up if replica.phase.decodes)
    prefilling = sum(replica.capacity_rps for replica in up if replica.phase is not Phase.DECODE)
    return min(prefilling or decoding, decoding)
