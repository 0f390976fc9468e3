"""Routes as the simulator takes them: lanes, and the wires on which their KV transfers meet.

A transfer puts what each strand of its hop carries on the ways that the strand takes: all of it, where both replicas
are on one instance each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planner.costmodel.transfer import kv_transfer_s, kv_wire_bytes
from planner.deployment import Route
from planner.links import INSIDE
from planner.llm import LlmSpec
from planner.members import Member
from planner.orchestration.strands import Hop, Strand, entering, leaving
from planner.simulation.scenario import Lane, Server, Wire

BYTES_PER_GBIT = 1e9 / 8


@dataclass(frozen=True, slots=True)
class Path:
    """A route, and how KV gets along it; no hop where nothing is moved. `router_s`: as a `Lane` has it."""

    route: Route
    hop: Hop | None
    router_s: float = 0.0


def server_of(member: Member) -> Server:
    """A replica as it runs. Only where engines share a machine does it matter which one that is: its first stage's."""
    place = member.instance
    host = f"{place.provider} {place.region} {place.machine}" if member.layout.pace.host_share else ""
    return Server(member.layout.pace, member.layout.kv_tokens, host=host)


def lanes_of(llm: LlmSpec, paths: Sequence[Path], places: Mapping[str, int]) -> tuple[Lane, ...]:
    """The lane of each path; `places` are the servers of replica ids."""
    ways = _ways([path.hop for path in paths if path.hop])
    return tuple(_lane(llm, path, places, ways) for path in paths)


def _lane(llm: LlmSpec, path: Path, places: Mapping[str, int], ways: Mapping[str, Wire]) -> Lane:
    route, hop = path.route, path.hop
    ends = places[route.prefill], places[route.decode]
    if hop is None:
        return Lane(*ends, route.share, router_s=path.router_s)
    latency = float(kv_transfer_s(hop.link, 0.0, llm, hop.codec))
    alone = float(kv_transfer_s(hop.link, 1.0, llm, hop.codec)) - latency
    wire_bytes = float(kv_wire_bytes(llm, 1.0, hop.codec))
    packing = alone - wire_bytes / (hop.link.bandwidth_gbit_per_s * BYTES_PER_GBIT)
    loads = _loads(path.route, hop, ways)
    return Lane(
        *ends,
        route.share,
        latency,
        max(0.0, packing / 2),
        wire_bytes,
        wires=tuple(wire for wire, _ in loads),
        parts=tuple(part for _, part in loads),
        router_s=path.router_s,
    )


def _loads(route: Route, hop: Hop, ways: Mapping[str, Wire]) -> list[tuple[Wire, float]]:
    """The wires, and the part of its bytes that a transfer puts on each: each instance's way out and way in, links that
    are narrower than both, and inside instances the pair's own path."""
    crossing = [strand for strand in hop.strands if strand.crosses]
    found = [(ways[f"{one.id} out"], share) for one, share in leaving(crossing)]
    found += [(ways[f"{one.id} in"], share) for one, share in entering(crossing)]
    found += [(_wire(strand), strand.share) for strand in crossing if _is_narrowest(strand, ways)]
    if hop.inside:
        own = Wire(f"{route.prefill} to {route.decode}", INSIDE.bandwidth_gbit_per_s * BYTES_PER_GBIT)
        found.append((own, hop.inside))
    return found


def _wire(strand: Strand) -> Wire:
    return Wire(f"{strand.source.id} to {strand.target.id}", strand.link.bandwidth_gbit_per_s * BYTES_PER_GBIT)


def _is_narrowest(strand: Strand, ways: Mapping[str, Wire]) -> bool:
    ends = ways[f"{strand.source.id} out"], ways[f"{strand.target.id} in"]
    return _wire(strand).bytes_per_s < min(way.bytes_per_s for way in ends)


def _ways(hops: Sequence[Hop]) -> dict[str, Wire]:
    """Each instance's way out and way in: at least as wide as its offer says, as any link that uses it, and as any
    transfer has to have it that is alone."""
    gbit: dict[str, float] = {}

    def widen(name: str, gbit_per_s: float) -> None:
        gbit[name] = max(gbit.get(name, 0.0), gbit_per_s)

    for hop in hops:
        crossing = [strand for strand in hop.strands if strand.crosses]
        for strand in crossing:
            link = strand.link.bandwidth_gbit_per_s
            widen(f"{strand.source.id} out", max(strand.source.inet_up_gbit_per_s, link))
            widen(f"{strand.target.id} in", max(strand.target.inet_down_gbit_per_s, link))
        for one, share in leaving(crossing):
            widen(f"{one.id} out", share * hop.link.bandwidth_gbit_per_s)
        for one, share in entering(crossing):
            widen(f"{one.id} in", share * hop.link.bandwidth_gbit_per_s)
    return {name: Wire(name, width * BYTES_PER_GBIT) for name, width in gbit.items()}
