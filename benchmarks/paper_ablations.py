"""What the planner is without one of its parts: routes as a round robin has them, groups of one GPU type only."""

from dataclasses import replace
from math import inf

from planner.choosing.candidate import Candidate
from planner.deployment import Codec, Phase, Route
from planner.orchestration.pairing import Hop, Pairing, transport_of
from planner.parallel.layouts import Capacities, best_codec


def evenly_routed(chosen: Candidate, capacities: Capacities) -> Candidate:
    """The same replicas in the same phases; each that decodes gets as many requests, of each that prefills as many.

    Mixed replicas keep theirs. Every hop has the codec that suits it alone.
    """
    members = chosen.members
    prefilling = [member for member in members if member.phase is Phase.PREFILL]
    serving = [member for member in members if member.phase is not Phase.PREFILL]
    hops, _ = transport_of(capacities, prefilling, serving, {}, 0.0, best_codec)
    found: list[tuple[Route, Hop | None]] = []
    for j, target in enumerate(serving):
        share = 1 / len(serving)
        if target.phase is Phase.MIXED or not prefilling:
            found.append((Route(target.replica.id, target.replica.id, share, Codec.LOCAL), None))
            continue
        for i, source in enumerate(prefilling):
            hop = hops[i][j]
            ends = source.replica.id, target.replica.id
            found.append((Route(*ends, share / len(prefilling), hop.codec, hop.link.bandwidth_gbit_per_s), hop))
    even: Pairing = replace(
        chosen.pairing, routes=tuple(route for route, _ in found), hops=tuple(hop for _, hop in found), wire_rps=inf
    )
    return replace(chosen, pairing=even)
